package edge

import (
	"crypto/rand"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
)

// maxUsedCodes is the maximum number of codes that an edge remembers.
const maxUsedCodes = 10_000

// usedCodes are the codes of the last minutes, so that each signs in once.
type usedCodes struct {
	mu    sync.Mutex
	codes *lru.Cache[string, struct{}]
}

func newUsedCodes() *usedCodes {
	return &usedCodes{codes: lru.New[string, struct{}](maxUsedCodes)}
}

// take reports whether a valid code was not taken before.
func (u *usedCodes) take(code string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.codes.Get(code); known {
		return false
	}
	u.codes.Put(code, struct{}{}, 1)
	return true
}

// The names of the cookies: of the mark by which the edge knows a browser again
// that it sent to Troy, and of the session.
const (
	markCookie    = "troy_mark"
	previewCookie = "troy_preview"
)

// markLifetime is how long people may take to sign in to Troy.
const markLifetime = time.Hour

var markForm = regexp.MustCompile(`^[A-Z2-7]{26}$`) // rand.Text's

// markOf returns the mark of a request's browser for which is says true, or "".
func (s *Server) markOf(r *http.Request, is func(mark string) bool) string {
	name, _ := s.hostCookie(r, markCookie)
	for i, c := range r.CookiesNamed(name) {
		if i == maxCookies {
			break
		}
		if markForm.MatchString(c.Value) && is(c.Value) {
			return c.Value
		}
	}
	return ""
}

// setCookie sets a cookie for all paths of the host; without an age it removes
// it.
func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	full, secure := s.hostCookie(r, name)
	c := &http.Cookie{ //nolint:gosec // over plain HTTP a browser takes no secure cookie
		Name: full, Value: value, Path: "/", MaxAge: int(age / time.Second), Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if age == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (a *access) visit() site.PreviewVisit {
	return site.PreviewVisit{Host: a.host, Distribution: a.distribution}
}

// sessionOfPreview reports whether a request has the cookie of a session that
// holds.
func (s *Server) sessionOfPreview(r *http.Request, a *access) bool {
	name, _ := s.hostCookie(r, previewCookie)
	for i, c := range r.CookiesNamed(name) {
		if i == maxCookies {
			return false
		}
		if a.visit().CheckSession(a.previewKey, c.Value, s.now()) {
			return true
		}
	}
	return false
}

// ofNeighbour reports whether a page of another host made the browser send a
// request, without leaving for the preview: as a script, an image or a frame.
func ofNeighbour(r *http.Request) bool {
	from := r.Header.Get("Sec-Fetch-Site")
	return (from == "same-site" || from == "cross-site") && !navigates(r)
}

// clearStorage has a browser forget the service workers and the data of earlier
// previews at the host.
func clearStorage(w http.ResponseWriter) { w.Header().Set("Clear-Site-Data", `"storage"`) }

// askForSession sends a browser that goes to a preview to Troy, where people
// sign in. It refuses all other requests.
func (s *Server) askForSession(w http.ResponseWriter, r *http.Request, a *access) {
	if s.troyURL == "" {
		s.pages.noTroy.sendTo(w, r)
		return
	}
	if !navigates(r) {
		challenge := "Form"
		if len(a.passwords) > 0 && !wantsPage(r) && r.Header.Get("Sec-Fetch-Mode") == "" {
			challenge = basicChallenge
		}
		w.Header().Set("WWW-Authenticate", challenge)
		s.pages.askForSession.sendTo(w, r)
		return
	}
	mark := s.markOf(r, func(string) bool { return true }) // of another tab
	if mark == "" {
		mark = rand.Text()
	}
	s.setCookie(w, r, markCookie, mark, markLifetime)
	clearStorage(w)
	s.seeOther(w, s.troyURL+a.visit().AskAddress(site.AskOf(mark), back(r.URL)))
}

// navigates reports whether a browser would show the answer to a request as a
// page of its own.
func navigates(r *http.Request) bool {
	is := func(name, value string) bool { got := r.Header.Get(name); return got == "" || got == value }
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && wantsPage(r) && is("Sec-Fetch-Mode", "navigate") && is("Sec-Fetch-Dest", "document")
}

// takeCode signs a browser in that comes back from Troy with a code. It never
// leads back to Troy, so that a browser without cookies does not go round, and
// shows no page at an address that has a code.
func (s *Server) takeCode(w http.ResponseWriter, r *http.Request, a *access) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		s.pages.badMethod.send(w)
		return
	}
	query := r.URL.Query()
	to, code := site.LocalAddress(query.Get("to")), query.Get("code")
	switch {
	case s.sessionOfPreview(r, a):
	case r.URL.RawQuery == "":
		s.pages.notSignedIn.sendTo(w, r)
		return
	case s.redeems(r, a, code):
		clearStorage(w)
		s.setCookie(w, r, markCookie, "", 0)
		s.setCookie(w, r, previewCookie, a.visit().Session(a.previewKey, s.now()), site.PreviewSession)
	default:
		to = site.PreviewSignIn
	}
	s.seeOther(w, to)
}

// redeems takes a code that was made for the request's browser.
func (s *Server) redeems(r *http.Request, a *access, code string) bool {
	mark := s.markOf(r, func(mark string) bool {
		return a.visit().CheckCode(a.previewKey, site.AskOf(mark), code, s.now())
	})
	return mark != "" && s.used.take(strings.Clone(code))
}

func (s *Server) seeOther(w http.ResponseWriter, address string) {
	h := w.Header()
	h.Set("Location", address)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}
