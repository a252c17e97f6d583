package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// failuresBurst is how many sign-ins may fail at an address at once, and
	// failuresEvery how often another one may.
	failuresBurst = 10
	failuresEvery = 6 * time.Second
	// mostExchanges is how many sign-ins of an address ask the issuer at once.
	mostExchanges = 2
	// mostAddresses is how many addresses' failures are remembered.
	mostAddresses = 10_000
)

// Failures bounds the sign-ins that fail and those that ask an issuer, by
// address, so that one address can't keep another one out.
type Failures struct {
	mu sync.Mutex
	of *lru.Cache[netip.Prefix, *signIns]
}

// signIns are the sign-ins from an address.
type signIns struct {
	limiter   *rate.Limiter // of those that fail
	exchanges chan struct{} // one slot for each that asks the issuer
}

// NewFailures returns Failures without any.
func NewFailures() *Failures {
	return &Failures{of: lru.New[netip.Prefix, *signIns](mostAddresses)}
}

func (f *Failures) at(address netip.Prefix) *signIns {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.of.Get(address)
	if !ok {
		s = &signIns{rate.NewLimiter(rate.Every(failuresEvery), failuresBurst), make(chan struct{}, mostExchanges)}
		f.of.Put(address, s, 1)
	}
	return s
}

// TooMany reports whether an address has to wait.
func (f *Failures) TooMany(address netip.Prefix) bool { return f.at(address).limiter.Tokens() < 1 }

// Add counts a failure of an address.
func (f *Failures) Add(address netip.Prefix) { f.at(address).limiter.Allow() }

// exchange waits until an address may ask the issuer, and returns the function
// that ends that.
func (f *Failures) exchange(ctx context.Context, address netip.Prefix) (done func(), err error) {
	slots := f.at(address).exchanges
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, troy.Errorf(troy.Unavailable, "too many people sign in from your address at the moment; try again")
	}
}

// refusals bounds what the audit trail says of sign-ins that fail, which anyone
// can cause. The next entry counts those left out.
type refusals struct {
	limiter *rate.Limiter
	omitted atomic.Int64
}

const (
	refusalsBurst = 30
	refusalsEvery = 20 * time.Second
)

func newRefusals() *refusals {
	return &refusals{limiter: rate.NewLimiter(rate.Every(refusalsEvery), refusalsBurst)}
}

// record writes that a sign-in failed, unless there are too many.
func (d *Dashboard) recordRefusal(v *visit, c intake.Change, err error) {
	if !d.refusals.limiter.Allow() {
		d.refusals.omitted.Add(1)
		return
	}
	n := d.refusals.omitted.Swap(0)
	c.Action, c.Detail = intake.SessionRefuse, troy.Clip(public(err).Message)
	if n > 0 {
		c.Detail += fmt.Sprintf(" (%d earlier failures are not listed)", n)
	}
	if err := intake.Audit(v.ctx(), d.q, c); err != nil {
		d.refusals.omitted.Add(n + 1)
		d.deps.Log.WarnContext(v.ctx(), "a failed sign-in could not be recorded", "error", err)
	}
}

// addressOf is whose failures are counted together.
func (d *Dashboard) addressOf(r *http.Request) netip.Prefix {
	return network.Subscriber(d.cfg.Proxies.Client(r))
}

// loginView is the page on which people sign in.
type loginView struct {
	frame
	Next    string
	Problem string
	Unsent  bool   // the browser sent something that was not done
	Issuer  string // its name, empty without one
	Begin   string // where to sign in with it
	Down    bool   // it does not answer
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

// Login sends a browser to sign in. It comes back to where it was.
func Login(w http.ResponseWriter, r *http.Request) {
	query := url.Values{}
	if back := pageOfRequest(r); back != "/" {
		query.Set("next", back)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		query.Set("unsent", "1") // what was to be done is asked for again, from its page
	}
	to := credentials.LoginPath
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	if r.Header.Get("HX-Request") != "" {
		w.Header().Set("HX-Redirect", to) // htmx would swap the page in
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signedOut reports whether a browser's request failed for want of a session.
func signedOut(r *http.Request, err error) bool {
	return troy.KindOf(err) == troy.Unauthenticated && r.Header.Get("Authorization") == ""
}

// pageOfRequest is the page that a request belongs to: the one that has its
// form, or that htmx loads a part of.
func pageOfRequest(r *http.Request) string {
	page := r.Method == http.MethodGet || r.Method == http.MethodHead
	if page && r.Header.Get("HX-Request") == "" {
		return localPath(r.URL.RequestURI())
	}
	for _, text := range []string{r.Header.Get("HX-Current-URL"), r.Referer()} {
		if u, err := url.Parse(text); err == nil && u.Host == r.Host && u.Path != credentials.LoginPath {
			return localPath(u.RequestURI())
		}
	}
	if page {
		return localPath(r.URL.RequestURI())
	}
	back, _, _ := strings.Cut(r.URL.EscapedPath(), "/actions/")
	if page, _, found := strings.Cut(back, "/settings/"); found {
		back = page + "/settings"
	}
	if back == r.URL.EscapedPath() {
		return "/"
	}
	return localPath(back)
}

// loginShow is the page, or with a link's code the sign-in itself.
func (d *Dashboard) loginShow(v *visit) error {
	query := v.r.URL.Query()
	next := localPath(query.Get("next"))
	code := query.Get("once")
	if code == "" {
		if _, err := d.deps.Sessions.Find(v.r); err == nil && query.Get("next") == "" {
			http.Redirect(v.w, v.r, "/", http.StatusSeeOther)
			return nil
		}
		return d.showLogin(v, http.StatusOK, loginView{Next: next, Unsent: query.Has("unsent")})
	}
	// A browser that only fetches what may be opened next must not use it up.
	if strings.Contains(v.r.Header.Get("Sec-Purpose"), "prefetch") || v.r.Method != http.MethodGet {
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	return d.signIn(v, next, "sign-in link", func(s credentials.Sessions) (credentials.Holder, error) {
		return s.SignInOnce(v.w, v.r, code)
	})
}

func (d *Dashboard) login(v *visit) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	token := v.r.PostForm.Get("token")
	return d.signIn(v, localPath(v.r.PostForm.Get("next")), "token", func(s credentials.Sessions) (credentials.Holder, error) {
		return s.SignIn(v.w, v.r, token)
	})
}

// signIn begins a session and records it, or shows why not. by says what people
// sign in with.
func (d *Dashboard) signIn(v *visit, next, by string, in func(credentials.Sessions) (credentials.Holder, error)) error {
	v.r = v.r.WithContext(intake.By(v.ctx(), "", d.cfg.Proxies.Name(v.r)))
	err := d.deps.Intake.Recorded(v.ctx(), func(db queries.DBTX) (intake.Change, error) {
		s := d.deps.Sessions
		s.DB = db
		who, err := in(s)
		if err == nil {
			d.deps.Note(v.ctx(), Note{Actor: who.Actor()})
		}
		return intake.Change{Action: intake.SessionCreate, Subject: troy.BrowserName(v.r.UserAgent()), Detail: "by " + by, Actor: who.Actor()}, err
	})
	if kind := troy.KindOf(err); err != nil && (kind == troy.Unauthenticated || kind == troy.Forbidden) {
		return d.refuse(v, next, by, err)
	}
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return nil
}

// refuse shows the page to sign in again, with the reason. A valid token is
// never refused for the number of sign-ins that failed: others at the address
// can't keep anyone out.
func (d *Dashboard) refuse(v *visit, next, by string, err error) error {
	address := d.addressOf(v.r)
	if d.failures.TooMany(address) {
		return d.showTooMany(v, next)
	}
	d.failures.Add(address)
	d.deps.Note(v.ctx(), Note{Err: err})
	d.recordRefusal(v, intake.Change{Subject: by, Actor: "unknown"}, err)
	return d.showLogin(v, reply.Status(troy.KindOf(err)), loginView{Next: next, Problem: sentence(public(err).Message)})
}

func (d *Dashboard) showTooMany(v *visit, next string) error {
	v.w.Header().Set("Retry-After", "6")
	return d.showLogin(v, http.StatusTooManyRequests, loginView{Next: next, Problem: "Too many sign-ins from your address failed. Wait a few seconds and try again, or sign in with a token."})
}

func (d *Dashboard) showLogin(v *visit, status int, view loginView) error {
	view.frame = d.frame(v, "Sign in")
	if issuer := d.deps.Issuer; issuer != nil {
		view.Issuer = issuer.Name()
		view.Begin = credentials.LoginPath + "/oidc?" + url.Values{"next": {view.Next}}.Encode()
		if err := issuer.Look(v.ctx()); err != nil {
			d.deps.Log.WarnContext(v.ctx(), "people can sign in by token alone", "error", err)
			view.Down = true
		}
	}
	return d.show(v, status, "login.html", view)
}

func (d *Dashboard) logout(v *visit) error {
	v.r = v.r.WithContext(intake.By(v.ctx(), "", d.cfg.Proxies.Name(v.r)))
	err := d.deps.Intake.Recorded(v.ctx(), func(db queries.DBTX) (intake.Change, error) {
		s := d.deps.Sessions
		s.DB = db
		ended, err := s.SignOut(v.r)
		who := ended.Holder.Actor()
		return intake.Change{Action: intake.SessionRevoke, Subject: who, Detail: troy.BrowserName(ended.UserAgent), Actor: who}, err
	})
	if err != nil && troy.KindOf(err) != troy.NotFound { // it has ended already
		return err
	}
	d.deps.Sessions.TakeCookie(v.w)
	http.Redirect(v.w, v.r, credentials.LoginPath, http.StatusSeeOther)
	return nil
}

func badForm(err error) error {
	if public(err).Kind == troy.TooLarge {
		return err
	}
	return troy.Errorf(troy.Invalid, "the form could not be read: %v", err)
}
