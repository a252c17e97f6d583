// Package reply writes answers over HTTP: JSON, text, and errors by the one map
// from their kinds to statuses. Package web and package health call it.
package reply

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
)

// Status is the one map from errors to HTTP.
func Status(k troy.ErrorKind) int {
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

const (
	// retrySeconds is what Retry-After asks for: Postgres restarts in a few.
	retrySeconds = 2
	// mostDetails is the most lines of details in an answer.
	mostDetails = 1000
	// answerTime is how long an answer may take to be written: the list of a
	// large release's missing files has 25 MB.
	answerTime = 2 * time.Minute
	// AdminChallenge has a browser ask for an admin's token (RFC 7617).
	AdminChallenge = `Basic realm="Troy: an admin token as the password", charset="UTF-8"`
)

type errorBody struct {
	Code    troy.ErrorKind `json:"code"`
	Message string         `json:"message"`
	Field   string         `json:"field,omitempty"`
	Details []string       `json:"details,omitempty"`
}

// Error answers with an error that strangers may read, with the status of its
// kind.
func Error(w http.ResponseWriter, e *troy.Error) {
	status := Status(e.Kind)
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(retrySeconds))
	}
	if e.Kind == troy.Unauthenticated && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Troy"`) // RFC 6750 §3
	}
	ErrorAs(w, status, e)
}

// ErrorAs is Error for a status that the map does not have.
func ErrorAs(w http.ResponseWriter, status int, e *troy.Error) {
	JSON(w, status, map[string]errorBody{"error": {e.Kind, e.Message, e.Field, e.Details[:min(len(e.Details), mostDetails)]}})
}

// Public returns what a stranger may read of an error. It tells nothing of an
// error that it does not know.
func Public(err error) *troy.Error {
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return e
	}
	if Away(err) {
		return troy.Errorf(troy.Unavailable, "Troy can't do this at the moment; nothing was done, try again")
	}
	return troy.Errorf(troy.Internal, "Internal error")
}

// passing are the Postgres errors of a server that starts, stops, fails over
// or is full (www.postgresql.org/docs/current/errcodes-appendix.html).
func passing() []string {
	return []string{"25006", "53000", "53100", "53200", "53300", "57P01", "57P02", "57P03", "58030"}
}

// Away reports whether an error says that Postgres or the network is not
// there, or not in time.
func Away(err error) bool {
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

// Limit gives an answer the time that it may take to be written. A writer
// without deadlines, as in tests, has no connection to hold.
func Limit(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
}

// JSON answers with a value.
func JSON(w http.ResponseWriter, status int, v any) {
	Limit(w)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// The only error left is a reader who is gone.
	_ = encoder.Encode(v)
}

// Text answers with plain text.
func Text(w http.ResponseWriter, status int, s string) {
	Limit(w)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	// The only error left is a reader who is gone.
	_, _ = io.WriteString(w, s)
}
