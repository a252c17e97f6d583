package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
)

// statusOf is the one map from errors to HTTP.
func statusOf(k troy.ErrorKind) int {
	switch k {
	case troy.Invalid:
		return http.StatusBadRequest
	case troy.Unauthenticated:
		return http.StatusUnauthorized
	case troy.Forbidden:
		return http.StatusForbidden
	case troy.NotFound:
		return http.StatusNotFound
	case troy.Conflict:
		return http.StatusConflict
	case troy.Moved:
		return http.StatusPreconditionFailed
	case troy.TooLarge:
		return http.StatusRequestEntityTooLarge
	case troy.Unavailable, troy.Unsure:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// retrySeconds is what Retry-After asks for: Postgres restarts in a few.
const retrySeconds = 2

// mostDetails is the most lines of details in an answer.
const mostDetails = 1000

type errorBody struct {
	Code    troy.ErrorKind `json:"code"`
	Message string         `json:"message"`
	Field   string         `json:"field,omitempty"`
	Details []string       `json:"details,omitempty"`
}

func errorAnswer(e *troy.Error) any {
	return map[string]errorBody{"error": {e.Kind, e.Message, e.Field, e.Details[:min(len(e.Details), mostDetails)]}}
}

// fail answers with an error. Details of what a stranger may not read go to
// the log alone, under the request's id.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	n := note(r.Context())
	n.err = err
	e := visible(err)
	if e.Kind == troy.Internal {
		e = troy.Errorf(troy.Internal, "Internal error; Troy's log has the details under request %s", n.request)
	}
	if statusOf(e.Kind) == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(retrySeconds))
	}
	if e.Kind == troy.Unauthenticated && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Troy"`) // RFC 6750 §3
	}
	reply(w, statusOf(e.Kind), errorAnswer(e))
}

// visible is what a stranger may read of an error.
func visible(err error) *troy.Error {
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return troy.Errorf(troy.TooLarge, "the body is larger than %d bytes", e.Limit)
	}
	if e, ok := errors.AsType[*cloud.DigestError](err); ok {
		return troy.Errorf(troy.Invalid, "%s; nothing was kept", e.Error()).At("sha256")
	}
	if e, ok := errors.AsType[*cloud.MissingError](err); ok {
		return missingFiles(paths(e.Files))
	}
	if _, ok := errors.AsType[*intake.Unsure](err); ok {
		return troy.Errorf(troy.Unsure, "it may have been done: the connection to Postgres was lost before its answer; look, or send the request again with the same Idempotency-Key")
	}
	if away(err) {
		return troy.Errorf(troy.Unavailable, "Troy can't do this at the moment; nothing was done, try again")
	}
	return troy.Errorf(troy.Internal, "Internal error")
}

// passing are the Postgres errors of a server that starts, stops, fails over
// or is full (www.postgresql.org/docs/current/errcodes-appendix.html).
func passing() []string {
	return []string{"25006", "53000", "53100", "53200", "53300", "57P01", "57P02", "57P03", "58030"}
}

// away reports whether an error says that Postgres or the network is not
// there, or not in time.
func away(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return slices.Contains(passing(), e.Code) || len(e.Code) > 2 && e.Code[:2] == "08"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, puddle.ErrClosedPool} {
		if errors.Is(err, known) {
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

// answerTime is how long an answer may take to be written: the list of a
// large release's missing files has 25 MB.
const answerTime = 2 * time.Minute

// reply writes an answer as JSON.
func reply(w http.ResponseWriter, status int, v any) {
	// A writer without deadlines, as in tests, has no connection to hold.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// The only error left is a reader who is gone.
	_ = encoder.Encode(v)
}
