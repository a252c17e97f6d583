package bitbucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// errNotSetUp is the error of requests without credentials.
const errNotSetUp = forge.NotSetUp("Bitbucket is not set up: TROY_BITBUCKET_TOKEN is not set and no installation of a Connect app has access to the repository")

// Settings are the environment's settings for Bitbucket.
type Settings struct {
	URL    string `env:"TROY_BITBUCKET_URL" envDefault:"https://api.bitbucket.org"`
	Token  string `env:"TROY_BITBUCKET_TOKEN"`
	Secret string `env:"TROY_BITBUCKET_SECRET"`
}

// Check reports what is wrong with the settings.
func (s Settings) Check(wrong func(setting, format string, args ...any)) {
	forge.CheckSecret("TROY_BITBUCKET_SECRET", s.Secret, wrong)
}

// Options are the other dependencies of a Forge.
type Options struct {
	URL string // Troy's own address
	DB  queries.DBTX
	// Secrets seals the credentials of the Connect app's installations. Without
	// it there can be none.
	Secrets *secret.Sealer
	// Intake records the Connect app's messages. Only servers need it.
	Intake    *intake.Intake
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Forge is Bitbucket in both directions, with an access token, with
// installations of a Connect app, or both.
type Forge struct {
	*Client
	settings Settings
	Options
}

// NewForge returns a Forge. Its errors name the invalid setting.
func NewForge(s Settings, o Options) (*Forge, error) {
	f := &Forge{settings: s, Options: o}
	// Archives and clones come from the site: the default one for Bitbucket's
	// own API, the same host for another.
	site := s.URL
	if strings.HasPrefix(site, "https://api.bitbucket.org") {
		site = ""
	}
	var err error
	f.Client, err = New(Config{APIURL: s.URL, SiteURL: site, Credential: f.credential, Transport: o.Transport})
	if err != nil {
		return nil, fmt.Errorf("TROY_BITBUCKET_URL: %w", err)
	}
	return f, nil
}

// Adapter returns the forge.Adapter for the rest of Troy.
func (f *Forge) Adapter() forge.Adapter {
	a := forge.Adapter{Provider: troy.Bitbucket, Routes: f.routes(), Hidden: connectPrefix, Webhook: func(context.Context) (forge.Webhook, error) {
		return forge.Webhook{Headers: Headers, Verify: forge.HMAC(f.settings.Secret), Parse: Parse}, nil
	}}
	if f.settings.Token != "" || f.Secrets != nil {
		a.API = f
	}
	return a
}

// credential returns the credential for an installation. The access token
// serves repositories whose Connect app was removed, or that have none.
func (f *Forge) credential(ctx context.Context, installation string) (Credential, error) {
	if installation != "" && f.Secrets != nil {
		kept, ok, err := ActiveConnect(ctx, f.DB, f.Secrets, installation)
		if err != nil {
			return Credential{}, err
		}
		if ok {
			return Credential{Sign: func(method, path string, query url.Values) (string, error) {
				return SignConnect(ConnectRequest{Method: method, Path: path, Query: query.Encode()},
					kept.AppKey, installation, []byte(kept.Secrets[0]), time.Now())
			}}, nil
		}
	}
	if f.settings.Token == "" {
		return Credential{}, troy.Errorf(troy.Forbidden, "%w", errNotSetUp)
	}
	return Credential{AccessToken: f.settings.Token}, nil
}

// Repository implements forge.Forge. For a repository without a known
// installation it tries the token, and then each installation.
func (f *Forge) Repository(ctx context.Context, r forge.Repository) (forge.Found, error) {
	if r.Installation != "" {
		return f.Client.Repository(ctx, r)
	}
	var failed error = troy.Errorf(troy.Forbidden, "%w", errNotSetUp)
	if f.settings.Token != "" {
		found, err := f.Client.Repository(ctx, r)
		if err == nil || !elsewhere(err) {
			return found, err
		}
		failed = err
	}
	if f.Secrets == nil {
		return forge.Found{}, failed
	}
	installations, err := queries.New(f.DB).InstallationList(ctx, string(troy.Bitbucket))
	if err != nil {
		return forge.Found{}, fmt.Errorf("list the installations of the Connect app: %w", err)
	}
	for _, row := range installations {
		if row.State != "active" || row.Credentials == nil {
			continue
		}
		r.Installation = row.ID
		found, err := f.Client.Repository(ctx, r)
		if err == nil || !elsewhere(err) {
			return found, err
		}
	}
	return forge.Found{}, failed
}

// elsewhere reports whether other credentials may have access although these
// don't.
func elsewhere(err error) bool {
	return errors.Is(err, forge.ErrNoRepository) || errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrInstallation)
}
