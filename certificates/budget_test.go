package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/troy-iaas/troy/site"
)

// TestReserve reserves orders from several processes at once. No limit is
// exceeded, unused reservations come back, and renewals are exempt from all
// limits except failures.
func TestReserve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	limits := Limits{Orders: Limit{20, 3 * time.Hour}, Domain: Limit{6, time.Hour}, Names: Limit{2, time.Hour}, Failures: Limit{4, time.Hour}}
	budgets := [2]*budget{{dir, "a.test", limits}, {dir, "a.test", limits}}
	var got atomic.Int64
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			err := budgets[i%2].reserve(t.Context(), fmt.Sprintf("h%d.example.co.uk", i), false)
			var limited *limitError
			if err == nil {
				got.Add(1)
			} else if !errors.As(err, &limited) || !strings.Contains(limited.what, "6 certificates for example.co.uk") || !limited.until.After(time.Now()) {
				t.Errorf("reserve: %v", err)
			}
		})
	}
	group.Wait()
	if got.Load() != 6 {
		t.Fatalf("%d reservations for one domain; expected 6", got.Load())
	}
	if err := budgets[0].reserve(t.Context(), "h40.example.co.uk", true); err != nil {
		t.Errorf("a renewal: %v; expected no limit", err)
	}
	// 12 of 20 orders are reserved, 2 for each attempt.
	for i := range 4 {
		if err := budgets[0].reserve(t.Context(), fmt.Sprintf("d%d.test", i), false); err != nil {
			t.Fatal(err)
		}
	}
	var limited *limitError
	if err := budgets[1].reserve(t.Context(), "late.test", false); !errors.As(err, &limited) || !strings.Contains(limited.what, "20 orders in 3 hours") {
		t.Errorf("the eleventh attempt: %v", err)
	}
	left, err := budgets[0].settle("d0.test", false, 1, 0, 1)
	if err != nil || left.Orders != 1 || left.Failures != 4 {
		t.Errorf("left after an attempt with one order: %+v, %v", left, err)
	}
	if _, err := budgets[0].settle("d1.test", false, 1, 2, 0); err != nil {
		t.Fatal(err)
	}
	// Attempts without a certificate, as in an outage, do not count as certificates.
	for range 10 {
		if err := budgets[0].reserve(t.Context(), "outage.test", false); err != nil {
			t.Fatalf("after attempts without a certificate: %v", err)
		}
		if _, err := budgets[0].settle("outage.test", false, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := budgets[1].reserve(t.Context(), "late.test", false); err != nil {
		t.Errorf("after two attempts gave back an order each: %v", err)
	}
	if err := budgets[1].reserve(t.Context(), "d1.test", true); err != nil {
		t.Errorf("after 2 of 4 failures: %v", err)
	}
	if err := budgets[1].reserve(t.Context(), "d1.test", true); !errors.As(err, &limited) || !strings.Contains(limited.what, "failed challenges") {
		t.Errorf("after all failures: %v", err)
	}
}

// TestBudgetWithAWrongClock reads a budget that was written while the clock was
// years ahead. It ends within the limit's own time.
func TestBudgetWithAWrongClock(t *testing.T) {
	t.Parallel()
	b := &budget{t.TempDir(), "a.test", Limits{Orders: Limit{10, time.Hour}}}
	ahead := time.Now().Add(10 * 365 * 24 * time.Hour).Format(time.RFC3339)
	if err := os.WriteFile(filepath.Join(b.folder, "_orders.a.test.json"), []byte(`{"full":{"orders":"`+ahead+`"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var limited *limitError
	if err := b.reserve(t.Context(), "a.test", false); !errors.As(err, &limited) || limited.until.After(time.Now().Add(time.Hour)) {
		t.Errorf("reserve: %v; expected a limit that ends within an hour", err)
	}
}

// TestExplain has a sentence for each kind of error.
func TestExplain(t *testing.T) {
	t.Parallel()
	dialing := func(err error) error { return &url.Error{Op: "Get", URL: "https://ca.test/dir", Err: err} }
	for _, c := range []struct {
		err        error
		code, says string
	}{
		{storageError{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}, noStorage, "The disk of the data folder is full"},
		{storageError{os.ErrPermission}, noStorage, "can't be used"},
		{dialing(syscall.ECONNREFUSED), authorityDown, "can't be reached, so Troy can't get a certificate for a.test yet: connection refused"},
		{dialing(x509.CertificateInvalidError{Reason: x509.Expired}), wrongClock, "Set the clock"},
		{dialing(x509.UnknownAuthorityError{}), untrusted, "TROY_ACME_CA_FILE"},
		{acme.Problem{Type: acme.ProblemTypeConnection, Status: 400, Detail: "203.0.113.1: Connection refused"}, noConnection, "ports 80 and 443"},
		{acme.Problem{Type: acme.ProblemTypeUnauthorized, Status: 403, Detail: "Invalid response: 404"}, wrongServer, "Another server answered"},
		{acme.Problem{Type: acme.ProblemTypeRejectedIdentifier, Status: 400, Detail: "policy forbids"}, rejected, "issues no certificates for a.test"},
		{acme.Problem{Type: acme.ProblemTypeCompound, Status: 400, Subproblems: []acme.Subproblem{{Problem: acme.Problem{Type: acme.ProblemTypeCAA, Detail: "x"}}}}, forbiddenCAA, "CAA"},
		{acme.Problem{Status: 503, Detail: "Service busy"}, authorityDown, "status 503"},
		{acme.Problem{Type: "about:blank", Status: 418, Detail: "teapot"}, failed, "It said: teapot"},
		{errors.New("unforeseen"), failed, "unforeseen"},
	} {
		p := explain("a.test", fmt.Errorf("order: %w", c.err))
		if p.code != c.code || !strings.Contains(p.sentence, c.says) || !strings.Contains(p.sentence, "a.test") {
			t.Errorf("%v: %s, %q; expected %s and %q", c.err, p.code, p.sentence, c.code, c.says)
		}
	}
}

// TestRetryTime believes only times that an authority can mean.
func TestRetryTime(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	for detail, want := range map[string]time.Duration{
		"retry after " + now.Add(34*time.Hour).Format(time.DateTime) + " UTC: see": 34 * time.Hour,
		"retry after " + now.Add(-time.Hour).Format(time.DateTime):                 time.Hour,
		"retry after 2999-01-01 00:00:00 UTC":                                      time.Hour,
		"too many requests":                                                        time.Hour,
	} {
		if got := retryTime(detail).Sub(now); got < want-time.Second || got > want+10*time.Second {
			t.Errorf("%q: in %s; expected %s", detail, got, want)
		}
	}
}

// TestSweep removes the certificate of a host a day after it was last listed,
// and none that another process manages.
func TestSweep(t *testing.T) {
	t.Parallel()
	layout := site.Layout{Root: t.TempDir()}
	m, err := New(Config{
		Layout: layout, Directory: "https://ca.test/dir", Clean: true, Others: []string{"web.test"},
		Hosts: func() ([]Host, error) { return nil, nil }, Changed: func() any { return 1 }, Allows: func(string) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.cache.Stop)
	hosts := []string{"gone.test", "*.gone.test", "here.test", "web.test"}
	for _, h := range hosts {
		m.write(h, site.CertificateState{State: site.CertificateActive})
		if err := m.storage.Store(t.Context(), "certificates/ca.test-dir/"+filepath.Base(filepath.Dir(m.file(h)))+"/x.crt", nil); err != nil {
			t.Fatal(err)
		}
	}
	m.names["here.test"] = &name{}
	left := func() (states, folders int) {
		for _, h := range hosts {
			if _, err := layout.ReadCertificateState(h); err == nil {
				states++
			}
			if _, err := os.Stat(filepath.Dir(m.file(h))); err == nil {
				folders++
			}
		}
		return states, folders
	}
	now := time.Now()
	m.sweep(now)
	m.sweep(now.Add(23 * time.Hour))
	if s, f := left(); s != 4 || f != 4 {
		t.Errorf("after 23 hours %d states and %d folders are left; expected 4", s, f)
	}
	m.sweep(now.Add(25 * time.Hour))
	if s, f := left(); s != 2 || f != 2 {
		t.Errorf("after 25 hours %d states and %d folders are left; expected 2", s, f)
	}
}

// TestDiscardGone removes everything about a host that was removed a minute ago,
// with what is left of challenges, and nothing about hosts that came back.
func TestDiscardGone(t *testing.T) {
	t.Parallel()
	layout := site.Layout{Root: t.TempDir()}
	m, err := New(Config{
		Layout: layout, Directory: "https://ca.test/dir", Clean: true, Others: []string{"web.test"},
		Hosts: func() ([]Host, error) { return nil, nil }, Changed: func() any { return 1 }, Allows: func(string) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.cache.Stop)
	m.names["back.test"] = &name{}
	// The order for a host goes on after its removal.
	m.names["ordered.test"] = &name{busy: make(chan struct{})}
	now := time.Now()
	for host, ago := range map[string]time.Duration{"ordered.test": time.Hour, "gone.test": time.Hour, "*.gone.test": time.Hour, "fresh.test": time.Second, "back.test": time.Hour, "web.test": time.Hour} {
		m.write(host, site.CertificateState{State: site.CertificateActive})
		safe := filepath.Base(filepath.Dir(m.file(host)))
		for _, key := range []string{"certificates/ca.test-dir/" + safe + "/x.crt", "certificates/older-ca.test-dir/" + safe + "/x.key", "acme/ca.test-dir/challenge_tokens/" + safe + ".json", "ocsp/" + safe + "-1"} {
			if err := m.storage.Store(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
		file := layout.CertificateGone(host)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600), os.Chtimes(file, now, now.Add(-ago))); err != nil {
			t.Fatal(err)
		}
	}
	m.discardGone(now)
	stored, err := Stored(layout)
	if got := strings.Join(stored, " "); err != nil || got != "back.test fresh.test ordered.test web.test" {
		t.Errorf("certificates are left of %q, %v", got, err)
	}
	for pattern, want := range map[string]int{"certificates/*/*": 8, "acme/*/challenge_tokens/*": 4, "ocsp/*": 4, "gone/*": 3} {
		if found, err := filepath.Glob(filepath.Join(layout.Certificates(), pattern)); err != nil || len(found) != want {
			t.Errorf("%s: %v, %v; expected %d", pattern, found, err, want)
		}
	}
	delete(m.names, "ordered.test") // as the listing after the order does
	m.discardGone(now)
	if stored, err = Stored(layout); err != nil || slices.Contains(stored, "ordered.test") {
		t.Errorf("certificates are left of %q, %v", stored, err)
	}
}

// TestSummarize says how many hosts have certificates, what is left of the limits,
// and which problem is not one of a single host.
func TestSummarize(t *testing.T) {
	t.Parallel()
	limits := &Limits{Orders: Limit{10, time.Hour}, Domain: Limit{4, 7 * 24 * time.Hour}, Names: Limit{5, time.Hour}}
	layout := site.Layout{Root: t.TempDir()}
	look := func() Summary {
		t.Helper()
		s, err := Summarize(t.Context(), layout, "https://ca.test/dir", limits)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := look(); s.Authority != "ca.test" || s.Hosts != 0 || s.Problem != "" || strings.Join(s.Left, ", ") != "10 of 10 orders in an hour" {
		t.Errorf("of an empty folder: %+v", s)
	}
	b := &budget{filepath.Join(layout.Certificates(), "state"), "ca.test", *limits}
	for _, host := range []string{"a.example.com", "b.example.com", "c.example.org"} {
		if err := b.reserve(t.Context(), host, false); err != nil {
			t.Fatal(err)
		}
		if _, err := b.settle(host, false, 1, 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	states := map[string]string{
		"a.example.com.json": `{"state":"active","not_after":"2999-01-01T00:00:00Z"}`, "_wildcard.example.com.json": `{"state":"active","not_after":"2999-01-01T00:00:00Z"}`,
		"b.example.com.json": `{"state":"failed","code":"caa","problem":"a CAA record"}`,
	}
	write := func() {
		for name, text := range states {
			if err := os.WriteFile(filepath.Join(b.folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	if s := look(); s.Hosts != 3 || s.Valid != 2 || s.Problem != "" || strings.Join(s.Left, ", ") != "7 of 10 orders in an hour, 2 of 4 certificates for example.com in 7 days" {
		t.Errorf("after three orders: %+v", s)
	}
	states["c.example.org.json"] = `{"state":"failed","code":"authority_down","problem":"The authority is down."}`
	write()
	if s := look(); s.Hosts != 4 || s.Problem != "The authority is down." {
		t.Errorf("while the authority is down: %+v", s)
	}
	b.block(ordersBucket, time.Now().Add(time.Hour))
	if s := look(); !strings.HasPrefix(s.Problem, "The certificate authority accepts no orders until ") {
		t.Errorf("while the authority refuses: %+v", s)
	}
	limits.Domain = Limit{1, 7 * 24 * time.Hour}
	b.block(ordersBucket, time.Now())
	if s := look(); !strings.HasPrefix(s.Problem, "The limit of 1 certificates for example.") {
		t.Errorf("at the limit: %+v", s)
	}
}
