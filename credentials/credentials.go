// Package credentials manages API tokens and the sealed credentials of apps at
// forges. It creates and looks up tokens, and seals, opens and reseals the rest.
// Package web, package health, the forges and troyd's commands call it.
package credentials

import (
	"encoding/json"
	"fmt"

	"github.com/troy-iaas/troy/secret"
)

// Seal encrypts a value, as JSON, for its row.
func Seal(sealer *secret.Sealer, v any, of secret.Subject) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %s %s: %w", of.Kind, of.ID, err)
	}
	return sealer.Seal(plain, of)
}

// Open decrypts into v the result of Seal. No error quotes it.
func Open(sealer *secret.Sealer, sealed []byte, v any, of secret.Subject) error {
	plain, err := sealer.Open(sealed, of)
	if err != nil {
		return err
	}
	if json.Unmarshal(plain, v) != nil { // the error's text could quote a secret
		return fmt.Errorf("read %s %s: the sealed value is not valid JSON", of.Kind, of.ID)
	}
	return nil
}
