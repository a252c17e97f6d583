package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/troy-iaas/troy"
)

// maxErrorAnswer is the maximum size of an error response in bytes. The paths
// of a thousand missing files fit in.
const maxErrorAnswer = 4 << 20

// answerFailure returns the failure for a response that is not 2xx.
func answerFailure(resp *http.Response) *failure {
	f := &failure{after: retryAfter(resp.Header)}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.passing = true
	}
	// problem+json has the same in its own members (RFC 9457).
	var body struct {
		Code    troy.ErrorKind `json:"code"`
		Detail  string         `json:"detail"`
		Field   string         `json:"field"`
		Details []string       `json:"details"`
		Stored  *int           `json:"stored"`
		Error   *struct {
			Code    troy.ErrorKind `json:"code"`
			Message string         `json:"message"`
			Field   string         `json:"field"`
			Details []string       `json:"details"`
		} `json:"error"`
	}
	// A response that can't be parsed is not Troy's.
	err := json.NewDecoder(io.LimitReader(resp.Body, maxErrorAnswer)).Decode(&body)
	kind := kindOfStatus(resp.StatusCode)
	if body.Code == "" && body.Error != nil {
		body.Code, body.Detail, body.Field, body.Details = body.Error.Code, body.Error.Message, body.Error.Field, body.Error.Details
	}
	if err != nil || body.Detail == "" || body.Code == "" && body.Error == nil {
		message := fmt.Sprintf("the server answered %s", status(resp))
		if where := resp.Header.Get("Location"); where != "" {
			message += " and points to " + where
		}
		f.err = &troy.Error{Kind: kind, Message: message + "; the response is not from Troy; is the address right?"}
		return f
	}
	f.stored = body.Stored
	e := &troy.Error{Kind: kind, Message: body.Detail, Field: body.Field, Details: body.Details}
	if slices.Contains(kinds(), body.Code) {
		e.Kind = body.Code
	}
	if id := resp.Header.Get("X-Request-Id"); id != "" && e.Kind == troy.Internal {
		e.Message += " (request " + id + ")"
	}
	// docs/api.md: nothing was done. A proxy's own 503 guarantees nothing.
	f.harmless = f.passing && e.Kind == troy.Unavailable
	f.err = e
	return f
}

func status(resp *http.Response) string {
	if text := http.StatusText(resp.StatusCode); text != "" {
		return fmt.Sprintf("%d %s", resp.StatusCode, text)
	}
	return fmt.Sprint(resp.StatusCode)
}

func kinds() []troy.ErrorKind {
	return []troy.ErrorKind{
		troy.Invalid, troy.Unauthenticated, troy.Forbidden, troy.NotFound, troy.Conflict,
		troy.Moved, troy.TooLarge, troy.OverQuota, troy.Unavailable, troy.Unsure, troy.Internal,
	}
}

// kindOfStatus returns the kind for a response without an error code of Troy's.
func kindOfStatus(status int) troy.ErrorKind {
	switch status {
	case http.StatusUnauthorized:
		return troy.Unauthenticated
	case http.StatusForbidden:
		return troy.Forbidden
	case http.StatusNotFound:
		return troy.NotFound
	case http.StatusConflict:
		return troy.Conflict
	case http.StatusPreconditionFailed:
		return troy.Moved
	case http.StatusRequestEntityTooLarge:
		return troy.TooLarge
	case http.StatusInsufficientStorage:
		return troy.OverQuota
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return troy.Unavailable
	case http.StatusBadRequest, http.StatusMisdirectedRequest:
		return troy.Invalid
	}
	return troy.Internal
}
