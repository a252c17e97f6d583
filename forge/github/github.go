// Package github is the adapter to GitHub and GitHub Enterprise Server, as a
// GitHub app: it signs in with the app's key, gets installation tokens that are
// limited to one repository and one permission, reads sources, reports by check
// runs and deployments, requests failed deliveries again, and makes the app
// from a manifest. It has its own client for the dozen calls it needs: every
// answer is bounded, and no credential follows a redirect, which general
// clients leave to their callers. Workers call it through package forge's
// ports.
package github

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// Config is the configuration of a Client.
type Config struct {
	// APIURL is "https://api.github.com", the default, or "https://HOST/api/v3"
	// of a GitHub Enterprise Server.
	APIURL string
	// SiteURL is the address for browsers and git: "https://github.com", the
	// default, or "https://HOST".
	SiteURL string
	// ArchiveHosts are the hosts for archives, in addition to the API's own.
	// Empty means codeload.github.com.
	ArchiveHosts []string
	// MaxArchive bounds an archive, in bytes; 0 means 1 GiB.
	MaxArchive int64
	// App returns the app to act as. It is called for every token, so that a
	// new app is used at once. Its errors are returned to the caller.
	App func(ctx context.Context) (forge.App, error)
	// Transport and Now default to the standard ones.
	Transport http.RoundTripper
	Now       func() time.Time
}

// Client is a forge.Forge, forge.Deliveries and forge.AppSetup. It is safe for
// concurrent use.
type Client struct {
	cfg  Config
	api  *forge.REST
	site *url.URL

	mu     sync.Mutex
	grants map[grantKey]grant
}

// New returns a Client. It makes no request.
func New(cfg Config) (*Client, error) {
	if cfg.APIURL == "" {
		cfg.APIURL = "https://api.github.com"
	}
	if cfg.SiteURL == "" {
		cfg.SiteURL = "https://github.com"
	}
	if len(cfg.ArchiveHosts) == 0 {
		cfg.ArchiveHosts = []string{"codeload.github.com"}
	}
	if cfg.MaxArchive <= 0 {
		cfg.MaxArchive = 1 << 30
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	api, err := forge.NewREST(cfg.APIURL, cfg.Transport)
	if err != nil {
		return nil, fmt.Errorf("github API: %w", err)
	}
	site, err := forge.ParseBase(cfg.SiteURL)
	if err != nil {
		return nil, fmt.Errorf("github site: %w", err)
	}
	return &Client{cfg: cfg, api: api, site: site, grants: map[grantKey]grant{}}, nil
}

// access is a token's permission: only one, so that a request without it fails
// on its own, and a build's token can only read.
type access struct{ permission, level string }

var (
	readSource       = access{"contents", "read"}
	writeChecks      = access{"checks", "write"}
	writeDeployments = access{"deployments", "write"}
)

type grantKey struct {
	installation, repository string
	access                   access
}

// grant is a token with its purpose.
type grant struct {
	token   string
	expires time.Time
	found   forge.Found
}

const (
	// early is how long before its end a token is replaced.
	early = 5 * time.Minute
	// maxGrants bounds the cache; a full cache drops its expired tokens or, if
	// there are none, everything.
	maxGrants = 10_000
)

// with calls f with a token. A cached token may be older than a rename, a
// suspension or a revocation: if it is refused, with calls f again with a new
// one, whose answer has the repository's current name.
func (c *Client) with(ctx context.Context, r forge.Repository, a access, f func(g grant) error) error {
	g, cached, err := c.grant(ctx, r, a)
	if err != nil {
		return err
	}
	err = f(g)
	if !cached || !outdated(err) {
		return err
	}
	c.forget(key(r, a), g)
	if g, _, err = c.grant(ctx, r, a); err != nil {
		return err
	}
	return f(g)
}

// outdated reports whether a new token may get a better answer. GitHub reports
// suspensions by 403, revocations by 401, renames by a redirect.
func outdated(err error) bool {
	if status, ok := errors.AsType[*forge.StatusError](err); ok {
		switch status.Status {
		case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
			http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
			return true
		}
	}
	return false
}

func key(r forge.Repository, a access) grantKey {
	id := r.ID
	if id == "" {
		id = r.FullName
	}
	return grantKey{r.Installation, id, a}
}

func (c *Client) grant(ctx context.Context, r forge.Repository, a access) (g grant, cached bool, err error) {
	k := key(r, a)
	c.mu.Lock()
	g, ok := c.grants[k]
	c.mu.Unlock()
	if ok && c.cfg.Now().Before(g.expires.Add(-early)) {
		return g, true, nil
	}
	// Two concurrent callers get a token each, which is allowed.
	g, err = c.mint(ctx, r, a)
	if err != nil {
		return grant{}, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.grants) >= maxGrants {
		for k, old := range c.grants {
			if c.cfg.Now().After(old.expires.Add(-early)) {
				delete(c.grants, k)
			}
		}
		if len(c.grants) >= maxGrants {
			clear(c.grants)
		}
	}
	c.grants[k] = g
	return g, false, nil
}

func (c *Client) forget(k grantKey, g grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grants[k].token == g.token {
		delete(c.grants, k)
	}
}

// repository is a repository in GitHub's answers.
type repository struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
}

// mint gets a new token
// (docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app).
func (c *Client) mint(ctx context.Context, r forge.Repository, a access) (grant, error) {
	ask := struct {
		IDs         []int64           `json:"repository_ids,omitempty"`
		Names       []string          `json:"repositories,omitempty"`
		Permissions map[string]string `json:"permissions"`
	}{Permissions: map[string]string{a.permission: a.level}}
	if r.ID != "" {
		id, err := strconv.ParseInt(r.ID, 10, 64)
		if err != nil || id <= 0 {
			return grant{}, troy.Errorf(troy.Invalid, "github: %q is not the id of a repository", troy.Cut(r.ID, 50))
		}
		ask.IDs = []int64{id}
	} else {
		_, name, err := forge.SplitName(r.FullName)
		if err != nil {
			return grant{}, err
		}
		ask.Names = []string{name}
	}
	signed, err := c.sign(ctx)
	if err != nil {
		return grant{}, err
	}
	asked := r.Installation
	if asked == "" {
		if r.Installation, err = c.installation(ctx, signed, r.FullName); err != nil {
			return grant{}, err
		}
	}
	g, err := c.token(ctx, signed, r, a, ask)
	if asked == "" || !errors.Is(err, forge.ErrInstallation) {
		return g, err
	}
	// An app that was uninstalled and installed again has another id, and the
	// webhooks that report it may be late, lost or out of order.
	now, lookErr := c.installation(ctx, signed, r.FullName)
	if lookErr != nil || now == asked {
		return g, err
	}
	r.Installation = now
	return c.token(ctx, signed, r, a, ask)
}

// token gets a token of the repository's installation.
func (c *Client) token(ctx context.Context, signed string, r forge.Repository, a access, ask any) (grant, error) {
	if n, err := strconv.ParseInt(r.Installation, 10, 64); err != nil || n <= 0 {
		return grant{}, troy.Errorf(troy.Invalid, "github: %q is not the id of an installation", troy.Cut(r.Installation, 50))
	}
	var answer struct {
		Token        string       `json:"token"`
		ExpiresAt    time.Time    `json:"expires_at"`
		Repositories []repository `json:"repositories"`
	}
	if _, err := c.api.Do(ctx, call("POST", "/app/installations/"+r.Installation+"/access_tokens", signed, ask, &answer)); err != nil {
		missing := forge.ErrNoRepository
		if a != readSource {
			missing = forge.ErrForbidden
		}
		return grant{}, mintFailed(r, a, missing, err)
	}
	if answer.Token == "" || len(answer.Repositories) > 1 {
		return grant{}, fmt.Errorf("github: the token for installation %s is empty, or for several repositories", r.Installation)
	}
	g := grant{token: answer.Token, expires: answer.ExpiresAt, found: forge.Found{Repository: r}}
	if len(answer.Repositories) == 1 {
		got := answer.Repositories[0]
		g.found.ID, g.found.FullName = strconv.FormatInt(got.ID, 10), got.FullName
		g.found.DefaultBranch, g.found.Private = got.DefaultBranch, got.Private
	}
	if _, _, err := forge.SplitName(g.found.FullName); err != nil {
		return grant{}, fmt.Errorf("github: the name of repository %s: %w", r.ID, err)
	}
	return g, nil
}

// mintFailed classifies the refusal of a token: 403 means a suspended
// installation and 404 a removed one; 422 means that the installation does not
// include the repository, or that the app lacks the permission.
func mintFailed(r forge.Repository, a access, unprocessable, err error) error {
	what := fmt.Sprintf("github: a token of installation %s for %s with %s:%s", r.Installation, name(r), a.permission, a.level)
	status, ok := errors.AsType[*forge.StatusError](err)
	if !ok {
		return fmt.Errorf("%s: %w", what, err)
	}
	switch status.Status {
	case http.StatusForbidden, http.StatusNotFound:
		return troy.Errorf(troy.Forbidden, "%s: %w (%s)", what, forge.ErrInstallation, status)
	case http.StatusUnprocessableEntity:
		kind := troy.NotFound
		if errors.Is(unprocessable, forge.ErrForbidden) {
			kind = troy.Forbidden
		}
		return troy.Errorf(kind, "%s: %w (%s)", what, unprocessable, status)
	}
	return failed(what, forge.ErrNoRepository, err)
}

// installation looks up the installation with access to a repository.
func (c *Client) installation(ctx context.Context, signed, fullName string) (string, error) {
	owner, repo, err := forge.SplitName(fullName)
	if err != nil {
		return "", err
	}
	var answer struct {
		ID int64 `json:"id"`
	}
	_, err = c.api.Do(ctx, call("GET", "/repos/"+owner+"/"+repo+"/installation", signed, nil, &answer))
	if err != nil {
		return "", failed("github: the installation of the app on "+fullName, forge.ErrNoRepository, err)
	}
	return strconv.FormatInt(answer.ID, 10), nil
}

// sign makes the app's own credential, valid for at most ten minutes
// (docs.github.com, "Generating a JSON Web Token for a GitHub App"): issued a
// minute ago, for clocks that differ.
func (c *Client) sign(ctx context.Context) (string, error) {
	app, err := c.cfg.App(ctx)
	if err != nil {
		return "", fmt.Errorf("github: %w", err)
	}
	private, err := privateKey(app)
	if err != nil {
		return "", err
	}
	issuer := app.ClientID
	if issuer == "" {
		issuer = strconv.FormatInt(app.ID, 10)
	}
	now := c.cfg.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer:    issuer,
		IssuedAt:  jwt.NewNumericDate(now.Add(-time.Minute)),
		ExpiresAt: jwt.NewNumericDate(now.Add(9 * time.Minute)),
	})
	signed, err := token.SignedString(private)
	if err != nil {
		return "", fmt.Errorf("github: sign as %s: %w", app, err)
	}
	return "Bearer " + signed, nil
}

func privateKey(app forge.App) (*rsa.PrivateKey, error) {
	private, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(app.PrivateKey))
	if err != nil {
		// The parser's error could quote the key.
		return nil, troy.Errorf(troy.Invalid, "github: the private key of %s is not an RSA key in PEM", app)
	}
	return private, nil
}

// call makes a call with the API version for which the adapter was written
// (docs.github.com/rest/about-the-rest-api/api-versions).
func call(method, path, authorization string, body, into any) forge.Call {
	return forge.Call{
		Method: method, Path: path, Authorization: authorization, JSON: body, Into: into,
		Header: http.Header{"Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"}},
	}
}

// failed classifies an error; missing is the meaning of a 404. GitHub answers
// 409 for a repository without commits and 422 for an unknown commit id.
func failed(what string, missing, err error) error {
	status, ok := errors.AsType[*forge.StatusError](err)
	if !ok {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	switch status.Status {
	case http.StatusUnauthorized:
		return troy.Errorf(troy.Unauthenticated, "%s: %w (%s)", what, forge.ErrUnauthorized, status)
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return troy.Errorf(troy.Forbidden, "%s: %w (%s)", what, forge.ErrForbidden, status)
	case http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity:
		return troy.Errorf(troy.NotFound, "%s: %w (%s)", what, missing, status)
	}
	return fmt.Errorf("%s: %w", what, status)
}

// name is a repository's name in messages.
func name(r forge.Repository) string {
	if r.FullName != "" {
		return forge.Line(r.FullName, 200)
	}
	return "repository " + forge.Line(r.ID, 50)
}
