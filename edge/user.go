package edge

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/troy-iaas/troy/internal/password"
)

// newCredentials returns the users and passwords in the rules of a live site, or
// nil if it has none. An id is the hash itself, whose salt is new with each
// deployment.
func newCredentials(distribution string, x *index) (*password.Secrets, error) {
	if x == nil || x.rules == nil || len(x.rules.Credentials()) == 0 {
		return nil, nil
	}
	s := password.NewSecrets(distribution)
	for _, hash := range x.rules.Credentials() {
		if err := s.Add(hash, hash); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// admitUser decides whether a request may see an answer that a rule protects
// (Basic-Auth). If it may not, admitUser answers it and returns false. Otherwise
// the caller answers through the returned writer.
func (s *Server) admitUser(w http.ResponseWriter, r *http.Request, l *live, guard int) (http.ResponseWriter, bool) {
	if _, ok := w.(*private); !ok {
		w = &private{ResponseWriter: w}
	}
	why := errNoPassword
	if user, typed, ok := r.BasicAuth(); ok && l.credentials != nil {
		at, err := s.keeper.Verify(r.Context(), l.credentials, s.proxies.Client(r), user+":"+typed)
		if err == nil && l.index.rules.Admits(guard, at) {
			return w, true
		}
		why = err // nil if the user may see other paths only
	}
	s.refuseUser(w, r, guard, why)
	return nil, false
}

// refuseUser answers a request without a user that a rule admits. Each rule is a
// realm of its own, so that a browser keeps a user for each (RFC 7617 §2.2).
func (s *Server) refuseUser(w http.ResponseWriter, r *http.Request, guard int, why error) {
	switch {
	case why == nil, errors.Is(why, errNoPassword), errors.Is(why, password.ErrWrong):
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Basic realm="protected area %d", charset="UTF-8"`, guard))
		s.pages.askUser.sendTo(w, r)
	case errors.Is(why, password.ErrManyAttempts):
		w.Header().Set("Retry-After", strconv.Itoa(int(password.AttemptsEvery/time.Second)))
		s.pages.manyUsers.sendTo(w, r)
	default: // password.ErrBusy, or the client left
		w.Header().Set("Retry-After", "5")
		s.pages.busyUsers.sendTo(w, r)
	}
}
