package certificates

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// Stored lists the hosts of which a folder has a certificate, of any authority, or
// a state.
func Stored(layout site.Layout) ([]string, error) {
	found := map[string]bool{}
	states, err := entries(filepath.Dir(layout.CertificateState("host")))
	if err != nil {
		return nil, err
	}
	for _, name := range states {
		if host, ok := hostOf(name, ".json"); ok {
			found[host] = true
		}
	}
	root := filepath.Join(layout.Certificates(), "certificates")
	authorities, err := entries(root)
	if err != nil {
		return nil, err
	}
	for _, authority := range authorities {
		hosts, err := entries(filepath.Join(root, authority))
		if err != nil {
			return nil, err
		}
		for _, name := range hosts {
			if parent, ok := strings.CutPrefix(name, "wildcard_."); ok {
				name = "*." + parent
			}
			found[name] = true
		}
	}
	all := make([]string, 0, len(found))
	for host := range found {
		all = append(all, host)
	}
	slices.Sort(all)
	return all, nil
}

// hostOf returns the host of a file about it.
func hostOf(name, suffix string) (string, bool) {
	host, ok := strings.CutSuffix(name, suffix)
	if parent, wildcard := strings.CutPrefix(host, "_wildcard."); wildcard {
		host = "*." + parent
	}
	return host, ok && !strings.HasPrefix(host, "_")
}

// entries lists the names in a folder, which need not exist.
func entries(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names, err
}

// Discard removes everything about a host from a folder: its certificates and
// keys, its state, and what is left of challenges.
func Discard(layout site.Layout, host string) error {
	safe := certmagic.StorageKeys.Safe(host)
	all := []string{layout.CertificateState(host), layout.CertificateGone(host)}
	for _, pattern := range []string{"certificates/*/" + safe, "acme/*/challenge_tokens/" + safe + ".json", "ocsp/" + safe + "-*"} {
		found, err := filepath.Glob(filepath.Join(layout.Certificates(), filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	for _, file := range all {
		if err := os.RemoveAll(file); err != nil {
			return files.Error(err)
		}
	}
	return nil
}

// goneGrace is how long the certificate of a host is kept after nothing serves the
// host any more. A host that moves from one site to another is not served for a
// moment.
const goneGrace = time.Minute

// discardGone removes the certificates of hosts that were removed, and are not
// listed.
func (m *Manager) discardGone(now time.Time) {
	dir := filepath.Dir(m.cfg.Layout.CertificateGone("host"))
	names, err := entries(dir)
	if err != nil {
		m.log.Warn("can't list the hosts that are not served any more", "error", err)
		return
	}
	for _, name := range names {
		host, ok := hostOf(name, "")
		if !ok || slices.Contains(m.cfg.Others, host) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue // another edge was faster
		}
		m.mu.RLock()
		n := m.names[host]
		listed, busy := n != nil, n != nil && n.busy != nil
		m.mu.RUnlock()
		switch {
		case busy: // its name stays until its check has ended
		case listed:
			_ = os.Remove(filepath.Join(dir, name)) // it came back; otherwise the next listing tries again
		case now.Sub(info.ModTime()) >= goneGrace:
			m.remove(host)
		}
	}
}
