package certificates

import (
	"slices"
	"time"
)

const (
	// sweepInterval is the time between two looks for certificates of hosts that
	// are not listed any more.
	sweepInterval = time.Hour
	// grace is how long such certificates are kept, because an authority issues
	// only a few for the same host.
	grace = 24 * time.Hour
)

// sweep removes the certificates of hosts that were not listed for a day.
func (m *Manager) sweep(now time.Time) {
	hosts, err := Stored(m.cfg.Layout)
	if err != nil {
		m.log.Warn("can't list the certificates", "error", err)
		return
	}
	var old []string
	m.mu.Lock()
	for _, host := range hosts {
		if slices.Contains(m.cfg.Others, host) {
			continue
		}
		if m.names[host] != nil {
			delete(m.gone, host)
			continue
		}
		since, known := m.gone[host]
		if !known {
			m.gone[host] = now
		} else if now.Sub(since) >= grace {
			delete(m.gone, host)
			old = append(old, host)
		}
	}
	m.mu.Unlock()
	for _, host := range old {
		m.remove(host)
	}
}

// remove removes the certificate of a host.
func (m *Manager) remove(host string) {
	m.served.Remove(host)
	if err := Discard(m.cfg.Layout, host); err != nil {
		m.log.Warn("can't remove a certificate", "host", host, "error", err)
		return
	}
	m.log.Info("removed the certificate of a host that is not served any more", "host", host)
}
