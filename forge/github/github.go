// Package github is the adapter to GitHub and GitHub Enterprise Server, as a
// GitHub app: it signs in with the app's key, takes installation tokens that
// are narrowed to one repository and one permission, reads sources, reports by
// check runs and deployments, asks for failed deliveries again, and makes the
// app from a manifest. It has a client of its own for the dozen calls it
// needs: every answer is bounded, and no credential follows a redirect, which
// the general clients leave to their callers. Workers call it through package
// forge's ports.
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

// Config is what a Client depends on.
type Config struct {
	// APIURL is "https://api.github.com", or "https://HOST/api/v3" of a GitHub
	// Enterprise Server. Empty means the first.
	APIURL string
	// SiteURL is where people and git go: "https://github.com", also when
	// empty, or "https://HOST".
	SiteURL string
	// ArchiveHosts are the hosts that archives may come from, besides the
	// API's own. Empty means codeload.github.com.
	ArchiveHosts []string
	// MaxArchive bounds an archive, in bytes; 0 means 1 GiB.
	MaxArchive int64
	// App returns the app to act as. It is asked for every token, so that an
	// app that was just set up is used at once. What it returns as an error is
	// passed on.
	App func(ctx context.Context) (forge.App, error)
	// Transport and Now may be nil for the standard ones.
	Transport http.RoundTripper
	Now       func() time.Time
}

// Client is a forge.Forge, forge.Deliveries and forge.AppSetup. It may be used
// by several goroutines at once.
type Client struct {
	cfg  Config
	api  *forge.REST
	site *url.URL

	mu     sync.Mutex
	grants map[grantKey]grant
}

// New returns a Client. It asks GitHub nothing yet.
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

// access is what a token may do: one permission, so that what was not granted
// to the app fails by itself, and a build's token can only read.
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

// grant is a token and what it is for.
type grant struct {
	token   string
	expires time.Time
	found   forge.Found
}

const (
	// early is how long before its end a token is no longer used.
	early = 5 * time.Minute
	// maxGrants bounds the cache; past it, what has ended is dropped, and if
	// nothing has, everything.
	maxGrants = 10_000
)

// with runs f with a token. A cached token may be of before a rename, a
// suspension or a revocation: when it is refused, f is run once more with a
// new one, whose answer has the repository's present name.
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

// outdated reports whether a new token may answer better. Suspensions are told
// by 403, revocations by 401, renames by a redirect.
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
	// Two that ask at once get a token each, which is allowed.
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

// repository is one in GitHub's answers.
type repository struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
}

// mint takes a new token
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
			return grant{}, troy.Errorf(troy.Invalid, "github: %q is not the id of a repository", forge.Cut(r.ID, 50))
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
	// webhooks that tell of it may be late, lost or out of order.
	now, lookErr := c.installation(ctx, signed, r.FullName)
	if lookErr != nil || now == asked {
		return g, err
	}
	r.Installation = now
	return c.token(ctx, signed, r, a, ask)
}

// token takes a token of the repository's installation.
func (c *Client) token(ctx context.Context, signed string, r forge.Repository, a access, ask any) (grant, error) {
	if n, err := strconv.ParseInt(r.Installation, 10, 64); err != nil || n <= 0 {
		return grant{}, troy.Errorf(troy.Invalid, "github: %q is not the id of an installation", forge.Cut(r.Installation, 50))
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

// mintFailed sorts why there is no token: 403 is a suspended installation and
// 404 one that was removed; 422 says that the repository is not one of the
// installation's, or that the app was not granted the permission.
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

// installation asks which installation sees a repository.
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

// sign makes the app's own credential, for ten minutes at most
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
		// The parser's own words could quote the key.
		return nil, troy.Errorf(troy.Invalid, "github: the private key of %s is not an RSA key in PEM", app)
	}
	return private, nil
}

// call is a call in the API's version that the adapter was written for
// (docs.github.com/rest/about-the-rest-api/api-versions).
func call(method, path, authorization string, body, into any) forge.Call {
	return forge.Call{
		Method: method, Path: path, Authorization: authorization, JSON: body, Into: into,
		Header: http.Header{"Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"}},
	}
}

// failed sorts an error; missing is what a 404 means here. GitHub answers 409
// for a repository without commits and 422 for an id that no commit has.
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

// name is how messages name a repository.
func name(r forge.Repository) string {
	if r.FullName != "" {
		return forge.Line(r.FullName, 200)
	}
	return "repository " + forge.Line(r.ID, 50)
}
