package intake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// domains describes a pipeline's domains: "=" is primary, ">" redirects.
func (w *world) domains(p queries.Pipeline) string {
	w.t.Helper()
	rows, err := w.q.CustomDomainList(w.ctx(), p.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, d := range rows {
		text := d.Host
		if d.Main {
			text += "="
		}
		if d.Redirect != "" {
			text += ">" + d.Redirect
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog, docs := w.create("Blog"), w.create("Docs")
	w.exec("UPDATE pipelines SET distribution_id = slug")
	proven := false
	var asked []string
	add := func(p queries.Pipeline, host string, alone, reveal bool) func() error {
		return func() error {
			return w.in.AddDomain(w.ctx(), p.ID, intake.NewDomain{Host: host, Alone: alone, Reveal: reveal, ProvenBy: func(_ context.Context, host, challenge string) (bool, error) {
				asked = append(asked, host+" "+challenge)
				return proven, nil
			}}, "ada")
		}
	}
	remove := func(p queries.Pipeline, host string, alone bool) func() error {
		return func() error { _, err := w.in.RemoveDomain(w.ctx(), p.ID, host, alone, "ada"); return err }
	}
	primary := func(p queries.Pipeline, host string) func() error {
		return func() error { return w.in.MakePrimary(w.ctx(), p.ID, host, "ada") }
	}
	prove := func(is bool) func() error { return func() error { proven = is; return nil } }
	for _, s := range []struct {
		name       string
		do         func() error
		kind       troy.ErrorKind // "" without an error
		says       string
		blog, docs string
	}{
		{"add an apex", add(blog, "example.com", false, true), "", "", "example.com= www.example.com>example.com", ""},
		{"add it again", add(blog, "example.com", false, true), "", "", "example.com= www.example.com>example.com", ""},
		{"add a www host", add(docs, "www.example.org", false, true), "", "", "example.com= www.example.com>example.com", "example.org>www.example.org www.example.org="},
		{"the other one is primary", primary(docs, "example.org"), "", "", "example.com= www.example.com>example.com", "example.org= www.example.org>example.org"},
		{"again", primary(docs, "example.org"), "", "", "example.com= www.example.com>example.com", "example.org= www.example.org>example.org"},
		{"of another pipeline", add(docs, "example.com", true, true), troy.Conflict, "the pipeline blog has the domain example.com; if you control its DNS, set a TXT record of _troy-challenge.example.com to " + intake.DomainChallenge(docs.ID, "example.com"), "example.com= www.example.com>example.com", "example.org= www.example.org>example.org"},
		{"without its name", add(docs, "example.com", true, false), troy.Conflict, "another pipeline has the domain example.com", "example.com= www.example.com>example.com", "example.org= www.example.org>example.org"},
		{"the pair of another pipeline's", remove(blog, "www.example.com", false), "", "", "example.com=", "example.org= www.example.org>example.org"},
		{"is free", add(docs, "www.example.com", true, true), "", "", "example.com=", "example.org= www.example.com www.example.org>example.org"},
		{"and holds the pair", add(docs, "www.example.com", false, true), troy.Conflict, "add www.example.com without its pair (--no-pair)", "example.com=", "example.org= www.example.com www.example.org>example.org"},
		{"DNS agrees", prove(true), "", "", "example.com=", "example.org= www.example.com www.example.org>example.org"},
		{"it moves", add(docs, "example.com", false, true), "", "", "", "example.com>www.example.com example.org= www.example.com www.example.org>example.org"},
		{"DNS does not agree", prove(false), "", "", "", "example.com>www.example.com example.org= www.example.com www.example.org>example.org"},
		{"remove the one that serves", remove(docs, "www.example.com", false), "", "", "", "example.org= www.example.org>example.org"},
		{"remove the primary one alone", remove(docs, "example.org", true), "", "", "", "www.example.org="},
		{"remove what is not there", remove(docs, "example.org", true), troy.NotFound, `no domain "example.org"`, "", "www.example.org="},
		{"remove another pipeline's", remove(blog, "www.example.org", true), troy.NotFound, "no domain", "", "www.example.org="},
		{"primary of another pipeline", primary(blog, "www.example.org"), troy.NotFound, "no domain", "", "www.example.org="},
		{"a wildcard", add(blog, "*.example.net", false, true), "", "", "*.example.net", "www.example.org="},
		{"is not primary", primary(blog, "*.example.net"), troy.Invalid, "can't be the site's address", "*.example.net", "www.example.org="},
		{"covers its hosts", add(docs, "a.example.net", false, false), troy.Conflict, "another pipeline has the wildcard *.example.net, which covers a.example.net", "*.example.net", "www.example.org="},
		{"but not deeper ones", add(docs, "a.b.example.net", false, false), "", "", "*.example.net", "a.b.example.net www.example.org="},
		{"and not the owner's", add(blog, "c.example.net", false, false), "", "", "*.example.net c.example.net=", "a.b.example.net www.example.org="},
		{"check one", func() error { return w.in.VerifyDomain(w.ctx(), blog.ID, "c.example.net") }, "", "", "*.example.net c.example.net=", "a.b.example.net www.example.org="},
		{"check another pipeline's", func() error { return w.in.VerifyDomain(w.ctx(), docs.ID, "c.example.net") }, troy.NotFound, "no domain", "*.example.net c.example.net=", "a.b.example.net www.example.org="},
	} {
		before := w.count("SELECT count(*) FROM audit")
		err := s.do()
		if s.kind == "" && err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.kind != "" {
			wantKind(t, err, s.kind, s.says)
			if after := w.count("SELECT count(*) FROM audit"); after != before {
				t.Errorf("%s: refused, but the audit trail has %d more entries", s.name, after-before)
			}
		}
		if got := w.domains(blog); got != s.blog {
			t.Errorf("%s: blog has %q, want %q", s.name, got, s.blog)
		}
		if got := w.domains(docs); got != s.docs {
			t.Errorf("%s: docs has %q, want %q", s.name, got, s.docs)
		}
	}
	var trail, detach string
	if err := w.db.QueryRow(w.ctx(), `SELECT (SELECT string_agg(action || ':' || slug || ':' || detail, '|' ORDER BY slug) FROM audit WHERE action = 'domain.move' AND subject = 'example.com'),
		(SELECT detach_from::text FROM custom_domains WHERE host = 'example.com')`).Scan(&trail, &detach); err != nil {
		t.Fatal(err)
	}
	if want := "domain.move:blog:to another pipeline, which DNS allows|domain.move:docs:from another pipeline, which DNS allows; redirects to www.example.com"; trail != want {
		t.Errorf("the audit trail of the move is %q, want %q", trail, want)
	}
	if detach != "{blog}" {
		t.Errorf("the moved domain is detached from %s, want {blog}", detach)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'domain:check'"); n != 2 {
		t.Errorf("%d pipelines have work for their domains, want 2", n)
	}
	for _, a := range asked {
		if strings.HasPrefix(a, "www.example.org ") {
			t.Errorf("DNS was asked about a domain of the same pipeline: %s", a)
		}
	}
}

// TestDomainsLeave adds hosts while another pipeline's service of them is ending:
// their distribution is not forgotten, and a wildcard that stays still covers them.
func TestDomainsLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog, docs := w.create("Blog"), w.create("Docs")
	w.exec("UPDATE pipelines SET distribution_id = slug")
	add := func(p queries.Pipeline, host string) error {
		return w.in.AddDomain(w.ctx(), p.ID, intake.NewDomain{Host: host}, "ada")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := func(host string) {
		t.Helper()
		_, err := w.in.RemoveDomain(w.ctx(), blog.ID, host, false, "ada")
		must(err)
	}
	for _, host := range []string{"a.example.net", "*.example.edu", "a.example.org", "*.example.org"} {
		must(add(blog, host))
	}
	remove("a.example.org")
	wantKind(t, add(docs, "a.example.org"), troy.Conflict, "another pipeline has the wildcard *.example.org")
	for _, host := range []string{"a.example.net", "*.example.edu"} {
		remove(host)
		must(add(docs, host))
		var detach string
		must(w.db.QueryRow(w.ctx(), "SELECT detach_from::text FROM custom_domains WHERE host = $1", host).Scan(&detach))
		if detach != "{blog}" {
			t.Errorf("%s is detached from %s, want {blog}", host, detach)
		}
	}
	// A wildcard that came later does not hold a domain that exists.
	must(add(docs, "b.example.com"))
	must(add(blog, "*.example.com"))
	must(add(docs, "b.example.com"))
}

// TestDomainLimits fills a pipeline with domains, and refuses them where they
// can't be served or the pipeline is being deleted.
func TestDomainLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	add := func(in *intake.Intake, host string) error {
		return in.AddDomain(w.ctx(), p.ID, intake.NewDomain{Host: host}, "ada")
	}
	for i := range 50 {
		if err := add(w.in, fmt.Sprintf("a%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, add(w.in, "more.example.com"), troy.Conflict, "has 50 domains; at most 50")
	if err := add(w.in, "a7.example.com"); err != nil {
		t.Errorf("a domain that exists: %v", err)
	}
	if _, err := w.in.RemoveDomain(w.ctx(), p.ID, "a7.example.com", false, "ada"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, add(w.in, "example.org"), troy.Conflict, "at most 50") // a pair
	if err := add(w.in, "a7.example.com"); err != nil {
		t.Errorf("a domain that is being removed: %v", err)
	}
	w.put(p, troy.Deleting)
	wantKind(t, add(w.in, "a7.example.com"), troy.Conflict, "changes to its domains")
	_, err := w.in.RemoveDomain(w.ctx(), p.ID, "a7.example.com", false, "ada")
	wantKind(t, err, troy.Conflict, "changes to its domains")

	unable := newWorld(t, func(c *intake.Config) { c.NoDomains = "custom domains can't be served here" })
	q := unable.create("Blog")
	err = unable.in.AddDomain(unable.ctx(), q.ID, intake.NewDomain{Host: "example.com"}, "ada")
	wantKind(t, err, troy.Conflict, "can't be served here")
}

// TestDomainProofFails asks DNS in vain. Nothing changes.
// TestDomainsOfTwoAtOnce adds the same hosts to two pipelines at the same
// moment, without a proof: each host stays with the pipeline that was first.
func TestDomainsOfTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pipelines := []queries.Pipeline{w.create("Blog"), w.create("Docs")}
	for round := range 20 {
		host := fmt.Sprintf("a%d.example.com", round)
		errs := make([]error, len(pipelines))
		var adding sync.WaitGroup
		for i, p := range pipelines {
			adding.Go(func() {
				errs[i] = w.in.AddDomain(w.ctx(), p.ID, intake.NewDomain{Host: host, Alone: true}, "ada")
			})
		}
		adding.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("both pipelines added %s: %v, %v", host, errs[0], errs[1])
		}
		for _, err := range errs {
			if err != nil {
				wantKind(t, err, troy.Conflict, "another pipeline has")
			}
		}
	}
}

func TestDomainProofFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog, docs := w.create("Blog"), w.create("Docs")
	if err := w.in.AddDomain(w.ctx(), blog.ID, intake.NewDomain{Host: "a.example.com"}, "ada"); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no resolver answers")
	err := w.in.AddDomain(w.ctx(), docs.ID, intake.NewDomain{Host: "a.example.com", ProvenBy: func(context.Context, string, string) (bool, error) { return true, broken }}, "ada")
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "_troy-challenge.a.example.com") {
		t.Errorf("got %v", err)
	}
	if got := w.domains(blog); got != "a.example.com=" {
		t.Errorf("blog has %q", got)
	}
}
