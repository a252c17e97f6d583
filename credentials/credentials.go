// Package credentials manages API tokens and the sealed credentials of apps at
// forges. It creates and looks up tokens, and seals, opens and reseals the
// rest. Package web, package health and troyd's commands call it.
package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// SealApp seals an app's credentials for its row in forge_apps.
func SealApp(sealer *secret.Sealer, provider troy.Provider, app forge.App) ([]byte, error) {
	return sealJSON(sealer, app, secret.App(string(provider)))
}

// GitHubApp is Troy's app at GitHub: the operator's own, or the one that the
// set-up page stored. The zero GitHubApp has no app.
type GitHubApp struct {
	Own     *forge.App // nil means the stored app
	DB      queries.DBTX
	Secrets *secret.Sealer // nil means that none can be stored
}

// Possible reports whether there is an app or one can be stored.
func (g GitHubApp) Possible() bool { return g.Own != nil || g.Secrets != nil }

// Current returns the app, or the zero App if there is none. It reads the row
// each time, so every process sees a new app at once.
func (g GitHubApp) Current(ctx context.Context) (app forge.App, err error) {
	if g.Own != nil {
		return *g.Own, nil
	}
	if g.Secrets == nil {
		return app, nil
	}
	row, err := queries.New(g.DB).ForgeAppGet(ctx, string(troy.GitHub))
	if errors.Is(err, pgx.ErrNoRows) {
		return app, nil
	}
	if err != nil {
		return app, fmt.Errorf("read the GitHub app: %w", err)
	}
	err = openJSON(g.Secrets, row.Credentials, &app, secret.App(string(troy.GitHub)))
	return app, err
}

// keptSecrets is the number of secrets to keep for a Connect installation. A
// re-install is signed with the previous secret; if its response is lost, the
// next one is signed with that secret again.
const keptSecrets = 3

// Connect holds the credentials of a Bitbucket Connect installation. Formatting
// and logging never show them; Seal makes the stored form.
type Connect struct {
	AppKey  string   `json:"app_key"`
	Secrets []string `json:"secrets"` // newest first
}

// Format implements fmt.Formatter for every verb.
func (c Connect) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "credentials of the Connect app %s", c.AppKey)
}

// Seal encrypts the credentials for the installation's row.
func (c Connect) Seal(sealer *secret.Sealer, clientKey string) ([]byte, error) {
	return sealJSON(sealer, c, secret.Installation(string(troy.Bitbucket), clientKey))
}

// ActiveConnect returns the credentials of an installation of the Connect app.
// ok is false if the installation is unknown, was uninstalled or has no
// credentials.
func ActiveConnect(ctx context.Context, db queries.DBTX, sealer *secret.Sealer, clientKey string) (c Connect, ok bool, err error) {
	row, err := queries.New(db).InstallationGet(ctx, string(troy.Bitbucket), clientKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("read the installation: %w", err)
	}
	if row.State != "active" || row.Credentials == nil {
		return c, false, nil
	}
	c, err = OpenConnect(sealer, row.ID, row.Credentials)
	return c, err == nil, err
}

// OpenConnect decrypts the result of Connect.Seal.
func OpenConnect(sealer *secret.Sealer, clientKey string, sealed []byte) (c Connect, err error) {
	if err := openJSON(sealer, sealed, &c, secret.Installation(string(troy.Bitbucket), clientKey)); err != nil {
		return c, err
	}
	if len(c.Secrets) == 0 {
		return c, fmt.Errorf("the credentials of Connect installation %s have no secret", clientKey)
	}
	return c, nil
}

// With returns the credentials with a newer secret added.
func (c Connect) With(newest string) Connect {
	secrets := []string{newest}
	for _, s := range c.Secrets {
		if s != newest && len(secrets) < keptSecrets {
			secrets = append(secrets, s)
		}
	}
	return Connect{AppKey: c.AppKey, Secrets: secrets}
}

func sealJSON(sealer *secret.Sealer, v any, of secret.Subject) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %s %s: %w", of.Kind, of.ID, err)
	}
	return sealer.Seal(plain, of)
}

func openJSON(sealer *secret.Sealer, sealed []byte, v any, of secret.Subject) error {
	plain, err := sealer.Open(sealed, of)
	if err != nil {
		return err
	}
	if json.Unmarshal(plain, v) != nil { // the error's text could quote a secret
		return fmt.Errorf("read %s %s: the sealed value is not valid JSON", of.Kind, of.ID)
	}
	return nil
}
