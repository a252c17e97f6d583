// Package reply writes HTTP responses: JSON, text, and errors, whose kinds it
// maps to statuses. Package web and package health call it.
package reply

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/troy-iaas/troy"
)

const (
	// retrySeconds is the value of Retry-After: Postgres restarts in a few
	// seconds.
	retrySeconds = 2
	// mostDetails is the maximum number of details in a response.
	mostDetails = 1000
	// answerTime bounds the time to write a response. The list of a large
	// release's missing files has 25 MB.
	answerTime = 2 * time.Minute
	// AdminChallenge makes a browser ask for an admin token (RFC 7617).
	AdminChallenge = `Basic realm="Troy: an admin token as the password", charset="UTF-8"`
)

// Public returns the part of an error that clients may see. For an unknown
// error it reveals nothing.
func Public(err error) *troy.Error {
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return e
	}
	if Away(err) {
		return troy.Errorf(troy.Unavailable, "Troy can't do this at the moment; nothing was done, try again")
	}
	return troy.Errorf(troy.Internal, "Internal error")
}

// passing returns the Postgres error codes of a server that starts, stops,
// fails over or is full
// (www.postgresql.org/docs/current/errcodes-appendix.html).
func passing() []string {
	return []string{"25006", "53000", "53100", "53200", "53300", "57P01", "57P02", "57P03", "58030"}
}

// Away reports whether an error means that Postgres or the network is
// unavailable or timed out, or that the disk is full.
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
	for _, known := range []error{context.DeadlineExceeded, context.Canceled, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, puddle.ErrClosedPool, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, known) {
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

// Limit sets the deadline for writing a response. It does nothing for a writer
// without deadlines, as in tests.
func Limit(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
}

// JSON writes a value as JSON.
func JSON(w http.ResponseWriter, status int, v any) {
	write(w, status, "application/json; charset=utf-8", v)
}

func write(w http.ResponseWriter, status int, contentType string, v any) {
	Limit(w)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// The only possible error is that the client is gone.
	_ = encoder.Encode(v)
}

// LargeJSON is JSON for large values: it writes the text while it makes it.
func LargeJSON(w http.ResponseWriter, status int, v any) {
	Limit(w)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// The only possible error is that the client is gone.
	_ = jsonv2.MarshalWrite(w, v)
}

// Text writes plain text.
func Text(w http.ResponseWriter, status int, s string) {
	Limit(w)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	// The only possible error is that the client is gone.
	_, _ = io.WriteString(w, s)
}
