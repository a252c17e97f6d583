package bitbucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

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
	return credentials.Seal(sealer, c, secret.Installation(string(troy.Bitbucket), clientKey))
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
	if err := credentials.Open(sealer, sealed, &c, secret.Installation(string(troy.Bitbucket), clientKey)); err != nil {
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

const (
	// connectPrefix begins the paths of all Connect apps. A state follows it.
	connectPrefix = "/bitbucket/connect/"
	// connectValid is how long the address of a Connect app accepts a first
	// installation.
	connectValid = time.Hour
)

// ConnectPath returns the path of the Connect app with this state, relative to
// Troy's address.
func ConnectPath(state credentials.State) string { return connectPrefix + string(state) }

// DescriptorPath returns the path of that app's descriptor.
func DescriptorPath(state credentials.State) string { return ConnectPath(state) + "/connect.json" }

// IssueConnect creates an address from which a Connect app, identified by
// appKey, can be installed once within an hour. The state is a credential until
// then.
func IssueConnect(ctx context.Context, db queries.DBTX, appKey, actor string) (credentials.State, error) {
	state := credentials.NewState()
	err := queries.New(db).SetupStateIssue(ctx, queries.SetupStateIssueParams{
		Hash: state.Hash(), Provider: string(troy.Bitbucket), Actor: actor, AppKey: &appKey, ValidSeconds: connectValid.Seconds(),
	})
	if err != nil {
		return "", fmt.Errorf("issue the address of the Connect app %s: %w", appKey, err)
	}
	return state, nil
}
