package reply

import (
	"net/http"
	"strconv"

	"github.com/troy-iaas/troy"
)

// RequestHeader names a request in answers and in the log.
const RequestHeader = "X-Request-Id"

// Class describes a kind of error to clients and to people.
type Class struct {
	Kind   troy.ErrorKind
	Status int    // of HTTP
	Title  string // the kind in words
	Advice string // what it means or what to do
}

// Classes returns the classes of all kinds of errors.
func Classes() []Class {
	return []Class{
		{troy.Invalid, http.StatusBadRequest, "The request is not valid", "Change the part that `field` names. A method that the path does not support is 405, and a `Host` that is not Troy's is 421."},
		{troy.Unauthenticated, http.StatusUnauthorized, "The token is missing or not valid", "Send a token that Troy knows and that is neither revoked nor expired."},
		{troy.Forbidden, http.StatusForbidden, "The token does not allow the request", "Its role or its pipelines do not allow the request, or a browser sends it for another site's page."},
		{troy.NotFound, http.StatusNotFound, "The object does not exist", "Or the token may not see it."},
		{troy.Conflict, http.StatusConflict, "The current status does not allow the request", "The detail names the status and what it allows. If files are missing, `details` lists the first 1,000 paths."},
		{troy.Moved, http.StatusPreconditionFailed, "A precondition does not hold", "The live deployment is not the one in `expect_live`, or the settings are not those of `If-Match`. Read the object again, then decide."},
		{troy.TooLarge, http.StatusRequestEntityTooLarge, "The request is over a limit", "Send less."},
		{troy.OverQuota, http.StatusInsufficientStorage, "The pipeline's quota is used up", "Nothing was stored. Remove earlier deployments (`POST …/prune`), finalize or abandon open releases, or ask the operator for a higher quota."},
		{troy.Unavailable, http.StatusServiceUnavailable, "Troy can't do this at the moment", "Nothing was done. Try again after `Retry-After` seconds."},
		{troy.Unsure, http.StatusServiceUnavailable, "The change may have been made", "Check, or send the request again with the same `Idempotency-Key`."},
		{troy.Internal, http.StatusInternalServerError, "Internal error", "The log has the details under the `request` of the answer."},
	}
}

func classOf(k troy.ErrorKind) Class {
	classes := Classes()
	for _, c := range classes {
		if c.Kind == k {
			return c
		}
	}
	return classes[len(classes)-1]
}

// Status returns the HTTP status for a kind of error.
func Status(k troy.ErrorKind) int { return classOf(k).Status }

// problem is the body of an error (RFC 9457). Its member error is the form for
// clients that do not know RFC 9457.
type problem struct {
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail"`
	Code     troy.ErrorKind `json:"code"`
	Field    string         `json:"field,omitempty"`
	Details  []string       `json:"details,omitempty"`
	Request  string         `json:"request,omitempty"`
	Pipeline any            `json:"pipeline,omitempty"`
	Stored   *int           `json:"stored,omitempty"`
	Error    errorBody      `json:"error"`
}

type errorBody struct {
	Code    troy.ErrorKind `json:"code"`
	Message string         `json:"message"`
	Field   string         `json:"field,omitempty"`
	Details []string       `json:"details,omitempty"`
}

// Error writes an error with the status of its kind. Clients see its text.
func Error(w http.ResponseWriter, e *troy.Error) { ErrorAbout(w, e, nil) }

// ErrorAbout is like Error and adds the pipeline as it is, if it is not nil.
func ErrorAbout(w http.ResponseWriter, e *troy.Error, pipeline any) { writeError(w, e, pipeline, nil) }

// ErrorAfter is like Error and adds how many of a batch's files were stored.
func ErrorAfter(w http.ResponseWriter, e *troy.Error, stored int) { writeError(w, e, nil, &stored) }

func writeError(w http.ResponseWriter, e *troy.Error, pipeline any, stored *int) {
	status := Status(e.Kind)
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(retrySeconds))
	}
	if e.Kind == troy.Unauthenticated && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Troy"`) // RFC 6750 §3
	}
	writeProblem(w, status, e, pipeline, stored)
}

// ErrorAs is like Error, for a status that Status does not return.
func ErrorAs(w http.ResponseWriter, status int, e *troy.Error) {
	writeProblem(w, status, e, nil, nil)
}

func writeProblem(w http.ResponseWriter, status int, e *troy.Error, pipeline any, stored *int) {
	class := classOf(e.Kind)
	details := e.Details[:min(len(e.Details), mostDetails)]
	write(w, status, "application/problem+json", problem{
		Type: "/docs#error-" + string(class.Kind), Title: class.Title, Status: status, Detail: e.Message, Code: e.Kind,
		Field: e.Field, Details: details, Request: w.Header().Get(RequestHeader), Pipeline: pipeline, Stored: stored,
		Error: errorBody{e.Kind, e.Message, e.Field, details},
	})
}
