package credentials

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/troy-iaas/troy"
)

const (
	// issuerTime bounds each request to an issuer, and issuerBytes its answer.
	issuerTime  = 5 * time.Second
	issuerBytes = 1 << 20
	// issuerFresh is how long it is believed that an issuer answers, and
	// issuerRetry how long that it does not.
	issuerFresh = time.Minute
	issuerRetry = 10 * time.Second
	// mostExchanges is how many sign-ins ask an issuer at a time.
	mostExchanges = 8
	// CallbackPath is where an issuer sends people back to.
	CallbackPath = LoginPath + "/oidc/callback"
)

// IssuerConfig is the operator's settings of an issuer.
type IssuerConfig struct {
	URL                    string // the issuer identifier
	ClientID, ClientSecret string
	GroupsClaim            string // of the ID token or of the UserInfo answer
	Groups                 []Group
	Address                string // Troy's own
}

// CheckIssuer returns an Invalid error if an address can't be an issuer's: it
// must be HTTPS, except on loopback (OpenID Connect Discovery 1.0 §3).
func CheckIssuer(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && trusted(u) {
		return nil
	}
	if err == nil {
		address = u.Redacted()
	}
	return troy.Errorf(troy.Invalid, "%q is not the address of an issuer; expected one like https://id.example.com", troy.Clip(address))
}

func trusted(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// Issuer lets people sign in with OpenID Connect: by the authorization code flow
// (OpenID Connect Core 1.0 §3.1) with PKCE (RFC 7636).
type Issuer struct {
	cfg       IssuerConfig
	client    *http.Client
	exchanges chan struct{}

	mu       sync.Mutex
	provider *oidc.Provider // the last one that answered
	failed   error          // of the last look, nil if it answered
	looked   time.Time
}

// NewIssuer returns an issuer that is not asked yet.
func NewIssuer(cfg IssuerConfig) *Issuer {
	return &Issuer{
		cfg: cfg, exchanges: make(chan struct{}, mostExchanges), client: issuerClient(),
	}
}

// issuerClient returns a client for requests to issuers.
func issuerClient() *http.Client {
	return &http.Client{
		Timeout: issuerTime, Transport: bounded{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded cuts answers, so that no parser sees more than issuerBytes.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, issuerBytes), resp.Body}
	return resp, nil
}

// Name is the issuer's host, as people know it.
func (i *Issuer) Name() string {
	u, err := url.Parse(i.cfg.URL)
	if err != nil {
		return i.cfg.URL
	}
	return u.Host
}

// Groups are the groups that have a role.
func (i *Issuer) Groups() []Group { return slices.Clone(i.cfg.Groups) }

// Look returns an Unavailable error if the issuer does not answer. It asks the
// issuer at most once in a while.
func (i *Issuer) Look(ctx context.Context) error {
	_, err := i.look(ctx)
	return err
}

// look returns the issuer's description (OpenID Connect Discovery 1.0 §4), if
// need be the last one known, with an error if the issuer does not answer.
func (i *Issuer) look(ctx context.Context) (*oidc.Provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fresh := issuerFresh
	if i.failed != nil {
		fresh = issuerRetry
	}
	if i.looked.IsZero() || time.Since(i.looked) > fresh {
		// A visitor who leaves must not end it for those who wait.
		ctx := oidc.ClientContext(context.WithoutCancel(ctx), i.client)
		p, err := oidc.NewProvider(ctx, i.cfg.URL)
		if err == nil {
			err = checkEndpoints(p)
		}
		if i.looked, i.failed = time.Now(), nil; err != nil {
			i.failed = i.silent(err)
		} else {
			i.provider = p
		}
	}
	return i.provider, i.failed
}

// checkEndpoints returns an error if the description leads to an address that
// is not safe to go to.
func checkEndpoints(p *oidc.Provider) error {
	var keys struct {
		URL string `json:"jwks_uri"`
	}
	if err := p.Claims(&keys); err != nil {
		return err
	}
	for _, address := range []string{p.Endpoint().AuthURL, p.Endpoint().TokenURL, keys.URL, cmp.Or(p.UserInfoEndpoint(), keys.URL)} {
		if u, err := url.Parse(address); err != nil || u.Host == "" || !trusted(u) {
			return fmt.Errorf("its description names the address %q; expected one with https", troy.Clip(address))
		}
	}
	return nil
}

// silent says that the issuer does not answer. Only the log has the cause, which
// describes Troy's network.
func (i *Issuer) silent(cause error) error {
	return because(cause, troy.Errorf(troy.Unavailable, "%s does not answer; sign in with a token, or try again in a minute", i.Name()))
}

func because(cause, err error) error { return fmt.Errorf("%s: %w", tidy(cause.Error()), err) }

func (i *Issuer) oauth(p *oidc.Provider) *oauth2.Config {
	scopes := []string{oidc.ScopeOpenID, "profile", "email"}
	var described struct {
		Scopes []string `json:"scopes_supported"`
		Auth   []string `json:"token_endpoint_auth_methods_supported"`
	}
	endpoint := p.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader // the default (Discovery §3)
	if p.Claims(&described) == nil {
		// Some issuers tell groups only if they are asked to.
		if slices.Contains(described.Scopes, "groups") {
			scopes = append(scopes, "groups")
		}
		if slices.Contains(described.Auth, "client_secret_post") && !slices.Contains(described.Auth, "client_secret_basic") {
			endpoint.AuthStyle = oauth2.AuthStyleInParams
		}
	}
	return &oauth2.Config{
		ClientID: i.cfg.ClientID, ClientSecret: i.cfg.ClientSecret, Endpoint: endpoint, Scopes: scopes,
		RedirectURL: strings.TrimRight(i.cfg.Address, "/") + CallbackPath,
	}
}

// Attempt is a sign-in that a browser began. The browser keeps it in a cookie.
type Attempt struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Until    int64  `json:"u,string"` // when it ends, in Unix seconds
	Seal     []byte `json:"h"`        // proves that Troy began it
	Next     string `json:"p"`        // the path to go to afterwards
}

// sealOf returns the seal of an attempt: without it any client could make Troy
// ask the issuer. All processes have the same client secret.
func (i *Issuer) sealOf(a Attempt) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(i.cfg.ClientSecret), nil, "troy: a sign-in that began", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sign-ins: %w", err)
	}
	text, err := json.Marshal([]any{a.State, a.Nonce, a.Verifier, a.Until})
	if err != nil {
		return nil, fmt.Errorf("write a sign-in: %w", err)
	}
	sum := hmac.New(sha256.New, key)
	sum.Write(text)
	return sum.Sum(nil), nil
}

// checkSeal returns an Unauthenticated error if Troy did not begin an attempt
// or if it is too old.
func (i *Issuer) checkSeal(a Attempt) error {
	seal, err := i.sealOf(a)
	if err != nil {
		return err
	}
	if !hmac.Equal(seal, a.Seal) {
		return unauthenticated("Troy did not begin the sign-in that came back; sign in again")
	}
	if time.Now().Unix() > a.Until {
		return unauthenticated("the sign-in took longer than %s; sign in again", minutes(AttemptValid))
	}
	return nil
}

// Begin returns where to send a browser to sign in. The error is Unavailable if
// the issuer does not answer.
func (i *Issuer) Begin(ctx context.Context, next string) (address string, a Attempt, err error) {
	p, err := i.look(ctx)
	if err != nil {
		return "", a, err
	}
	a = Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Until: time.Now().Add(AttemptValid).Unix(), Next: next}
	if a.Seal, err = i.sealOf(a); err != nil {
		return "", a, err
	}
	return i.oauth(p).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), a, nil
}

// Finish returns the person who comes back from the issuer with this query. The
// error is Forbidden, with the person, if none of the person's groups has a
// role; Unavailable if the issuer does not answer; else Unauthenticated.
func (i *Issuer) Finish(ctx context.Context, a Attempt, query url.Values) (Person, error) {
	// Only then does the rest come from the issuer.
	if a.State == "" || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(a.State)) != 1 {
		return Person{}, unauthenticated("this browser did not begin the sign-in that came back; sign in again")
	}
	if err := i.checkSeal(a); err != nil {
		return Person{}, err
	}
	if iss := query.Get("iss"); iss != "" && iss != i.cfg.URL { // RFC 9207 §2.4
		return Person{}, unauthenticated("another issuer than %s answered", i.Name())
	}
	if code := query.Get("error"); code != "" {
		return Person{}, i.refusal(code, query.Get("error_description"))
	}
	select {
	case i.exchanges <- struct{}{}:
		defer func() { <-i.exchanges }()
	case <-ctx.Done():
		return Person{}, troy.Errorf(troy.Unavailable, "too many people sign in at the moment; try again")
	}
	p, err := i.look(ctx)
	if p == nil {
		return Person{}, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, i.client), 2*issuerTime)
	defer cancel()
	token, err := i.oauth(p).Exchange(ctx, query.Get("code"), oauth2.VerifierOption(a.Verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return Person{}, i.refusal(cmp.Or(refused.ErrorCode, fmt.Sprint("status ", refused.Response.StatusCode)), refused.ErrorDescription)
	}
	if err != nil {
		return Person{}, i.silent(err)
	}
	return i.person(ctx, p, token, a.Nonce)
}

func unauthenticated(format string, args ...any) *troy.Error {
	return troy.Errorf(troy.Unauthenticated, format, args...)
}

// refusals are the codes of errors (RFC 6749 §4.1.2.1 and §5.2) in words.
var refusals = map[string]string{
	"access_denied":           "the sign-in was cancelled, or you may not use Troy there",
	"invalid_grant":           "the sign-in was used before or took too long; sign in again",
	"invalid_client":          "it does not accept Troy's client id or secret; tell Troy's operator",
	"unauthorized_client":     "it does not let Troy sign people in; tell Troy's operator",
	"temporarily_unavailable": "it is not available at the moment; try again",
	"server_error":            "it failed; try again",
}

func (i *Issuer) refusal(code, description string) error {
	said, known := refusals[code]
	if !known {
		said = troy.Clip(code)
	}
	if description != "" {
		said += " (" + tidy(description) + ")"
	}
	return unauthenticated("%s answered: %s", i.Name(), said)
}

// claims are what an ID token says about a person.
type claims struct {
	Nonce    string `json:"nonce"`
	Party    string `json:"azp"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	Verified any    `json:"email_verified"` // some issuers write it as a text
}

func (i *Issuer) person(ctx context.Context, p *oidc.Provider, token *oauth2.Token, nonce string) (Person, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Person{}, unauthenticated("the answer of %s has no ID token", i.Name())
	}
	id, err := p.VerifierContext(ctx, &oidc.Config{ClientID: i.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return Person{}, because(err, unauthenticated("the ID token of %s is not valid; Troy's log has the reason", i.Name()))
	}
	var c claims
	all := map[string]json.RawMessage{}
	if err := errors.Join(id.Claims(&c), id.Claims(&all)); err != nil {
		return Person{}, because(err, unauthenticated("the ID token of %s can't be read", i.Name()))
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(nonce)) != 1:
		return Person{}, unauthenticated("the ID token of %s belongs to another sign-in; sign in again", i.Name())
	case c.Party != "" && c.Party != i.cfg.ClientID, len(id.Audience) > 1 && c.Party == "": // Core §3.1.3.7
		return Person{}, unauthenticated("the ID token of %s was issued to another client", i.Name())
	case id.Subject == "" || len(id.Subject) > maxSubject:
		return Person{}, unauthenticated("the ID token of %s names no one", i.Name())
	}
	who := Person{Issuer: i.cfg.URL, Subject: id.Subject, FullName: tidy(c.Name)}
	if verified := fmt.Sprint(c.Verified); verified == "true" {
		who.Email = tidy(c.Email)
	}
	in, told, err := i.groupsOf(ctx, p, token, id.Subject, all)
	if err != nil {
		return Person{}, err
	}
	who.Role, who.Pipelines, who.Groups = grant(i.cfg.Groups, in)
	if len(who.Groups) == 0 {
		return who, i.noGroup(who, told)
	}
	return who, nil
}

// groupsOf returns the groups of a person and whether the issuer tells any. If
// the ID token has none, the UserInfo answer may (Core §5.3).
func (i *Issuer) groupsOf(ctx context.Context, p *oidc.Provider, token *oauth2.Token, subject string, claims map[string]json.RawMessage) (in []string, told bool, err error) {
	raw, told := claims[i.cfg.GroupsClaim]
	if !told && p.UserInfoEndpoint() != "" {
		info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return nil, false, because(err, troy.Errorf(troy.Unavailable, "%s does not tell your groups; try again", i.Name()))
		}
		more := map[string]json.RawMessage{}
		if info.Subject != subject || info.Claims(&more) != nil {
			return nil, false, unauthenticated("the UserInfo answer of %s is about someone else", i.Name())
		}
		raw, told = more[i.cfg.GroupsClaim]
	}
	if !told {
		return nil, false, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, true, nil
	}
	if json.Unmarshal(raw, &in) != nil {
		return nil, false, unauthenticated("the claim %q of %s is not a list of groups; tell Troy's operator", i.cfg.GroupsClaim, i.Name())
	}
	return in, true, nil
}

func (i *Issuer) noGroup(who Person, told bool) error {
	var names []string
	for _, g := range i.cfg.Groups {
		names = append(names, g.Name)
	}
	known := "groups that may: " + strings.Join(names, ", ")
	if !told {
		return troy.Errorf(troy.Forbidden, "%s tells no groups of %s (the claim %q); %s", i.Name(), who.Name(), i.cfg.GroupsClaim, known)
	}
	return troy.Errorf(troy.Forbidden, "%s is in no group that may use Troy; %s", who.Name(), known)
}
