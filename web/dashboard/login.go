package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/internal/lru"
)

const (
	// failuresBurst is how many sign-ins may fail at an address at once, and
	// failuresEvery how often another one may.
	failuresBurst = 10
	failuresEvery = 6 * time.Second
	// mostAddresses is how many addresses' failures are remembered.
	mostAddresses = 10_000
)

// failures bounds the sign-ins that fail, by address, so that one address
// can't keep another one out.
type failures struct {
	of *lru.Cache[netip.Prefix, *rate.Limiter]
}

func newFailures() *failures {
	return &failures{of: lru.New[netip.Prefix, *rate.Limiter](mostAddresses)}
}

// tooMany reports whether an address has to wait.
func (f *failures) tooMany(address netip.Prefix) bool {
	l, ok := f.of.Get(address)
	return ok && l.Tokens() < 1
}

func (f *failures) add(address netip.Prefix) {
	l, ok := f.of.Get(address)
	if !ok {
		l = rate.NewLimiter(rate.Every(failuresEvery), failuresBurst)
		f.of.Put(address, l, 1)
	}
	l.Allow()
}

// addressOf is where a request comes from: an IPv4 address, or an IPv6 network
// of 64 bits, which is what one subscriber has (RFC 6177). Behind a proxy of
// the same machine or network it is the address that the proxy wrote last.
func addressOf(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() || addr.IsPrivate() {
		all := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if last, err := netip.ParseAddr(strings.TrimSpace(all[len(all)-1])); err == nil {
			addr = last.Unmap().WithZone("")
		}
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// loginView is the page on which people sign in.
type loginView struct {
	frame
	Next    string
	Problem string
}

// localPath returns where to go after signing in: a path of Troy's own, or /.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t\x00") || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	return next
}

// loginShow is the page, or with a link's code the sign-in itself.
func (d *Dashboard) loginShow(v *visit) error {
	next := localPath(v.r.URL.Query().Get("next"))
	code := v.r.URL.Query().Get("once")
	if code == "" {
		if _, err := d.deps.Sessions.Find(v.r); err == nil && v.r.URL.Query().Get("next") == "" {
			http.Redirect(v.w, v.r, "/", http.StatusSeeOther)
			return nil
		}
		return d.showLogin(v, http.StatusOK, loginView{Next: next})
	}
	// A browser that only fetches what may be opened next must not use it up.
	if strings.Contains(v.r.Header.Get("Sec-Purpose"), "prefetch") || v.r.Method != http.MethodGet {
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	return d.signIn(v, next, func() error { return d.deps.Sessions.SignInOnce(v.w, v.r, code) })
}

func (d *Dashboard) login(v *visit) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	next := localPath(v.r.PostForm.Get("next"))
	return d.signIn(v, next, func() error {
		who, err := d.deps.Sessions.SignIn(v.w, v.r, v.r.PostForm.Get("token"))
		if err == nil {
			d.deps.Note(v.ctx(), Note{Actor: who.Actor()})
		}
		return err
	})
}

func (d *Dashboard) signIn(v *visit, next string, in func() error) error {
	err := in()
	if troy.KindOf(err) == troy.Unauthenticated {
		// A valid token always signs in: others at the address can't keep its
		// holder out.
		address := addressOf(v.r)
		if d.failures.tooMany(address) {
			v.w.Header().Set("Retry-After", "6")
			return d.showLogin(v, http.StatusTooManyRequests, loginView{Next: next, Problem: "Too many sign-ins from your address failed. Wait a few seconds and try again."})
		}
		d.failures.add(address)
		d.deps.Note(v.ctx(), Note{Err: err})
		return d.showLogin(v, http.StatusUnauthorized, loginView{Next: next, Problem: sentence(public(err).Message)})
	}
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return nil
}

func (d *Dashboard) showLogin(v *visit, status int, view loginView) error {
	view.frame = d.frame(v, "Sign in")
	return d.show(v, status, "login.html", view)
}

func (d *Dashboard) logout(v *visit) error {
	if err := d.deps.Sessions.SignOut(v.w, v.r); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, credentials.LoginPath, http.StatusSeeOther)
	return nil
}

func badForm(err error) error {
	if public(err).Kind == troy.TooLarge {
		return err
	}
	return troy.Errorf(troy.Invalid, "the form could not be read: %v", err)
}

// systemView is the page about Troy itself.
type systemView struct {
	frame
	Sessions []credentials.Session
	Current  string
	All      bool // sessions of all tokens are listed
}

func (d *Dashboard) system(v *visit) error {
	list, err := d.deps.Sessions.List(v.ctx(), v.who)
	if err != nil {
		return err
	}
	return d.show(v, http.StatusOK, "system.html", systemView{
		frame: d.frame(v, "System"), Sessions: list, Current: d.deps.Sessions.Current(v.r), All: v.who.All() && v.who.Role.May(credentials.Admin),
	})
}

func (d *Dashboard) sessionRevoke(v *visit) error {
	if err := d.deps.Sessions.Revoke(v.ctx(), v.who, v.r.PathValue("session")); err != nil {
		d.failWith(v, err, failureView{Back: "/system"})
		return nil
	}
	d.deps.Log.InfoContext(v.ctx(), "revoked a session", "actor", v.who.Actor())
	http.Redirect(v.w, v.r, "/system", http.StatusSeeOther)
	return nil
}
