package web

import (
	"encoding/json"
	"fmt"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/secret"
)

// SealApp seals an app's credentials for its row in forge_apps.
func SealApp(sealer *secret.Sealer, provider troy.Provider, app forge.App) ([]byte, error) {
	return sealJSON(sealer, app, secret.App(string(provider)))
}

// OpenApp opens what SealApp sealed.
func OpenApp(sealer *secret.Sealer, provider troy.Provider, sealed []byte) (app forge.App, err error) {
	return app, openJSON(sealer, sealed, &app, secret.App(string(provider)))
}

// keptSecrets is how many secrets of a Connect installation are kept. A
// re-install is signed with the one before; when its answer is lost, the next
// one is signed with that again.
const keptSecrets = 3

// ConnectCredentials are those of a Bitbucket Connect installation. Neither
// formatting nor logging may see them; Seal is what keeps them.
type ConnectCredentials struct {
	AppKey  string   `json:"app_key"`
	Secrets []string `json:"secrets"` // the newest first
}

// Format implements fmt.Formatter for every verb.
func (c ConnectCredentials) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "credentials of the Connect app %s", c.AppKey)
}

// Seal seals the credentials for the installation's row.
func (c ConnectCredentials) Seal(sealer *secret.Sealer, clientKey string) ([]byte, error) {
	return sealJSON(sealer, c, secret.Installation(string(troy.Bitbucket), clientKey))
}

// OpenConnect opens what ConnectCredentials.Seal sealed.
func OpenConnect(sealer *secret.Sealer, clientKey string, sealed []byte) (c ConnectCredentials, err error) {
	if err := openJSON(sealer, sealed, &c, secret.Installation(string(troy.Bitbucket), clientKey)); err != nil {
		return c, err
	}
	if len(c.Secrets) == 0 {
		return c, fmt.Errorf("the credentials of Connect installation %s have no secret", clientKey)
	}
	return c, nil
}

// with returns the credentials with a newer secret.
func (c ConnectCredentials) with(newest string) ConnectCredentials {
	secrets := []string{newest}
	for _, s := range c.Secrets {
		if s != newest && len(secrets) < keptSecrets {
			secrets = append(secrets, s)
		}
	}
	return ConnectCredentials{AppKey: c.AppKey, Secrets: secrets}
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
	if json.Unmarshal(plain, v) != nil { // whose text could quote a secret
		return fmt.Errorf("read %s %s: what was sealed is not its JSON", of.Kind, of.ID)
	}
	return nil
}
