package certificates

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// orderTime is the maximum time for one certificate, including the wait for
// another process that gets it.
const orderTime = 5 * time.Minute

// errAgain ends certmagic's own repetition of an attempt.
var errAgain = errors.New("the manager decides when to try again")

// obtain makes an attempt to get or renew a certificate.
func (m *Manager) obtain(ctx context.Context, a *attempt) *problem {
	host := a.name
	if strings.HasPrefix(host, "*.") && m.byDNS == nil {
		return noDNS(host)
	}
	if m.cfg.Directory == LetsEncrypt && !certmagic.SubjectQualifiesForPublicCert(host) {
		return notPublic(host)
	}
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	a.cancel = cancel
	ctx = context.WithValue(ctx, attemptKey{}, a)
	config := m.issuing(host).Config
	var err error
	if a.renewal {
		err = config.RenewCertAsync(ctx, host, a.revoked != "")
	} else {
		err = config.ObtainCertAsync(ctx, host)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.replaced {
		return nil
	}
	if err == nil && a.obtained {
		a.err = nil // an older challenge's file could not be removed, for example
	}
	if a.ordered {
		m.settle(a)
	}
	switch {
	case a.err != nil:
		err = a.err
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = ctx.Err() // certmagic says that it was canceled
	}
	if err == nil {
		return nil
	}
	p := explain(host, err)
	if p.bucket != "" && p.until.After(time.Now()) {
		m.budget.block(p.bucketOf(host), p.until)
	}
	return p
}

// event is called by certmagic. cert_obtaining comes after the lock of the name
// was taken and no other process got the certificate, so every order passes the
// budget here.
func (m *Manager) event(ctx context.Context, event string, data map[string]any) error {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return nil
	}
	switch event {
	case "cert_obtaining":
		a.mu.Lock()
		again := a.ordered
		a.mu.Unlock()
		if a.revoked != "" && m.replaced(ctx, a) {
			return certmagic.ErrNoRetry{Err: errAgain}
		}
		if again {
			return certmagic.ErrNoRetry{Err: errAgain}
		}
		if err := m.budget.reserve(ctx, a.name, a.renewal); err != nil {
			a.fail(err)
			return certmagic.ErrNoRetry{Err: err}
		}
		a.mu.Lock()
		a.ordered = true
		a.mu.Unlock()
		if !a.renewal {
			m.write(a.name, site.CertificateState{State: site.CertificateIssuing, UpdatedAt: time.Now().UTC().Truncate(time.Second)})
		}
		m.log.Info("ordering a certificate", "host", a.name, "renewal", a.renewal, "authority", m.budget.authority)
	case "cert_failed":
		if err, ok := data["error"].(error); ok {
			a.fail(err)
		}
	case "cert_obtained":
		a.mu.Lock()
		a.obtained = true
		a.mu.Unlock()
	}
	return nil
}

// replaced reports whether another process has replaced a revoked certificate.
func (m *Manager) replaced(ctx context.Context, a *attempt) bool {
	c, err := m.read(ctx, a.name)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replaced = err == nil && c.Hash() != a.revoked
	return a.replaced
}

// settle returns what an attempt reserved in the budget and did not use.
func (m *Manager) settle(a *attempt) {
	left, err := m.budget.settle(a.name, a.renewal, max(1, a.challenges), a.challenges-btoi(a.obtained), btoi(a.obtained))
	if err != nil {
		m.log.Warn("can't write the budget of orders", "error", err)
	}
	if a.obtained {
		m.log.Info("got a certificate", "host", a.name, "renewal", a.renewal, "orders_left", left.Orders, "orders_left_for_domain", left.Domain)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// refresh asks the authority when to renew a certificate (RFC 9773), at most as
// often as the authority wants, and keeps the answer beside the certificate. A
// revoked certificate has a time in the past. It reports whether there is a new
// answer.
func (m *Manager) refresh(ctx context.Context, host string, c certmagic.Certificate) bool {
	i := m.issuing(host)
	key := certmagic.StorageKeys.SiteMeta(i.acme.IssuerKey(), host)
	data, err := m.storage.Load(ctx, key)
	if err != nil {
		return false
	}
	var resource certmagic.CertificateResource
	var kept acme.Certificate
	if json.Unmarshal(data, &resource) != nil || json.Unmarshal(resource.IssuerData, &kept) != nil ||
		kept.RenewalInfo == nil || !kept.RenewalInfo.NeedsRefresh() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	info, err := i.acme.GetRenewalInfo(ctx, c)
	if err != nil {
		m.log.Debug("can't ask when to renew a certificate", "host", host, "error", err)
		return false
	}
	if info.SameWindow(*kept.RenewalInfo) {
		info.SelectedTime = kept.RenewalInfo.SelectedTime
	}
	kept.RenewalInfo = &info
	if resource.IssuerData, err = json.Marshal(kept); err != nil {
		return false
	}
	if data, err = json.MarshalIndent(resource, "", "\t"); err != nil {
		return false
	}
	return m.storage.Store(ctx, key, data) == nil // otherwise the next check asks again
}

// write writes the state of a name, if it is another one.
func (m *Manager) write(host string, state site.CertificateState) {
	if known, err := m.cfg.Layout.ReadCertificateState(host); err == nil {
		known.UpdatedAt = state.UpdatedAt
		if known == state {
			return
		}
	}
	temp := m.budget.folder
	err := os.MkdirAll(temp, 0o755)
	if err == nil {
		err = files.WriteJSON(temp, m.cfg.Layout.CertificateState(host), state)
	}
	if err != nil {
		m.log.Error("can't write the state of a certificate", "host", host, "state", state.State, "problem", state.Problem, "error", err)
	}
}
