package edge

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// arrivedKey is the context key of the time at which a request was read.
type arrivedKey struct{}

// arrived marks a request with the current time, if its answer is to have
// Server-Timing.
func (s *Server) arrived(r *http.Request) *http.Request {
	if !s.timing {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), arrivedKey{}, time.Now()))
}

// serverTiming returns the value of Server-Timing (w3.org/TR/server-timing):
// how long the edge took to find the file, and where its content was. found is
// when the file was found.
func serverTiming(r *http.Request, found time.Time, from string) string {
	at, ok := r.Context().Value(arrivedKey{}).(time.Time)
	if !ok {
		return "cache;desc=" + from
	}
	took := float64(found.Sub(at).Microseconds()) / 1000
	return "lookup;dur=" + strconv.FormatFloat(took, 'f', -1, 64) + ", cache;desc=" + from
}

// keptTiming is the value for responses that are kept as a whole.
const keptTiming = "cache;desc=response"
