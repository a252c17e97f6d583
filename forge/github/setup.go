package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

var (
	codeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)
	orgForm  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,38})$`)

	errNoCode = errors.New("the code is unknown; it is valid once and for an hour")
)

// maxAppName is GitHub's maximum length of an app's name in characters.
const maxAppName = 34

// Manifest implements forge.AppSetup (docs.github.com, "Registering a GitHub
// App from a manifest"). The app requests to read contents, and to write checks,
// deployments and comments on pull requests. GitHub sends comments only to apps
// that may read issues. Installation events come without a subscription.
func (c *Client) Manifest(req forge.AppRequest) (action string, manifest []byte, err error) {
	switch n := utf8.RuneCountInString(req.Name); {
	case n == 0 || n > maxAppName:
		return "", nil, troy.Errorf(troy.Invalid, "expected an app name of 1 to %d characters, got %d", maxAppName, n).At("name")
	case req.Organization != "" && !orgForm.MatchString(req.Organization):
		return "", nil, troy.Errorf(troy.Invalid, "%q is not a valid organization name", troy.Cut(req.Organization, 50)).At("organization")
	case req.State == "":
		return "", nil, troy.Errorf(troy.Invalid, "the state is empty, so anyone could submit an app").At("state")
	}
	for field, address := range map[string]string{"url": req.URL, "hook_url": req.HookURL, "redirect_url": req.RedirectURL} {
		if webURL(address) == "" {
			return "", nil, troy.Errorf(troy.Invalid, "%q is not an http or https address", troy.Cut(address, 200)).At(field)
		}
	}
	type hook struct {
		URL    string `json:"url"`
		Active bool   `json:"active"`
	}
	manifest, err = json.Marshal(struct {
		Name          string            `json:"name"`
		URL           string            `json:"url"`
		Hook          hook              `json:"hook_attributes"`
		RedirectURL   string            `json:"redirect_url"`
		SetupURL      string            `json:"setup_url,omitempty"`
		SetupOnUpdate bool              `json:"setup_on_update,omitempty"`
		Public        bool              `json:"public"`
		Permissions   map[string]string `json:"default_permissions"`
		Events        []string          `json:"default_events"`
	}{
		Name: req.Name, URL: req.URL, Hook: hook{req.HookURL, true}, RedirectURL: req.RedirectURL,
		SetupURL: webURL(req.SetupURL), SetupOnUpdate: webURL(req.SetupURL) != "",
		Permissions: map[string]string{
			"metadata": "read", "contents": "read", "issues": "read",
			"pull_requests": "write", "checks": "write", "deployments": "write",
		},
		Events: []string{"push", "repository", "pull_request", "issue_comment", "check_run", "check_suite"},
	})
	if err != nil {
		return "", nil, fmt.Errorf("github: the app's manifest: %w", err)
	}
	path := "/settings/apps/new"
	if req.Organization != "" {
		path = "/organizations/" + req.Organization + path
	}
	return c.site.String() + path + "?" + url.Values{"state": {req.State}}.Encode(), manifest, nil
}

// Convert implements forge.AppSetup
// (docs.github.com/rest/apps/apps#create-a-github-app-from-a-manifest). The
// code is a credential, so no error contains it.
func (c *Client) Convert(ctx context.Context, code string) (forge.App, error) {
	if !codeForm.MatchString(code) {
		return forge.App{}, troy.Errorf(troy.Invalid, "the code does not have GitHub's form").At("code")
	}
	var answer struct {
		ID            int64  `json:"id"`
		Slug          string `json:"slug"`
		Name          string `json:"name"`
		ClientID      string `json:"client_id"`
		ClientSecret  string `json:"client_secret"`
		WebhookSecret string `json:"webhook_secret"`
		PEM           string `json:"pem"`
		HTMLURL       string `json:"html_url"`
	}
	const what = "github: convert the app's manifest"
	convert := call("POST", "/app-manifests/"+code+"/conversions", "", nil, &answer)
	convert.Name = "POST /app-manifests/{code}/conversions"
	if _, err := c.api.Do(ctx, convert); err != nil {
		return forge.App{}, failed(what, errNoCode, err)
	}
	app := forge.App{
		ID: answer.ID, ClientID: answer.ClientID, Slug: forge.Line(answer.Slug, 100), Name: forge.Line(answer.Name, 100),
		URL: webURL(answer.HTMLURL), PrivateKey: answer.PEM, WebhookSecret: answer.WebhookSecret, ClientSecret: answer.ClientSecret,
	}
	if _, err := privateKey(app); err != nil || app.ID <= 0 || app.WebhookSecret == "" {
		return forge.App{}, fmt.Errorf("%s: the answer lacks the id, the private key or the webhook secret", what)
	}
	return app, nil
}
