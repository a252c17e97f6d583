package edge

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/troy-iaas/troy/internal/password"
)

// maxForm is the maximum size of the form in bytes. A byte of the password may
// take three.
const maxForm = 4*password.MaxBytes + 1<<10

// isForm reports whether a request submits the password form, which posts to the
// address of the page that shows it.
func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return r.Method == http.MethodPost && err == nil && kind == "application/x-www-form-urlencoded"
}

// otherOrigins refuses forms of other sites' pages, which could use up a
// visitor's attempts.
var otherOrigins = http.NewCrossOriginProtection()

// signIn checks the password in a form. It leads back to the address with a
// cookie, or shows the page again.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, a *access, client netip.Addr) {
	if otherOrigins.Check(r) != nil {
		s.pages.otherOrigin.send(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		s.pages.badForm.send(w)
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !form.Has("password") {
		s.pages.badForm.send(w)
		return
	}
	at, err := s.keeper.Verify(r.Context(), a.secrets, client, form.Get("password"))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	http.SetCookie(w, s.session(r, a, a.passwords[at]))
	w.Header().Set("Location", back(r.URL))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}

// back returns the address of a request without scheme and host. It never names
// another host: browsers would read "//host" and "/\host" as one.
func back(u *url.URL) string {
	address := "/" + strings.TrimLeft(u.EscapedPath(), `/\`)
	if u.RawQuery != "" {
		address += "?" + escapeQuery(u.RawQuery)
	}
	return address
}

// basicChallenge asks programs for a password (RFC 7617).
const basicChallenge = `Basic realm="protected site", charset="UTF-8"`

// refuse answers a request without a correct password. People get the page with
// the form, and programs a challenge for Basic (RFC 7617). A browser's requests
// for a page's parts get no challenge, because it would open a window for them.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, why error) {
	status, page := http.StatusUnauthorized, &s.pages.askPassword
	switch {
	case errors.Is(why, password.ErrWrong):
		page = &s.pages.wrongPassword
	case errors.Is(why, password.ErrManyAttempts):
		status, page = http.StatusTooManyRequests, &s.pages.manyAttempts
		w.Header().Set("Retry-After", strconv.Itoa(int(password.AttemptsEvery/time.Second)))
	case errors.Is(why, password.ErrBusy), errors.Is(why, context.Canceled), errors.Is(why, context.DeadlineExceeded):
		status, page = http.StatusServiceUnavailable, &s.pages.busy
		w.Header().Set("Retry-After", "5")
	}
	if status == http.StatusUnauthorized {
		challenge := basicChallenge
		if wantsPage(r) || r.Header.Get("Sec-Fetch-Mode") != "" {
			// RFC 9110 §15.5.2 requires a challenge. Browsers ignore an unknown
			// one and show the page.
			challenge = "Form"
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	page.sendTo(w, r)
}

// wantsPage reports whether a request comes from a browser that shows the
// answer.
func wantsPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// sendTo writes the page to people, and its text to programs.
func (p *page) sendTo(w http.ResponseWriter, r *http.Request) {
	if wantsPage(r) {
		p.send(w)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	text := p.Title + ". " + p.Text + "\n"
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, text)
	}
}
