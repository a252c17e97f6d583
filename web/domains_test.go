package web_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
)

type domainAnswer struct {
	Host      string `json:"host"`
	Unicode   string `json:"unicode"`
	State     string `json:"state"`
	StateName string `json:"state_name"`
	Reason    string `json:"reason"`
	Primary   bool   `json:"primary"`
	Redirect  string `json:"redirect"`
	Records   []struct {
		Type, Name, Value string
		Full              string `json:"full_name"`
		TTL               int
		Purpose           string
		Found             bool
	} `json:"records"`
	Certificate *struct {
		State    string
		NotAfter *time.Time `json:"not_after"`
		NextTry  *time.Time `json:"next_try"`
	} `json:"certificate"`
	CreatedAt   time.Time      `json:"created_at"`
	CreatedBy   string         `json:"created_by"`
	Since       time.Time      `json:"since"`
	NextCheckAt time.Time      `json:"next_check_at"`
	ActiveAt    *time.Time     `json:"active_at"`
	CheckedAt   *time.Time     `json:"checked_at"`
	Report      map[string]any `json:"report"`
}

type domainsAnswer struct {
	Domains []domainAnswer `json:"domains"`
}

func TestDomainsOfAPipeline(t *testing.T) {
	t.Parallel()
	proven := false
	w := newWorld(t, func(w *world) {
		w.cfg.EdgeAddresses = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}
		w.deps.DomainProof = func(context.Context, string, string) (bool, error) { return proven, nil }
		w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", OwnHosts: []string{"troy.test"}})
	})
	blog, docs := w.create("Blog"), w.create("Docs")
	const at = "/v1/pipelines/blog/domains"
	var list domainsAnswer
	w.send("GET", at, nil).into(t, 200, &list)
	if list.Domains == nil || len(list.Domains) != 0 {
		t.Errorf("before, the list is %v", list)
	}

	key := header("Idempotency-Key", "k1")
	for range 2 {
		w.send("POST", at, `{"host":"Example.com."}`, key).into(t, 201, &list)
		if len(list.Domains) != 2 || list.Domains[0].Host != "example.com" || !list.Domains[0].Primary || list.Domains[1].Redirect != "example.com" ||
			list.Domains[0].State != "waiting_for_dns" || list.Domains[0].StateName != "Waiting for DNS" {
			t.Fatalf("after the addition the list is %+v", list)
		}
	}
	w.send("POST", at, `{"host":"example.net"}`, key).refused(t, 409, "conflict", "Idempotency-Key", "another request")
	var records []string
	for _, d := range list.Domains {
		for _, r := range d.Records {
			records = append(records, strings.Join([]string{r.Type, r.Name, r.Full, r.Value}, " "))
		}
	}
	if got, want := strings.Join(records, "|"), "A @ example.com 203.0.113.7|AAAA @ example.com 2001:db8::7|CNAME www www.example.com blog.sites.test"; got != want {
		t.Errorf("the records are %q, want %q", got, want)
	}

	for body, want := range map[string][2]string{
		`{}`:                             {"host", "is missing"},
		`{"host":"troy.test"}`:           {"host", "Troy's own host"},
		`{"host":"x.sites.test"}`:        {"host", "end in sites.test"},
		`{"host":"https://example.com"}`: {"host", "only its host"},
		`{"host":"co.uk"}`:               {"host", "public suffix"},
		`{"host":"example.com","x":1}`:   {"x", ""},
	} {
		w.send("POST", at, body).refused(t, 400, "invalid", want[0], want[1])
	}

	w.send("POST", at, `{"host":"bücher.example","pair":false}`).into(t, 201, &list)
	var one domainAnswer
	w.send("GET", at+"/b%C3%BCcher.example", nil).into(t, 200, &one)
	if len(list.Domains) != 3 || one.Host != "xn--bcher-kva.example" || one.Unicode != "bücher.example" || one.Report != nil {
		t.Errorf("the domain is %+v of %d", one, len(list.Domains))
	}
	w.send("GET", at+"/none.example.com", nil).refused(t, 404, "not_found", "", "no domain")
	w.send("GET", "/v1/pipelines/docs/domains/example.com", nil).refused(t, 404, "not_found", "", "no domain")

	w.send("POST", at+"/example.com/verify", nil).into(t, 202, &one)
	w.exec(`UPDATE custom_domains SET state = 'active', active_at = now(), certificate = 'active', not_after = now(), checked_at = now(), reason = 'x',
		report = '{"host": "example.com", "set": [{"type": "ALIAS", "name": "@", "full_name": "example.com", "value": "blog.sites.test", "ttl": 300, "purpose": "target", "found": true}]}' WHERE host = 'example.com'`)
	w.send("GET", at+"/example.com", nil).into(t, 200, &one)
	if one.State != "active" || one.Report["host"] != "example.com" || len(one.Records) != 1 || one.Records[0].Type != "ALIAS" || one.CheckedAt == nil {
		t.Errorf("after a check the domain is %+v", one)
	}
	var p pipeline
	w.send("GET", "/v1/pipelines/blog", nil).into(t, 200, &p)
	if p.Host != "blog.sites.test" || p.URL != "http://example.com:8081" {
		t.Errorf("the pipeline's host and address are %+v", p)
	}
	w.send("POST", at+"/www.example.com/primary", nil).into(t, 200, &list)
	if list.Domains[0].Redirect != "www.example.com" || !list.Domains[1].Primary {
		t.Errorf("after another is primary the list is %+v", list)
	}
	w.send("GET", "/v1/pipelines/blog", nil).into(t, 200, &p)
	if p.URL != "http://blog.sites.test:8081" {
		t.Errorf("the address while the primary domain is not active is %q", p.URL)
	}

	// Another pipeline's domain, for tokens of all pipelines and of one.
	limited := as(w.token(credentials.Admin, docs.ID))
	w.send("POST", "/v1/pipelines/docs/domains", `{"host":"example.com"}`).refused(t, 409, "conflict", "host", "the pipeline blog has the domain")
	refused := w.send("POST", "/v1/pipelines/docs/domains", `{"host":"example.com"}`, limited)
	refused.refused(t, 409, "conflict", "host", "another pipeline has the domain")
	if strings.Contains(string(refused.body), blog.Slug) {
		t.Errorf("the refusal names the other pipeline: %s", refused.body)
	}
	w.send("GET", at, nil, limited).refused(t, 404, "not_found", "", "")
	proven = true
	w.send("POST", "/v1/pipelines/docs/domains", `{"host":"example.com"}`, limited).into(t, 201, &list)
	if len(list.Domains) != 2 {
		t.Errorf("after the move docs has %+v", list)
	}

	var out struct{ Removed []string }
	w.send("DELETE", "/v1/pipelines/docs/domains/example.com?pair=no", nil).refused(t, 400, "invalid", "pair", "true or false")
	w.send("DELETE", "/v1/pipelines/docs/domains/example.com?pair=false", nil).into(t, 200, &out)
	if len(out.Removed) != 1 {
		t.Errorf("removed %v", out.Removed)
	}
	w.send("DELETE", "/v1/pipelines/docs/domains/example.com", nil).refused(t, 404, "not_found", "", "no domain")

	for role, want := range map[credentials.Role]map[string]int{
		credentials.Viewer:   {"GET ": 200, "POST ": 403, "POST /xn--bcher-kva.example/verify": 403, "POST /xn--bcher-kva.example/primary": 403, "DELETE /xn--bcher-kva.example": 403},
		credentials.Deployer: {"POST ": 403, "POST /xn--bcher-kva.example/verify": 202, "POST /xn--bcher-kva.example/primary": 403, "DELETE /xn--bcher-kva.example": 403},
	} {
		token := as(w.token(role))
		for request, status := range want {
			method, path, _ := strings.Cut(request, " ")
			var body any
			if method == "POST" && path == "" {
				body = `{"host":"example.org"}`
			}
			if got := w.send(method, at+path, body, token); got.status != status {
				t.Errorf("%s as %s: %d, want %d", request, role, got.status, status)
			}
		}
	}
}
