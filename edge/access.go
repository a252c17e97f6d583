package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
)

// errProtection means that a site's protection can't be read. The site must not
// be served.
var errProtection = errors.New("can't read the site's protection")

// errNoPassword means that a request has neither a password nor a session.
var errNoPassword = errors.New("no password")

// access is the protection of a host at one moment. It is immutable.
type access struct {
	host, distribution string
	networks           []netip.Prefix
	passwords          []site.Password
	secrets            *password.Secrets // of passwords, in their order
	// previewKey, if it is not nil, means that people need a session of the
	// dashboard.
	previewKey []byte
}

// newAccess returns the protection in a distribution's file, or nil if everyone
// may see the site, or the preview of it. Its errors are errProtection.
func newAccess(host, distribution string, raw *json.RawMessage, preview bool) (*access, error) {
	p, err := site.DecodeProtection(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtection, err)
	}
	if !preview {
		p.PreviewKey = nil
	}
	if p.Public() || p.PreviewsOnly && !preview {
		return nil, nil
	}
	a := &access{
		host: host, distribution: distribution, networks: p.Networks, passwords: p.Passwords, secrets: password.NewSecrets(distribution),
		previewKey: p.PreviewKey,
	}
	for i, w := range p.Passwords {
		if err := a.secrets.Add(w.ID, w.Hash); err != nil {
			return nil, fmt.Errorf("%w: password %d: %w", errProtection, i+1, err)
		}
	}
	return a, nil
}

// bytes returns the approximate memory of a protection in bytes.
func (a *access) bytes() int64 {
	if a == nil {
		return 0
	}
	const fixed, network, typed = 128, 32, 512
	return fixed + network*int64(len(a.networks)) + typed*int64(len(a.passwords))
}

// admit decides whether a request may learn anything about the site's content.
// If it may not, or if the request was to sign in, admit answers it and returns
// false. Otherwise the caller answers through the returned writer.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, a *access) (http.ResponseWriter, bool) {
	if a == nil {
		return w, s.readOnly(w, r)
	}
	w = &private{ResponseWriter: w}
	client := s.proxies.Client(r)
	if len(a.networks) > 0 && !slices.ContainsFunc(a.networks, func(n netip.Prefix) bool { return n.Contains(client) }) {
		s.pages.otherNetwork.send(w)
		return nil, false
	}
	ask := func() { s.refuse(w, r, errNoPassword) }
	switch {
	case a.previewKey != nil && r.URL.Path == site.PreviewSignIn:
		s.takeCode(w, r, a)
		return nil, false
	case a.previewKey != nil:
		if !ofNeighbour(r) && s.sessionOfPreview(r, a) {
			return w, s.readOnly(w, r)
		}
		ask = func() { s.askForSession(w, r, a) }
	case len(a.passwords) == 0:
		return w, s.readOnly(w, r)
	case isForm(r):
		s.signIn(w, r, a, client)
		return nil, false
	case s.signedIn(r, a):
		return w, s.readOnly(w, r)
	}
	if _, typed, ok := r.BasicAuth(); ok && len(a.passwords) > 0 {
		switch _, err := s.keeper.Verify(r.Context(), a.secrets, client, typed); {
		case err == nil:
			return w, s.readOnly(w, r)
		case !errors.Is(err, password.ErrWrong):
			s.refuse(w, r, err)
			return nil, false
		}
	}
	ask()
	return nil, false
}

// readOnly refuses POST, which only protected sites accept, to sign in.
func (s *Server) readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		return true
	}
	w.Header().Set("Allow", allowed)
	s.pages.badMethod.send(w)
	return false
}

// SessionLifetime is how long a visitor who signed in to a protected site stays
// signed in.
const SessionLifetime = 7 * 24 * time.Hour

// clockSkew is how far the clocks of several edges may differ.
const clockSkew = 5 * time.Minute

// maxCookies is how many cookies of the right name are checked. Other hosts of
// the same domain can set some that are not ours.
const maxCookies = 8

// cookieName returns the name of the session's cookie.
func (s *Server) cookieName(r *http.Request) (name string, secure bool) {
	return s.hostCookie(r, "troy_access")
}

// hostCookie returns the name of a cookie of a host. With the prefix __Host- a
// browser accepts the cookie only over HTTPS and from the host itself
// (draft-ietf-httpbis-rfc6265bis §4.1.3.2); over plain HTTP it would accept none.
func (s *Server) hostCookie(r *http.Request, name string) (full string, secure bool) {
	if s.https || r.TLS != nil {
		return "__Host-" + name, true
	}
	return name, false
}

// session returns the cookie for those who know the password w.
func (s *Server) session(r *http.Request, a *access, w site.Password) *http.Cookie {
	name, secure := s.cookieName(r)
	until := s.now().Add(SessionLifetime)
	expiry := strconv.FormatInt(until.Unix(), 10)
	return &http.Cookie{ //nolint:gosec // over plain HTTP a browser takes no secure cookie
		Name: name, Value: strings.Join([]string{w.ID, expiry, base64.RawURLEncoding.EncodeToString(sign(a.host, w, expiry))}, "."),
		Path: "/", MaxAge: int(SessionLifetime / time.Second), Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// sign returns the signature of a session: it is bound to the host, the
// password and the expiry.
func sign(host string, w site.Password, expiry string) []byte {
	mac := hmac.New(sha256.New, w.Key)
	_, _ = fmt.Fprintf(mac, "troy access 1\x00%s\x00%s\x00%s", host, w.ID, expiry)
	return mac.Sum(nil)
}

// signedIn reports whether a request has the cookie of a session that holds.
func (s *Server) signedIn(r *http.Request, a *access) bool {
	name, _ := s.cookieName(r)
	for i, c := range r.CookiesNamed(name) {
		if i == maxCookies {
			return false
		}
		if s.holds(a, c.Value) {
			return true
		}
	}
	return false
}

func (s *Server) holds(a *access, cookie string) bool {
	id, rest, _ := strings.Cut(cookie, ".")
	expiry, signature, _ := strings.Cut(rest, ".")
	at := slices.IndexFunc(a.passwords, func(w site.Password) bool { return w.ID == id })
	if at < 0 {
		return false // changed or removed meanwhile, or of another site
	}
	got, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(got, sign(a.host, a.passwords[at], expiry)) {
		return false
	}
	unix, err := strconv.ParseInt(expiry, 10, 64)
	until, now := time.Unix(unix, 0), s.now()
	return err == nil && now.Before(until) && until.Before(now.Add(SessionLifetime+clockSkew))
}
