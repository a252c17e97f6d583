package certificates

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/troy-iaas/troy/site"
)

// name is a name that needs a certificate.
type name struct {
	due      time.Time     // of the next check
	changed  time.Time     // of its record
	failures int           // since the last success
	busy     chan struct{} // closed when the check ends; nil if none runs
	asked    bool          // a handshake waits for it
	limited  bool          // the last attempt would have exceeded a limit
	// notBefore and notAfter are those of its certificate; zero if it has none.
	notBefore, notAfter time.Time
}

// retries are the times between attempts to get a certificate. A host whose
// record is written again is not made to wait.
var retries = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}

// maxRetry is the longest time between two attempts.
const maxRetry = 6 * time.Hour

// listInterval is the longest time between two listings of the hosts.
const listInterval = time.Minute

// spread returns a random part of the time that an authority's limit needs for
// all names that wait for it, so that they don't all try at the same moment. The
// caller has m.mu.
func (m *Manager) spread(each time.Duration) time.Duration {
	waiting := 0
	for _, n := range m.names {
		if n.limited {
			waiting++
		}
	}
	return time.Duration(rand.Int64N(int64(each)*int64(min(waiting, 10_000)) + 1))
}

// retryAfter returns how long to wait after a number of failures.
func retryAfter(failures int) time.Duration {
	if failures > len(retries) {
		return min(time.Duration(failures-len(retries))*2*time.Hour, maxRetry)
	}
	return retries[max(failures, 1)-1]
}

// loop checks the names that are due, until ctx is done.
func (m *Manager) loop(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var seen any
	var swept, listed time.Time
	var ready []string
	for {
		if m.cfg.Clean && seen != nil && time.Since(swept) >= sweepInterval {
			swept = time.Now()
			m.sweep(swept)
		}
		// A change within the resolution of the folder's time is not seen.
		if changed := m.cfg.Changed(); changed != seen || time.Since(listed) >= listInterval {
			seen, listed = changed, time.Now()
			m.list()
			if m.cfg.Clean {
				m.discardGone(listed)
			}
		}
		ready = m.begin(ctx, m.due(time.Now()), &checks)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				waiting = false
			case <-m.wake:
				waiting = false
			case <-m.free:
				ready = m.begin(ctx, ready, &checks)
			}
		}
	}
}

// begin begins the checks of names until all slots are taken. It returns the
// names that have to wait.
func (m *Manager) begin(ctx context.Context, names []string, checks *sync.WaitGroup) []string {
	for i, name := range names {
		select {
		case m.slots <- struct{}{}:
		default:
			return names[i:]
		}
		if !m.take(name, time.Now()) {
			<-m.slots
			continue
		}
		checks.Go(func() {
			m.check(ctx, name)
			<-m.slots
			select {
			case m.free <- struct{}{}:
			default:
			}
		})
	}
	return nil
}

// list updates the names. If they can't be listed, the old ones stay.
func (m *Manager) list() {
	hosts, err := m.cfg.Hosts()
	if err != nil {
		m.log.Warn("can't list the hosts that need certificates; trying again in a minute", "error", err)
		return
	}
	now := time.Now()
	wanted := make(map[string]time.Time, len(hosts))
	for _, domain := range m.cfg.Wildcards {
		wanted["*."+domain] = time.Time{}
	}
	for _, h := range hosts {
		if _, parent, _ := strings.Cut(h.Name, "."); slices.Contains(m.cfg.Wildcards, parent) {
			continue // the wildcard's
		}
		wanted[h.Name] = h.Changed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for host, n := range m.names {
		if _, ok := wanted[host]; !ok && n.busy == nil {
			delete(m.names, host)
		}
	}
	for host, changed := range wanted {
		n := m.names[host]
		if n == nil {
			m.names[host] = &name{due: now, changed: changed}
			continue
		}
		if changed.After(n.changed) && n.failures > 0 {
			n.due, n.failures = now, 0
		}
		n.changed = changed
	}
}

// due returns the names that are due: first those for which a handshake waits,
// then those that have been due longest.
func (m *Manager) due(now time.Time) []string {
	type candidate struct {
		host string
		at   time.Time
	}
	m.mu.RLock()
	var all []candidate
	for host, n := range m.names {
		switch {
		case n.busy != nil:
		case n.asked:
			all = append(all, candidate{host, time.Time{}})
		case !n.due.After(now):
			all = append(all, candidate{host, n.due})
		}
	}
	m.mu.RUnlock()
	slices.SortFunc(all, func(a, b candidate) int { return a.at.Compare(b.at) })
	hosts := make([]string, len(all))
	for i, c := range all {
		hosts[i] = c.host
	}
	return hosts
}

// take marks a name as busy, if it still is due.
func (m *Manager) take(host string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[host]
	if n == nil || n.busy != nil || !n.asked && n.due.After(now) {
		return false
	}
	n.busy, n.asked = make(chan struct{}), false
	return true
}

// await waits until a certificate may have been issued for a handshake. It
// returns false if there is nothing to wait for.
func (m *Manager) await(ctx context.Context, host string) bool {
	select {
	case m.waiting <- struct{}{}:
		defer func() { <-m.waiting }()
	default:
		return false
	}
	timer := time.NewTimer(m.patience)
	defer timer.Stop()
	for {
		m.mu.Lock()
		n := m.names[host]
		if n == nil {
			// The next listing may know it.
			n = &name{due: time.Now()}
			m.names[host] = n
		}
		if n.busy == nil && !n.notAfter.IsZero() {
			m.mu.Unlock()
			return true
		}
		if n.busy == nil && n.failures > 0 {
			m.mu.Unlock()
			return false // the last attempt failed; the next has its time
		}
		if n.busy == nil {
			n.asked = true
		}
		busy := n.busy
		m.mu.Unlock()
		if busy == nil {
			select {
			case m.wake <- struct{}{}:
			default:
			}
			busy = make(chan struct{})
			time.AfterFunc(50*time.Millisecond, func() { close(busy) })
		}
		select {
		case <-busy:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// check makes sure that a name has a certificate, and decides when to look
// again.
func (m *Manager) check(ctx context.Context, host string) {
	c, problem := m.ensure(ctx, host)
	now := time.Now()
	m.mu.Lock()
	n := m.names[host]
	if n == nil { // can't be: busy names are not removed
		m.mu.Unlock()
		return
	}
	if c.Leaf != nil {
		n.notBefore, n.notAfter = c.Leaf.NotBefore, c.Leaf.NotAfter
	} else {
		n.notBefore, n.notAfter = time.Time{}, time.Time{}
	}
	switch {
	case ctx.Err() != nil || problem == errNotWanted:
		n.due = now.Add(min(time.Minute, m.cfg.Interval))
	case problem != nil:
		n.failures++
		n.due = now.Add(retryAfter(n.failures))
		if problem.until.After(now) {
			n.due = problem.until.Add(m.spread(problem.each))
		}
	default:
		n.failures = 0
		// Not all at the same time.
		n.due = now.Add(m.cfg.Interval - time.Duration(rand.Int64N(int64(m.cfg.Interval)/10+1)))
	}
	n.limited = problem != nil && problem.each > 0
	due := n.due
	close(n.busy)
	n.busy = nil
	m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	m.report(host, c, problem, due)
}

// ensure returns the certificate of a name; it gets or renews it if necessary. A
// certificate may come with a problem, if it could not be renewed.
func (m *Manager) ensure(ctx context.Context, host string) (certmagic.Certificate, *problem) {
	if domain, wildcard := strings.CutPrefix(host, "*."); (!wildcard || !slices.Contains(m.cfg.Wildcards, domain)) && !m.cfg.Allows(host) {
		return certmagic.Certificate{}, errNotWanted
	}
	c, err := m.read(ctx, host)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if p := m.obtain(ctx, &attempt{name: host}); p != nil {
			return certmagic.Certificate{}, p
		}
	case err != nil:
		return certmagic.Certificate{}, explain(host, storageError{err})
	default:
		if m.refresh(ctx, host, c) {
			if c, err = m.read(ctx, host); err != nil {
				return certmagic.Certificate{}, explain(host, storageError{err})
			}
		}
		a := &attempt{name: host, renewal: true}
		if revoked(ctx, c) {
			m.log.Warn("the certificate is revoked; it is replaced", "host", host)
			a.revoked = c.Hash()
		}
		if a.revoked == "" && !c.NeedsRenewal(m.issuing(host).Config) {
			return c, cmp.Or(m.staple(ctx, host, c), early(host, c, m.now()))
		}
		if p := m.obtain(ctx, a); p != nil {
			if a.revoked != "" {
				p.sentence = fmt.Sprintf("The certificate for %s is revoked, so browsers may refuse it, and could not be replaced yet. %s", host, p.sentence)
			}
			return c, p
		}
	}
	if c, err = m.read(ctx, host); err != nil {
		return certmagic.Certificate{}, explain(host, storageError{err})
	}
	if _, err := m.load(ctx, host); err != nil {
		return c, explain(host, storageError{err})
	}
	return c, early(host, c, m.now())
}

// staple loads a certificate again if its OCSP response has changed, and returns
// nil in any case but a problem with the folder.
func (m *Manager) staple(ctx context.Context, host string, c certmagic.Certificate) *problem {
	s, ok := m.served.Get(host)
	if !ok || bytes.Equal(s.certificate.OCSPStaple, c.OCSPStaple) {
		return nil
	}
	if _, err := m.load(ctx, host); err != nil {
		return explain(host, storageError{err})
	}
	return nil
}

// report writes what is known about a name to its state file and to the log, if
// it has changed.
func (m *Manager) report(host string, c certmagic.Certificate, p *problem, due time.Time) {
	if p == errNotWanted {
		return
	}
	state := site.CertificateState{State: site.CertificateActive, UpdatedAt: time.Now().UTC().Truncate(time.Second)}
	if c.Leaf != nil {
		state.NotAfter, state.Issuer = c.Leaf.NotAfter.UTC(), c.Leaf.Issuer.CommonName
	}
	if p != nil {
		state.Problem, state.Code, state.NextTry = p.sentence, p.code, due.UTC().Truncate(time.Second)
		if c.Leaf == nil || time.Now().After(c.Leaf.NotAfter) {
			state.State = site.CertificateFailed
		}
	}
	m.write(host, state)
	switch {
	case p != nil && state.State == site.CertificateFailed:
		m.log.Error("no certificate", "host", host, "problem", p.sentence, "code", p.code, "next_try", state.NextTry)
	case p != nil:
		m.log.Warn("the certificate could not be renewed; the old one is still served",
			"host", host, "problem", p.sentence, "code", p.code, "not_after", state.NotAfter, "next_try", state.NextTry)
	}
}
