// Package bitbucket is the adapter to Bitbucket Cloud, with an access token of
// a repository, project or workspace, or as an already installed Atlassian
// Connect app: it reads sources, reports build statuses, makes the webhooks of
// repositories, and describes the Connect app. Workers call it through package
// forge's ports.
package bitbucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// Credential is Troy's credential. Exactly one of the two fields is set.
type Credential struct {
	// AccessToken belongs to a repository, a project or a workspace.
	AccessToken string
	// Sign makes the JWT of a Connect installation for one request, whose path
	// is relative to the site. Bitbucket exchanges it for an access token.
	Sign func(method, path string, query url.Values) (string, error)
}

// Format implements fmt.Formatter; it reveals nothing for any verb.
func (Credential) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[hidden]") }

// Config is the configuration of a Client.
type Config struct {
	// APIURL defaults to "https://api.bitbucket.org". SiteURL, for browsers,
	// git and archives, defaults to "https://bitbucket.org".
	APIURL, SiteURL string
	// ArchiveHosts are additional hosts for archives.
	ArchiveHosts []string
	// MaxArchive bounds an archive, in bytes; 0 means 1 GiB.
	MaxArchive int64
	// Credential returns the credential for an installation's id. Its errors
	// are returned to the caller.
	Credential func(ctx context.Context, installation string) (Credential, error)
	// Transport and Now default to the standard ones.
	Transport http.RoundTripper
	Now       func() time.Time
}

// Client is a forge.Forge and forge.Hooks. It is safe for concurrent use.
type Client struct {
	cfg       Config
	api, site *forge.REST
	siteURL   *url.URL

	mu     sync.Mutex
	tokens map[string]token // of Connect installations
}

// token is an access token. A token that a user made is used until it is
// refused; expires is then zero.
type token struct {
	value   string
	expires time.Time
}

const (
	// early is how long before its end a token is replaced.
	early = 5 * time.Minute
	// maxTokens bounds the cache.
	maxTokens = 1000
)

// New returns a Client. It makes no request.
func New(cfg Config) (*Client, error) {
	if cfg.APIURL == "" {
		cfg.APIURL = "https://api.bitbucket.org"
	}
	if cfg.SiteURL == "" {
		cfg.SiteURL = "https://bitbucket.org"
	}
	if cfg.MaxArchive <= 0 {
		cfg.MaxArchive = 1 << 30
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	api, err := forge.NewREST(cfg.APIURL, cfg.Transport)
	if err != nil {
		return nil, fmt.Errorf("bitbucket API: %w", err)
	}
	site, err := forge.NewREST(cfg.SiteURL, cfg.Transport)
	if err != nil {
		return nil, fmt.Errorf("bitbucket site: %w", err)
	}
	siteURL, err := forge.ParseBase(cfg.SiteURL)
	if err != nil {
		return nil, fmt.Errorf("bitbucket site: %w", err)
	}
	return &Client{cfg: cfg, api: api, site: site, siteURL: siteURL, tokens: map[string]token{}}, nil
}

// with calls f with a token, and again with a new one if a cached one is
// refused.
func (c *Client) with(ctx context.Context, r forge.Repository, f func(t token) error) error {
	t, cached, err := c.token(ctx, r.Installation)
	if err != nil {
		return err
	}
	err = f(t)
	if status, ok := errors.AsType[*forge.StatusError](err); !ok || !cached || status.Status != http.StatusUnauthorized {
		return err
	}
	c.mu.Lock()
	delete(c.tokens, r.Installation)
	c.mu.Unlock()
	if t, _, err = c.token(ctx, r.Installation); err != nil {
		return err
	}
	return f(t)
}

func (c *Client) token(ctx context.Context, installation string) (t token, cached bool, err error) {
	credential, err := c.cfg.Credential(ctx, installation)
	if err != nil {
		return token{}, false, fmt.Errorf("bitbucket: the credentials of %s: %w", forge.Line(installation, 100), err)
	}
	switch {
	case credential.Sign == nil && credential.AccessToken != "":
		return token{value: credential.AccessToken}, false, nil
	case credential.Sign == nil:
		return token{}, false, troy.Errorf(troy.Forbidden, "bitbucket: %s: %w", forge.Line(installation, 100), forge.ErrInstallation)
	}
	c.mu.Lock()
	t, ok := c.tokens[installation]
	c.mu.Unlock()
	if ok && c.cfg.Now().Before(t.expires.Add(-early)) {
		return t, true, nil
	}
	if t, err = c.exchange(ctx, installation, credential); err != nil {
		return token{}, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) >= maxTokens {
		clear(c.tokens)
	}
	c.tokens[installation] = t
	return t, false, nil
}

// exchangePath exchanges a Connect app's JWT for an access token
// (developer.atlassian.com/cloud/bitbucket/oauth-2: the JWT grant).
const exchangePath = "/site/oauth2/access_token"

func (c *Client) exchange(ctx context.Context, installation string, credential Credential) (token, error) {
	what := "bitbucket: the token of Connect installation " + forge.Line(installation, 100)
	signed, err := credential.Sign(http.MethodPost, exchangePath, nil)
	if err != nil {
		return token{}, fmt.Errorf("%s: sign: %w", what, err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	_, err = c.site.Do(ctx, forge.Call{
		Method: http.MethodPost, Path: exchangePath, Authorization: "JWT " + signed,
		Form: url.Values{"grant_type": {"urn:bitbucket:oauth2:jwt"}}, Into: &answer,
	})
	if status, ok := errors.AsType[*forge.StatusError](err); ok {
		switch status.Status {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound:
			// The installation's secret is not valid any more.
			return token{}, troy.Errorf(troy.Forbidden, "%s: %w (%s)", what, forge.ErrInstallation, status)
		}
	}
	if err != nil {
		return token{}, failed(what, forge.ErrInstallation, err)
	}
	if answer.AccessToken == "" || answer.ExpiresIn <= 0 {
		return token{}, fmt.Errorf("%s: the answer has no token, or none that lasts", what)
	}
	return token{answer.AccessToken, c.cfg.Now().Add(time.Duration(min(answer.ExpiresIn, 86400)) * time.Second)}, nil
}

var idForm = regexp.MustCompile(`^\{[0-9a-f-]{36}\}$`)

// path returns the API's path of a repository: the owner by name, the
// repository by its UUID, so that a renamed repository is found, and no other
// under its old name
// (developer.atlassian.com/cloud/bitbucket/rest/intro/#uuid).
func path(r forge.Repository) (string, error) {
	owner, repo, err := forge.SplitName(r.FullName)
	if err != nil {
		return "", err
	}
	if r.ID != "" {
		if !idForm.MatchString(r.ID) {
			return "", troy.Errorf(troy.Invalid, "bitbucket: %q is not the UUID of a repository", troy.Cut(r.ID, 50))
		}
		repo = r.ID
	}
	return "/2.0/repositories/" + owner + "/" + url.PathEscape(repo), nil
}

func bearer(t token) string { return "Bearer " + t.value }

// get makes a GET call about a repository.
func (c *Client) get(ctx context.Context, r forge.Repository, below string, query url.Values, into any) error {
	base, err := path(r)
	if err != nil {
		return err
	}
	return c.with(ctx, r, func(t token) error {
		_, err := c.api.Do(ctx, forge.Call{Method: http.MethodGet, Path: base + below, Query: query, Authorization: bearer(t), Into: into})
		return err
	})
}

// lost tells after a 404 for something in a repository which of the two is
// gone: the repository or the thing.
func (c *Client) lost(ctx context.Context, r forge.Repository, what string, err error) error {
	missing := forge.ErrNoCommit
	if status, ok := errors.AsType[*forge.StatusError](err); ok && status.Status == http.StatusNotFound {
		var none struct{}
		again := c.get(ctx, r, "", nil, &none)
		if status, ok := errors.AsType[*forge.StatusError](again); ok && status.Status == http.StatusNotFound {
			missing = forge.ErrNoRepository
		} else if again != nil {
			return failed(what, missing, again)
		}
	}
	return failed(what, missing, err)
}

// failed classifies an error; missing is the meaning of a 404.
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
	case http.StatusForbidden:
		return troy.Errorf(troy.Forbidden, "%s: %w (%s)", what, forge.ErrForbidden, status)
	case http.StatusNotFound, http.StatusGone:
		kind := troy.NotFound
		if errors.Is(missing, forge.ErrInstallation) {
			kind = troy.Forbidden
		}
		return troy.Errorf(kind, "%s: %w (%s)", what, missing, status)
	case http.StatusBadRequest:
		return troy.Errorf(troy.Invalid, "%s: %s", what, status)
	}
	return fmt.Errorf("%s: %w", what, status)
}

// Repository implements forge.Forge
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-repositories).
func (c *Client) Repository(ctx context.Context, r forge.Repository) (forge.Found, error) {
	var answer struct {
		UUID       string `json:"uuid"`
		FullName   string `json:"full_name"`
		IsPrivate  bool   `json:"is_private"`
		MainBranch *struct {
			Name string `json:"name"`
		} `json:"mainbranch"`
	}
	what := "bitbucket: repository " + forge.Line(r.FullName, 200)
	if err := c.get(ctx, r, "", nil, &answer); err != nil {
		return forge.Found{}, failed(what, forge.ErrNoRepository, err)
	}
	found := forge.Found{Private: answer.IsPrivate, Repository: forge.Repository{
		Installation: r.Installation, ID: strings.ToLower(answer.UUID), FullName: answer.FullName,
	}}
	if _, err := path(found.Repository); err != nil || found.ID == "" {
		return forge.Found{}, fmt.Errorf("%s: the answer has no UUID or no name", what)
	}
	if answer.MainBranch != nil {
		found.DefaultBranch = forge.Line(answer.MainBranch.Name, 250)
	}
	return found, nil
}

// Head implements forge.Forge
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-refs).
func (c *Client) Head(ctx context.Context, r forge.Repository, branch string) (string, error) {
	escaped, err := forge.EscapeBranch(branch)
	if err != nil {
		return "", err
	}
	var answer struct {
		Name   string `json:"name"`
		Target struct {
			Hash string `json:"hash"`
		} `json:"target"`
	}
	what := fmt.Sprintf("bitbucket: the head of %s of %s", branch, r.FullName)
	if err := c.get(ctx, r, "/refs/branches/"+escaped, nil, &answer); err != nil {
		return "", c.lost(ctx, r, what, err)
	}
	if answer.Name != branch || forge.CheckCommit(answer.Target.Hash) != nil {
		return "", fmt.Errorf("%s: the answer is about something else", what)
	}
	return answer.Target.Hash, nil
}

// Commit implements forge.Forge
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-commits).
func (c *Client) Commit(ctx context.Context, r forge.Repository, id string) (forge.Commit, error) {
	if err := forge.CheckShortCommit(id); err != nil {
		return forge.Commit{}, err
	}
	var answer struct {
		Hash    string    `json:"hash"`
		Message string    `json:"message"`
		Date    time.Time `json:"date"`
		Author  struct {
			Raw string `json:"raw"` // "Name <address>"
		} `json:"author"`
	}
	what := fmt.Sprintf("bitbucket: commit %s of %s", id, r.FullName)
	if err := c.get(ctx, r, "/commit/"+id, nil, &answer); err != nil {
		return forge.Commit{}, c.lost(ctx, r, what, err)
	}
	if forge.CheckCommit(answer.Hash) != nil || !strings.HasPrefix(answer.Hash, id) {
		return forge.Commit{}, troy.Errorf(troy.NotFound, "%s: %w", what, forge.ErrNoCommit)
	}
	author, _, _ := strings.Cut(answer.Author.Raw, " <")
	return forge.Commit{
		ID: answer.Hash, Message: troy.Cut(answer.Message, troy.MaxMessage), Author: forge.Line(author, 200), Time: answer.Date,
	}, nil
}

// Archive implements forge.Forge. Archives come from the web site, not the API.
// The site accepts some credentials, and refuses others or redirects to its
// sign-in page, so any answer other than an archive is ErrNoArchive.
func (c *Client) Archive(ctx context.Context, r forge.Repository, commit string) (io.ReadCloser, error) {
	if err := forge.CheckCommit(commit); err != nil {
		return nil, err
	}
	// The site uses names, so look up the current one.
	found, err := c.Repository(ctx, r)
	if err != nil {
		return nil, err
	}
	var body io.ReadCloser
	err = c.with(ctx, r, func(t token) (err error) {
		body, err = c.site.Download(ctx, forge.Call{
			Method: http.MethodGet, Path: "/" + found.FullName + "/get/" + commit + ".tar.gz", Authorization: bearer(t),
		}, c.cfg.ArchiveHosts, c.cfg.MaxArchive)
		return err
	})
	what := fmt.Sprintf("bitbucket: the archive of commit %s of %s", commit, found.FullName)
	if status, ok := errors.AsType[*forge.StatusError](err); ok && status.Status < 500 {
		return nil, troy.Errorf(troy.Conflict, "%s: %w (%s)", what, forge.ErrNoArchive, status)
	}
	if troy.KindOf(err) == troy.Forbidden && !errors.Is(err, forge.ErrInstallation) {
		// It would lead to another host, where people sign in.
		return nil, troy.Errorf(troy.Conflict, "%s: %w (%s)", what, forge.ErrNoArchive, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	archive, err := gzipped(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return archive, nil
}

// gzipped checks the first bytes of a body: a sign-in page has the status 200
// as well.
func gzipped(body io.ReadCloser) (io.ReadCloser, error) {
	magic := make([]byte, 2)
	_, err := io.ReadFull(body, magic)
	switch short := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF); {
	case err != nil && !short:
		return nil, errors.Join(err, body.Close())
	case short || magic[0] != 0x1f || magic[1] != 0x8b: // RFC 1952 §2.3.1
		return nil, errors.Join(troy.Errorf(troy.Conflict, "%w (the answer is not gzipped)", forge.ErrNoArchive), body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(string(magic)), body), body}, nil
}

// Clone implements forge.Forge
// (support.atlassian.com/bitbucket-cloud/docs/using-access-tokens).
func (c *Client) Clone(ctx context.Context, r forge.Repository) (forge.Clone, error) {
	found, err := c.Repository(ctx, r)
	if err != nil {
		return forge.Clone{}, err
	}
	t, _, err := c.token(ctx, r.Installation)
	if err != nil {
		return forge.Clone{}, err
	}
	return forge.Clone{
		URL:        c.siteURL.String() + "/" + found.FullName + ".git",
		Credential: forge.Credential{Username: "x-token-auth", Password: t.value},
		Expires:    t.expires,
	}, nil
}
