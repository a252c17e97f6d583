package bitbucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// Descriptor describes a Connect app at the address from which it is installed.
type Descriptor struct {
	Key         string // the app's key, unique among all apps: "com.example.troy"
	Name        string
	Description string
	// BaseURL is the base of the paths below. It contains the state for the
	// first installation.
	BaseURL string
	// Installed and Uninstalled receive the lifecycle's messages, and Events
	// the webhooks: each is a path from "/".
	Installed, Uninstalled, Events string
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$`)

// JSON returns the descriptor
// (developer.atlassian.com/cloud/bitbucket/app-descriptor): an app of an
// account, which reads repositories and pull requests; reading repositories
// includes setting build statuses.
func (d Descriptor) JSON() ([]byte, error) {
	if !keyForm.MatchString(d.Key) {
		return nil, troy.Errorf(troy.Invalid, "%q is not a valid app key", troy.Cut(d.Key, 100)).At("key")
	}
	if _, err := forge.ParseBase(d.BaseURL); err != nil {
		return nil, troy.Errorf(troy.Invalid, "the base URL: %w", err).At("base_url")
	}
	for _, p := range []string{d.Installed, d.Uninstalled, d.Events} {
		if u, err := url.Parse(p); err != nil || u.Host != "" || len(p) < 2 || p[0] != '/' {
			return nil, fmt.Errorf("describe the Connect app: %q is not a path", p)
		}
	}
	type hook struct {
		Event string `json:"event"`
		URL   string `json:"url"`
	}
	var hooks []hook
	for _, event := range hookEvents() {
		hooks = append(hooks, hook{event, d.Events})
	}
	return json.Marshal(map[string]any{
		"key": d.Key, "name": d.Name, "description": d.Description, "baseUrl": d.BaseURL,
		"authentication": map[string]string{"type": "jwt"},
		"lifecycle":      map[string]string{"installed": d.Installed, "uninstalled": d.Uninstalled},
		"contexts":       []string{"account"},
		"scopes":         []string{"repository", "pullrequest"},
		"modules":        map[string]any{"webhooks": hooks},
	})
}

func isNotFound(err error) bool {
	status, ok := errors.AsType[*forge.StatusError](err)
	return ok && status.Status == http.StatusNotFound
}
