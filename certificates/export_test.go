package certificates

import (
	"context"
	"encoding/json"
	"time"

	"github.com/caddyserver/certmagic"
)

// SetPatience sets how long handshakes wait for an order.
func (m *Manager) SetPatience(d time.Duration) { m.patience = d }

// SetClock sets the machine's clock.
func (m *Manager) SetClock(now func() time.Time) { m.now = now }

// Revoke asks the authority to revoke a certificate, and makes the answer about its
// renewal old.
func (m *Manager) Revoke(ctx context.Context, host string) error {
	issuer := m.byHost.acme
	load := func(key string) []byte {
		data, err := m.storage.Load(ctx, key)
		if err != nil {
			panic(err)
		}
		return data
	}
	keys := certmagic.StorageKeys
	if err := issuer.Revoke(ctx, certmagic.CertificateResource{CertificatePEM: load(keys.SiteCert(issuer.IssuerKey(), host))}, 0); err != nil {
		return err
	}
	key := keys.SiteMeta(issuer.IssuerKey(), host)
	var meta, kept map[string]any
	if err := json.Unmarshal(load(key), &meta); err != nil {
		return err
	}
	data, err := json.Marshal(meta["issuer_data"])
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		return err
	}
	if info, ok := kept["renewal_info"].(map[string]any); ok {
		info["_retryAfter"] = time.Now().Add(-time.Minute)
	}
	meta["issuer_data"] = kept
	if data, err = json.Marshal(meta); err != nil {
		return err
	}
	return m.storage.Store(ctx, key, data)
}

// NoAddressFolder is the folder of the account without an e-mail address.
func (m *Manager) NoAddressFolder() string {
	return m.storage.Filename("acme/" + certmagic.StorageKeys.Safe(m.byHost.acme.IssuerKey()) + "/users/default")
}
