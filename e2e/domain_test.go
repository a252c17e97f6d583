package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/acmedouble"
	"github.com/troy-iaas/troy/internal/dnsdouble"
	"github.com/troy-iaas/troy/internal/poll"
)

// internet is a world whose custom domains are real: their DNS is on name
// servers, and a certificate authority asks the same DNS.
type internet struct {
	*world
	zone      *dnsdouble.Zone // example.com, whose owner has a site
	authority *acmedouble.Authority
	https     string // host:port of the edge
}

const ownersZone = "@ NS ns\nns A 192.0.2.11\n"

func newInternet(t *testing.T, settings ...string) *internet {
	t.Helper()
	dns := dnsdouble.New(t)
	registry := dnsdouble.Parse(t, "com", "@ NS a.nic.com.\na.nic A 192.0.2.1\nexample NS ns.example\nns.example A 192.0.2.11\n")
	sites := dnsdouble.Parse(t, "sites.test", "@ NS ns\nns A 192.0.2.21\n* A 127.0.0.1\n")
	n := &internet{zone: dnsdouble.Parse(t, "example.com", ownersZone), https: freeAddress(t)}
	dns.Server("192.0.2.1", nil, registry)
	dns.Server("192.0.2.11", nil, n.zone)
	dns.Server("192.0.2.21", nil, sites)
	resolver := dns.Resolver(dnsdouble.Resolver{Zones: []*dnsdouble.Zone{registry, n.zone, sites}}).String()

	n.world = newWorld(t, settings...)
	n.authority = acmedouble.Start(t, acmedouble.Config{HTTPPort: port(t, n.edge), TLSPort: port(t, n.https), Names: &acmedouble.Names{Address: resolver}})
	trusted := filepath.Join(n.dir, "ca.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.authority.APICertificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var reach []string
	for public, at := range dns.Reach {
		reach = append(reach, public.String()+"="+at.String())
	}
	n.env = append(n.env, "TROY_SITES_SUFFIX=sites.test", "TROY_SITES_URL=https://{host}", "TROY_EDGE_TLS_ADDR="+n.https, "TROY_EDGE_ADDRESSES=127.0.0.1",
		"TROY_DNS_RESOLVERS="+resolver, "TROY_DNS_REACH="+strings.Join(reach, ","), "TROY_ACME_DIRECTORY="+n.authority.Directory, "TROY_ACME_CA_FILE="+trusted)
	return n
}

func port(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// set makes the owner of example.com set the records that Troy wants.
func (n *internet) set(list []client.Domain) {
	n.t.Helper()
	text := ownersZone
	for _, d := range list {
		for _, r := range d.Records {
			value := r.Value
			if r.Type == "CNAME" {
				value += "."
			}
			text += fmt.Sprintf("%s %d IN %s %s\n", r.Name, r.TTL, r.Type, value)
		}
	}
	n.zone.Replace(n.t, text)
}

// check checks a domain of the site shop until it has a state.
func (n *internet) check(host string, want troy.DomainState) client.Domain {
	n.t.Helper()
	var d client.Domain
	if !poll.Until(n.t.Context(), 2*time.Minute, 300*time.Millisecond, func() bool {
		var err error
		if d, err = n.api.Domain(n.t.Context(), "shop", host); err != nil {
			n.t.Fatal(err)
		}
		if d.State != want && time.Now().Before(d.NextCheckAt) {
			_, err = n.api.VerifyDomain(n.t.Context(), "shop", host)
		}
		return err == nil && d.State == want
	}) {
		n.t.Fatalf("%s is %s (%s); expected %s", host, d.State, d.Reason, want)
	}
	return d
}

// client returns an HTTP client that finds every host at the edge and does not
// follow redirects.
func (n *internet) client() *http.Client {
	c := &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: n.authority.Roots},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				at := n.edge
				if strings.HasSuffix(address, ":443") {
					at = n.https
				}
				return (&net.Dialer{}).DialContext(ctx, network, at)
			},
		},
	}
	n.t.Cleanup(c.CloseIdleConnections)
	return c
}

func fetch(t *testing.T, c *http.Client, method, address string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestCustomDomain gives a live site the domain example.com and its www host,
// through each state, and reads it over HTTP/2 as a program and in a browser.
func TestCustomDomain(t *testing.T) {
	t.Parallel()
	n := newInternet(t)
	for _, part := range []string{"web", "work", "edge"} {
		n.start(part)
	}
	id := n.event("Created", "shop", time.Now())
	n.waitFor(id, troy.ReadyForDeployment)
	n.must("troy", "release", n.folder(map[string]string{
		"index.html": `<!doctype html><title>Shop</title><link rel="icon" href="data:,"><p id="p">no script</p><script src="/app.js"></script>`,
		"app.js":     `document.getElementById("p").textContent = performance.getEntriesByType("navigation")[0].nextHopProtocol + " " + location.href`,
	}), "--pipeline", "shop")
	n.waitFor(id, troy.Deployed)

	// The owner's old host still has the name.
	n.zone.Replace(t, ownersZone+"@ A 203.0.113.99\nwww A 203.0.113.99\n")
	_, said, status := n.run("troy", "domain", "add", "shop", "example.com")
	if status != 0 || !strings.Contains(said, "example.com and www.example.com belong to shop") || !strings.Contains(said, "troy domain show shop example.com") {
		t.Fatalf("troy domain add: exit status %d\n%s", status, said)
	}
	out, said, status := n.run("troy", "domain", "verify", "shop", "example.com")
	if status != 6 || !strings.Contains(said, "example.com is Waiting for DNS") || !strings.Contains(out, "203.0.113.99") || !strings.Contains(out, "A     @     127.0.0.1  300  no") {
		t.Errorf("troy domain verify: exit status %d\n%s%s", status, out, said)
	}
	// The edge may not have ordered that of the site's own host yet.
	poll.Until(t.Context(), time.Minute, 50*time.Millisecond, func() bool { return len(n.authority.Orders()) > 0 })
	if orders := len(n.authority.Orders()); orders != 1 {
		t.Errorf("%d orders before DNS leads here; expected 1", orders)
	}

	// The records lead here, but the cloud can't be told yet.
	n.fault("domains.attach before kind=retry\n")
	list, err := n.api.Domains(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	n.set(list)
	for _, host := range []string{"example.com", "www.example.com"} {
		if d := n.check(host, troy.DomainVerifying); !d.Records[0].Found || d.Reason == "" {
			t.Errorf("while the cloud fails %s is %+v", host, d)
		}
	}
	// The cloud serves it, but the authority does not answer.
	n.authority.SetDown(true)
	n.fault("")
	d := n.check("example.com", troy.DomainFailing)
	if !strings.Contains(d.Reason, "The certificate authority can't be reached") || d.Certificate == nil || d.Certificate.NextTry == nil {
		t.Errorf("while the authority is down example.com is %+v", d)
	}
	c := n.client()
	if res, body := fetch(t, c, "GET", "http://example.com/"); res.StatusCode != 200 || !strings.Contains(body, "<title>Shop</title>") {
		t.Errorf("without a certificate plain HTTP answers %d %.80q", res.StatusCode, body)
	}
	n.authority.SetDown(false)
	for _, host := range []string{"example.com", "www.example.com"} {
		if d := n.check(host, troy.DomainActive); d.Reason != "" || d.Certificate == nil || d.Certificate.State != "active" {
			t.Errorf("%s is %+v", host, d)
		}
	}
	checkStates(t, n)

	res, body := fetch(t, c, "GET", "https://example.com/")
	if res.StatusCode != 200 || res.ProtoMajor != 2 || !strings.Contains(body, "<title>Shop</title>") {
		t.Errorf("HTTP/%d answers %d %.80q; expected HTTP/2", res.ProtoMajor, res.StatusCode, body)
	}
	for from, to := range map[string]string{
		"https://www.example.com/app.js?v=1": "https://example.com/app.js?v=1",
		"http://example.com/app.js?v=1":      "https://example.com/app.js?v=1",
	} {
		res, _ := fetch(t, c, "POST", from)
		if at, err := res.Location(); err != nil || res.StatusCode != http.StatusPermanentRedirect || at.String() != to {
			t.Errorf("%s answers %d to %v, %v; expected 308 to %s", from, res.StatusCode, at, err, to)
		}
	}
	if p, err := n.api.Pipeline(t.Context(), "shop"); err != nil || p.URL != "https://example.com" {
		t.Errorf("the site's address is %q, %v", p.URL, err)
	}
	n.browse("http://www.example.com/", "h2 https://example.com/")

	if out := n.must("troyd", "orphans"); !strings.Contains(out, "Every custom domain and certificate belongs to a pipeline.") {
		t.Errorf("troyd orphans: %s", out)
	}
	if said := n.must("troy", "system"); !strings.Contains(said, "3 hosts have valid certificates") {
		t.Errorf("troy system lacks the certificates:\n%s", said)
	}

	// The domain goes with the pipeline. Its certificate has no site any more.
	n.must("troy", "pipeline", "delete", "shop", "--yes")
	n.waitFor(id, troy.Deleted)
	if _, err := tls.Dial("tcp", n.https, &tls.Config{ServerName: "other.example.com", RootCAs: n.authority.Roots}); err == nil {
		t.Error("a host without a record has a certificate")
	}
	records, err := filepath.Glob(filepath.Join(n.dir, "data", "cloud", "records", "*"))
	if err != nil || len(records) > 0 {
		t.Errorf("after the deletion there are the records %v, %v", records, err)
	}
	out, said, status = n.run("troyd", "orphans")
	if status != 1 || !strings.Contains(out, "The certificate of example.com, which has no site\n") || !strings.Contains(said, "3 things are left") {
		t.Errorf("troyd orphans: exit status %d\n%s%s", status, out, said)
	}
	out = n.must("troyd", "orphans", "--delete")
	if found := n.traces(id, "example.com"); len(found) > 0 || !strings.Contains(out, "The certificate of www.example.com, which has no site (removed)\n") {
		t.Errorf("troyd orphans --delete: %s, and there are %v", out, found)
	}
}

// checkStates checks that the activity has each state of the domain, in order.
func checkStates(t *testing.T, n *internet) {
	t.Helper()
	var states []string
	for e, err := range n.api.Activity(t.Context(), client.ActivityFilter{Pipeline: "shop", What: "domain.state"}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Subject == "example.com" {
			_, to, _ := strings.Cut(e.Detail, " → ")
			to, _, _ = strings.Cut(to, ":")
			states = append(states, strings.ToLower(to))
		}
	}
	slices.Reverse(states)
	want := []string{"verifying", "issuing", "failing", "active"}
	last := -1
	for _, s := range want {
		i := slices.Index(states, s)
		if i <= last {
			t.Fatalf("the states are %v; expected %v in this order", states, want)
		}
		last = i
	}
}

// browse opens an address in a browser that trusts the authority, and waits
// until the page shows a text.
func (n *internet) browse(address, want string) {
	n.t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		n.t.Skip("no Chromium is installed: make deps")
	}
	conn, err := tls.Dial("tcp", n.https, &tls.Config{ServerName: "example.com", RootCAs: n.authority.Roots})
	if err != nil {
		n.t.Fatal(err)
	}
	chain := conn.ConnectionState().PeerCertificates
	_ = conn.Close()
	issuer := sha256.Sum256(chain[1].RawSubjectPublicKeyInfo)
	var rules []string
	for _, host := range []string{"example.com", "www.example.com"} {
		rules = append(rules, "MAP "+host+":443 "+n.https, "MAP "+host+":80 "+n.edge)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute),
		chromedp.UserDataDir(n.t.TempDir()), chromedp.Flag("host-resolver-rules", strings.Join(rules, ",")),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(issuer[:])))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.t.Context()), 2*time.Minute)
	defer cancel()
	browsers, end := chromedp.NewExecAllocator(ctx, options...)
	defer end()
	tab, shut := chromedp.NewContext(browsers)
	defer shut()
	if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
		n.t.Fatal(err)
	}
	got := ""
	if !poll.Until(tab, time.Minute, 50*time.Millisecond, func() bool {
		got, _ = chromedp.Run(tab, chromedp.Evaluate[string](`document.getElementById("p")?.textContent ?? document.body.innerText`))
		return got == want
	}) {
		n.t.Fatalf("the page at %s shows %q; expected %q", address, got, want)
	}
}
