package certificates_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/internal/acmedouble"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// TestIssue gets certificates by each kind of challenge, also from an authority
// that rejects nonces and is slow.
func TestIssue(t *testing.T) {
	t.Parallel()
	byDNS := func(w *world, wildcard string) func(*certificates.Config) {
		return func(c *certificates.Config) {
			dns, err := certificates.RFC2136(w.authority.Names.Address, acmedouble.Key)
			if err != nil {
				w.t.Fatal(err)
			}
			dns.Resolvers = []string{w.authority.Names.Address}
			c.DNS, c.Wildcards, c.Profile = dns, []string{strings.TrimPrefix(wildcard, "*.")}, "shortlived"
		}
	}
	for _, c := range []struct {
		name, host, covered string
		env                 []string
		http, tls           bool
		days                float64
	}{
		{"HTTP-01 with rejected nonces", "one.test", "one.test", []string{"PEBBLE_WFE_NONCEREJECT=40"}, true, false, 90},
		{"TLS-ALPN-01 with a slow authority", "two.test", "two.test", []string{"PEBBLE_VA_NOSLEEP=0", "PEBBLE_VA_SLEEPTIME=2"}, false, true, 90},
		{"either", "three.test", "three.test", nil, true, true, 90},
		{"DNS-01 for a wildcard of six days", "blog.sites.test", "*.sites.test", nil, false, false, 6},
		{"DNS-01 for the wildcard of previews", "pr-7--blog.previews.test", "*.previews.test", nil, false, false, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.env...)
			clear, secure := net.Listener(nil), net.Listener(nil)
			if c.http {
				clear = w.clear
			}
			if c.tls {
				secure = w.secure
			}
			change := []func(*certificates.Config){func(cfg *certificates.Config) { cfg.Profile = "default" }}
			if !c.http && !c.tls {
				change = append(change, byDNS(w, c.covered))
			}
			w.want(c.host)
			n := w.start(clear, secure, change...)
			state := w.state(c.covered, active)
			if days := time.Until(state.NotAfter).Hours() / 24; days < c.days-1 || days > c.days || state.Problem != "" {
				t.Errorf("the state is %+v; expected a certificate of %v days", state, c.days)
			}
			res, err := n.client().Get("https://" + c.host + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if res.ProtoMajor != 2 || string(body) != "hello "+c.host || err != nil {
				t.Errorf("HTTP/%d answered %q, %v; expected HTTP/2", res.ProtoMajor, body, err)
			}
			_ = res.Body.Close()
			if !n.Active(c.host) || n.Active("other.test") {
				t.Errorf("active: %t, and another host %t", n.Active(c.host), n.Active("other.test"))
			}
			if orders := w.authority.Orders(); len(orders) != 1 && len(c.env) == 0 || orders[0].Identifiers[0].Value != c.covered {
				t.Errorf("orders: %+v; expected one for %s", orders, c.covered)
			}
			if texts := w.authority.Names.Texts(); texts != 0 {
				t.Errorf("%d TXT records are left", texts)
			}
			checkSecrecy(t, w)
		})
	}
}

// checkSecrecy fails if a private key can be read by others.
func checkSecrecy(t *testing.T, w *world) {
	t.Helper()
	keys := 0
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := dir + "/" + e.Name()
			if e.IsDir() {
				walk(path)
				continue
			}
			info, err := e.Info()
			if errors.Is(err, os.ErrNotExist) {
				continue // a lock
			}
			if strings.HasSuffix(path, ".key") {
				keys++
				if err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
				}
			}
		}
	}
	walk(w.layout.Certificates())
	if keys != 2 {
		t.Errorf("%d private keys; expected the account's and the certificate's", keys)
	}
}

// TestTwoNodesOneOrder starts two nodes with one folder. The challenges arrive
// at the first, whichever node orders.
func TestTwoNodesOneOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want("shared.test")
	var nodes [2]*node
	nodes[0] = w.start(w.clear, nil)
	// The second one's own address leads nowhere, so the first must answer.
	nodes[1] = w.start(listen(t), nil)
	w.state("shared.test", active)
	for i, n := range nodes {
		if !poll.Until(t.Context(), 30*time.Second, 20*time.Millisecond, func() bool {
			_, err := n.handshake("shared.test")
			return err == nil
		}) {
			_, err := n.handshake("shared.test")
			t.Errorf("node %d: %v", i, err)
		}
	}
	if orders := w.authority.Orders(); len(orders) != 1 {
		t.Errorf("%d orders; expected 1", len(orders))
	}
}

// TestRenewWhileReading renews a certificate again and again, as if its time
// were over, while 50 readers make connections. Each renewal names the
// certificate that it replaces.
func TestRenewWhileReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want("busy.test")
	n := w.start(w.clear, w.secure, func(c *certificates.Config) { c.RenewalRatio, c.Interval = 1, 300*time.Millisecond })
	w.state("busy.test", active)
	var group sync.WaitGroup
	var reads atomic.Int64
	serials := sync.Map{}
	done := make(chan struct{})
	for range 50 {
		group.Go(func() {
			pace := time.NewTicker(500 * time.Millisecond) // leaves the processors to the renewals
			defer pace.Stop()
			for {
				select {
				case <-done:
					return
				case <-pace.C:
				}
				c, err := n.handshake("busy.test")
				if err != nil {
					t.Errorf("after %d reads: %v", reads.Load(), err)
					return
				}
				reads.Add(1)
				serials.Store(c.SerialNumber.String(), true)
			}
		})
	}
	count := func() int {
		k := 0
		serials.Range(func(any, any) bool { k++; return true })
		return k
	}
	if !poll.Until(t.Context(), 3*time.Minute, 20*time.Millisecond, func() bool { return count() >= 3 || t.Failed() }) {
		t.Errorf("readers saw %d certificates; expected 3", count())
	}
	close(done)
	group.Wait()
	replaced := 0
	for _, o := range w.authority.Orders()[1:] {
		if o.Replaces != "" {
			replaced++
		}
	}
	if replaced < 2 {
		t.Errorf("%d of %d orders name what they replace: %+v", replaced, len(w.authority.Orders()), w.authority.Orders())
	}
}

// TestAuthorityDown renews while the authority is down: the old certificate is
// served, and the state says why the renewal failed. When the authority is
// back and the record is written again, the renewal follows at once.
func TestAuthorityDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want("old.test")
	n := w.start(w.clear, nil)
	w.state("old.test", active)
	n.stop()

	w.authority.SetDown(true)
	w.clear = relisten(t, w.clear)
	n = w.start(w.clear, nil, func(c *certificates.Config) { c.RenewalRatio = 1 })
	state := w.state("old.test", func(s site.CertificateState) bool { return s.Problem != "" })
	if state.State != site.CertificateActive || state.Code != "authority_down" || !strings.Contains(state.Problem, "can't be reached") || !state.NextTry.After(time.Now()) {
		t.Errorf("the state is %+v", state)
	}
	before, err := n.handshake("old.test")
	if err != nil || !n.Active("old.test") {
		t.Fatalf("the old certificate: %v, active %t", err, n.Active("old.test"))
	}
	w.authority.SetDown(false)
	w.want("old.test")
	w.state("old.test", func(s site.CertificateState) bool { return s.Problem == "" })
	if after, err := n.handshake("old.test"); err != nil || after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Errorf("after the renewal: %v, the same certificate", err)
	}
}

// relisten listens on an address whose server has ended. A connection of another
// program may have its port for a moment.
func relisten(t *testing.T, l net.Listener) (again net.Listener) {
	t.Helper()
	var err error
	if !poll.Until(t.Context(), time.Minute, 20*time.Millisecond, func() bool {
		again, err = net.Listen("tcp", l.Addr().String())
		return err == nil
	}) {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

// TestFailures makes orders fail in the ways an authority can refuse them. Each
// state has a sentence, and other hosts are not affected.
func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	until := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	w.authority.Names.Remove("missing.test")
	n := w.start(w.clear, nil)
	for _, c := range []struct {
		host, code, says string
		problem          acme.Problem
		next             time.Time
	}{
		{"missing.test", "connection", "ports 80 and 443", acme.Problem{}, time.Time{}},
		{"caa.test", "caa", "CAA record forbids", acme.Problem{Type: acme.ProblemTypeCAA, Status: 403, Detail: "CAA record for caa.test prevents issuance"}, time.Time{}},
		{"csr.test", "refused", "refused the request", acme.Problem{Type: acme.ProblemTypeBadCSR, Status: 400, Detail: "bad\x1b[31m key"}, time.Time{}},
		{"many.test", "rate_limited", "rate limit is reached", acme.Problem{
			Type: acme.ProblemTypeRateLimited, Status: 429,
			Detail: "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after " + until.Format(time.DateTime) + " UTC: see https://letsencrypt.org/docs/rate-limits/",
		}, until},
		{"broken.test", "authority_down", "internal error", acme.Problem{Type: acme.ProblemTypeServerInternal, Status: 500, Detail: "oops"}, time.Time{}},
	} {
		w.authority.Fail(acmedouble.NewOrder, c.problem)
		w.want(c.host)
		state := w.state(c.host, failed)
		if state.Code != c.code || !strings.Contains(state.Problem, c.says) || !strings.Contains(state.Problem, c.host) || strings.Contains(state.Problem, "\x1b") {
			t.Errorf("%s: %+v; expected the code %s and %q", c.host, state, c.code, c.says)
		}
		if !state.NextTry.After(time.Now()) || !c.next.IsZero() && !state.NextTry.Equal(c.next) {
			t.Errorf("%s: next try at %s; expected %s", c.host, state.NextTry, c.next)
		}
		if _, err := n.handshake(c.host); !unrecognized(err) {
			t.Errorf("%s: a handshake gives %v; expected the alert unrecognized_name", c.host, err)
		}
	}
	w.authority.Fail(acmedouble.NewOrder, acme.Problem{})
	w.want("good.test")
	w.state("good.test", active)
	// The authority said until when it refuses, so it is not asked again.
	before := len(w.authority.Orders())
	w.want("many.test", "good.test")
	w.state("many.test", func(s site.CertificateState) bool {
		return strings.Contains(s.Problem, "limit of") && s.NextTry.Equal(until)
	})
	if n := len(w.authority.Orders()) - before; n != 0 {
		t.Errorf("%d orders while the authority refuses them; expected none", n)
	}
}

// unrecognized reports whether a handshake ended with the alert for an unknown
// name.
func unrecognized(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), "remote error: tls: unrecognized name")
}

// TestUnknownNames makes a thousand handshakes for names that nothing serves,
// and some without a name. None leads to an order, and each ends with an alert.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start(w.clear, w.secure)
	var group sync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range 1000 {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			host := fmt.Sprintf("n%d.unknown.test", i)
			if i%100 == 0 {
				host = ""
			}
			if _, err := n.handshake(host); !unrecognized(err) {
				t.Errorf("%q: %v; expected the alert unrecognized_name", host, err)
			}
		})
	}
	group.Wait()
	if orders := w.authority.Orders(); len(orders) != 0 {
		t.Errorf("%d orders; expected none", len(orders))
	}
	entries, err := os.ReadDir(w.layout.Certificates() + "/state")
	if err != nil || len(entries) != 0 {
		t.Errorf("files of states: %v, %v; expected none", entries, err)
	}
}

// TestHandshakeWaits makes the first handshakes of a new host, which wait for
// its certificate.
func TestHandshakeWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start(w.clear, nil)
	w.want("first.test")
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := n.handshake("first.test"); err != nil {
				t.Errorf("the first handshake: %v", err)
			}
		})
	}
	group.Wait()
	if orders := w.authority.Orders(); len(orders) != 1 {
		t.Errorf("%d orders; expected 1", len(orders))
	}
}

// TestBudgetIsKept wants more certificates than the limits allow.
func TestBudgetIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limits := certificates.Limits{Orders: certificates.Limit{Burst: 4, Per: time.Hour}}
	n := w.start(w.clear, nil, func(c *certificates.Config) { c.Limits = &limits })
	var hosts []string
	for i := range 8 {
		hosts = append(hosts, fmt.Sprintf("h%d.test", i))
	}
	w.want(hosts...)
	issued, refused := 0, 0
	for _, h := range hosts {
		s := w.state(h, func(s site.CertificateState) bool { return s.State != site.CertificateIssuing })
		switch {
		case active(s):
			issued++
		case s.Code == "rate_limited" && strings.Contains(s.Problem, "limit of 4 orders in an hour") && s.NextTry.After(time.Now()):
			refused++
		default:
			t.Errorf("%s: %+v", h, s)
		}
	}
	orders := len(w.authority.Orders())
	if orders > 4 || issued == 0 || issued != orders || refused != len(hosts)-issued {
		t.Errorf("%d orders, %d issued, %d refused; expected at most 4 orders", orders, issued, refused)
	}
	if left, err := n.Left(hosts[0]); err != nil || left.Orders != 4-orders || left.Domain != -1 {
		t.Errorf("left: %+v, %v; expected %d orders", left, err, 4-orders)
	}
}
