package dnscheck_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/dnscheck"
)

var update = flag.Bool("update", false, "write the golden file of sentences")

// many repeats a format for numbers from 0.
func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestSituations checks the codes of all findings of each situation, and
// compares the sentences with testdata/sentences.golden.
func TestSituations(t *testing.T) {
	t.Parallel()
	sentences := make([]string, len(situations))
	t.Run("all", func(t *testing.T) {
		for i, c := range situations {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				report, replace := c.s.check(t.Context(), t)
				var codes []dnscheck.Code
				text := "# " + c.name + "\n"
				for _, f := range report.Findings {
					codes = append(codes, f.Code)
					text += fmt.Sprintf("%s %s: %s\n", f.Severity, f.Code, replace(f.Sentence))
				}
				if diff := cmp.Diff(c.codes, codes); diff != "" {
					t.Errorf("codes, want (-) and got (+):\n%s%s", diff, text)
				}
				if report.Points != c.points {
					t.Errorf("points = %v, want %v", report.Points, c.points)
				}
				if report.Headline != report.Findings[0].Sentence {
					t.Errorf("the headline is %q", report.Headline)
				}
				if report.Queries == 0 || report.Queries > 100 {
					t.Errorf("%d questions were asked", report.Queries)
				}
				sentences[i] = text
			})
		}
	})
	golden(t, "testdata/sentences.golden", strings.Join(sentences, "\n"))
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-) against now (+); go test -update writes it:\n%s", file, diff)
	}
}

// TestEveryCode checks that the situations cover all codes.
func TestEveryCode(t *testing.T) {
	t.Parallel()
	elsewhere := []dnscheck.Code{dnscheck.AnswersVary, dnscheck.CheckIncomplete} // tested below
	for _, code := range dnscheck.Codes() {
		covered := slices.Contains(elsewhere, code)
		for _, c := range situations {
			covered = covered || slices.Contains(c.codes, code)
		}
		if !covered {
			t.Errorf("no situation has the code %s", code)
		}
	}
}

// TestAnswersVary: a name server rotates between the site and another server.
func TestAnswersVary(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	rotate := only(dns.TypeA, func(w dns.ResponseWriter, q *dns.Msg) bool {
		if q.Question[0].Name != "www.example.com." {
			return false
		}
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = true
		last := byte(10)
		if n.Add(1)%2 == 0 {
			last = 66
		}
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: []byte{203, 0, 113, last}}}
		_ = w.WriteMsg(m)
		return true
	})
	report, _ := situation{zone: "www A 203.0.113.10\n", ns1: rotate, com: "example.com. NS ns1.example.com.\nns1.example.com. A 192.0.2.11\n"}.check(t.Context(), t)
	if got := report.Findings[0]; got.Code != dnscheck.AnswersVary || !strings.Contains(got.Sentence, "203.0.113.66") || report.Points {
		t.Errorf("points = %v, findings: %v", report.Points, report.Findings)
	}
}

// TestReport checks a whole report, with what to set and to remove.
func TestReport(t *testing.T) {
	t.Parallel()
	s := situation{host: "example.com", fixed: true, zone: "@ 1800 A 198.51.100.1\n@ A 203.0.113.10\n_troy-challenge TXT troy-3f9a\n@ CAA 0 issue \"digicert.com\"\n",
		wanted: dnscheck.Wanted{Challenge: "troy-3f9a", Issuers: []string{"letsencrypt.org"}}}
	report, replace := s.check(t.Context(), t)
	report.Queries = 0
	for i := range report.Authoritative {
		report.Authoritative[i].Address = "" // differs in each run
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.golden", replace(string(text))+"\n")
}

// TestSet checks the records to set and how they are named.
func TestSet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s    situation
		want []string
	}{
		"below the apex":       {situation{zone: rightCNAME}, []string{"CNAME www edge.host.net target true"}},
		"deep":                 {situation{host: "a.b.example.com"}, []string{"CNAME a.b edge.host.net target false"}},
		"apex, addresses":      {situation{host: "example.com", fixed: true, zone: "@ A 203.0.113.10\n"}, []string{"A @ 203.0.113.10 target true", "AAAA @ 2001:db8::10 target false"}},
		"apex, host":           {situation{host: "example.com"}, []string{"ALIAS @ edge.host.net target false"}},
		"wildcard":             {situation{host: "*.example.com", wanted: challenge}, []string{"CNAME * edge.host.net target false", "TXT _troy-challenge troy-3f9a proof false"}},
		"wildcard below":       {situation{host: "*.dev.example.com"}, []string{"CNAME *.dev edge.host.net target false"}},
		"validation":           {situation{zone: rightCNAME, wanted: validated}, []string{"CNAME www edge.host.net target true", "CNAME _abc.www _def.acm-validations.aws certificate false"}},
		"CAA":                  {situation{zone: rightCNAME + "@ CAA 0 issue \";\"\n", wanted: encrypt}, []string{"CNAME www edge.host.net target true", `CAA @ 0 issue "letsencrypt.org" certificate false`}},
		"subdomain, addresses": {situation{fixed: true}, []string{"A www 203.0.113.10 target false", "AAAA www 2001:db8::10 target false"}},
		"flattening": {situation{host: "example.com", bare: true, zone: "@ NS amy.ns.cloudflare.com.\n@ A 203.0.113.10\n", com: "example.com. NS amy.ns.cloudflare.com.\n",
			more: map[string]string{"ns.cloudflare.com": "amy A 192.0.2.11\n"}}, []string{"CNAME @ edge.host.net target true"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, _ := c.s.check(t.Context(), t)
			var got []string
			for _, r := range report.Set {
				got = append(got, fmt.Sprint(r.Type, " ", r.Name, " ", r.Value, " ", r.Purpose, " ", r.Found))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

// TestCachedUntil checks how long old records stay in caches (RFC 2308 for absent
// ones).
func TestCachedUntil(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cache string
		want  string
	}{
		"records": {"@ 1500 A 198.51.100.1\n", "2026-11-29T12:25:00Z"},
		"absence": {"@ 900 SOA ns.example.com. me.example.com. 1 1 1 1 7200\n", "2026-11-29T12:15:00Z"},
		"minimum": {"@ 9000 SOA ns.example.com. me.example.com. 1 1 1 1 60\n", "2026-11-29T12:01:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, _ := situation{zone: "www A 203.0.113.10\n", caches: map[string]string{"www.example.com": c.cache}}.check(t.Context(), t)
			if got := report.CachedUntil.Format(time.RFC3339); got != c.want {
				t.Errorf("cached until %s, want %s", got, c.want)
			}
		})
	}
}

// TestBounds: servers that never answer, everywhere, end a check at its limit,
// and the context ends it at once.
func TestBounds(t *testing.T) {
	t.Parallel()
	s := situation{zone: rightCNAME, com1: quiet, ns1: quiet, ns2: quiet, one: only(dns.TypeA, quiet), two: only(dns.TypeA, quiet), timeout: 2 * time.Second}
	t.Run("limit", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		report, _ := s.check(ctx, t)
		if len(report.Findings) == 0 || report.Points {
			t.Errorf("findings: %v", report.Findings)
		}
	})
	t.Run("context", func(t *testing.T) {
		t.Parallel()
		s := s
		s.timeout = time.Hour
		asked := make(chan struct{}, 100)
		s.one = func(dns.ResponseWriter, *dns.Msg) bool { asked <- struct{}{}; return true }
		checker, wanted, _ := s.play(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := checker.Check(ctx, wanted); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestQuestions: a zone that leads to ever more servers is not asked without end.
func TestQuestions(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	count := func(w dns.ResponseWriter, q *dns.Msg) bool { n.Add(1); return false }
	zone, com := "", ""
	for i := range 40 {
		zone += fmt.Sprintf("@ NS n%02d\nn%02d A 192.0.2.11\n", i, i)
		com += fmt.Sprintf("example.com. NS n%02d.example.com.\n", i)
	}
	host := strings.Repeat("a.", 100) + "example.com"
	report, _ := situation{host: host, bare: true, zone: zone, com: com, ns1: count, one: count, two: count, wanted: encrypt}.check(t.Context(), t)
	if n.Load() > 100 || report.Queries > 100 || len(report.Authoritative) > 4 {
		t.Errorf("%d questions, %d in the report, %d servers", n.Load(), report.Queries, len(report.Authoritative))
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	checker, err := dnscheck.New(dnscheck.Config{Resolvers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"", "localhost", "192.0.2.1", "a..com", "www.example.com.", "-a.com", "a-.com", "a b.com", "a/b.com", "www.exämple.com", "*", "a.*.com",
		strings.Repeat("a.", 126) + "comx", strings.Repeat("a", 64) + ".com", "2001:db8::1"} {
		if _, err := checker.Check(t.Context(), dnscheck.Wanted{Host: host, Target: target}); troy.KindOf(err) != troy.Invalid {
			t.Errorf("host %q: %v", host, err)
		}
	}
	for name, w := range map[string]dnscheck.Wanted{
		"nothing":      {Host: "www.example.com"},
		"wrong target": {Host: "www.example.com", Target: "http://x"},
		"record type":  {Host: "www.example.com", Target: target, Records: []dnscheck.WantedRecord{{Type: "MX", Name: "a.b", Value: "c"}}},
		"record name":  {Host: "www.example.com", Target: target, Records: []dnscheck.WantedRecord{{Type: "TXT", Name: "a..b", Value: "c"}}},
	} {
		if _, err := checker.Check(t.Context(), w); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, resolvers := range [][]string{nil, {"dns.example"}, {"192.0.2.1:x"}, make([]string, 5)} {
		if _, err := dnscheck.New(dnscheck.Config{Resolvers: resolvers}); troy.KindOf(err) != troy.Invalid {
			t.Errorf("resolvers %q: %v", resolvers, err)
		}
	}
}
