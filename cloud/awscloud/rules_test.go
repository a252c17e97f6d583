package awscloud_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// ruleCase is a row of site/rules/testdata/cases.json, which the edge's matcher
// runs too.
type ruleCase struct {
	Name, Source, Dialect, Redirects, Headers, Request, Host, Accept, Location, File string

	NetlifyToml   string `json:"netlify_toml"`
	TroyToml      string `json:"troy_toml"`
	TrailingSlash string `json:"trailing_slash"`
	Files         []string
	Status        int
	Set           map[string][]string
}

func (c ruleCase) input() rules.Input {
	in := rules.Input{Redirects: c.Redirects, Headers: c.Headers, Paths: site.PathSet{}, TrailingSlash: site.TrailingSlash(c.TrailingSlash), Functions: true}
	switch c.Dialect {
	case "wrangler":
		in.Config = append(in.Config, rules.ConfigFile{Name: "wrangler.toml"})
	case rules.Cloudflare:
		in.Config = append(in.Config, rules.ConfigFile{Name: "troy.toml", Text: "rules = \"cloudflare\"\n"})
	}
	if c.TroyToml != "" {
		in.Config = append(in.Config, rules.ConfigFile{Name: "troy.toml", Text: c.TroyToml})
	}
	if c.NetlifyToml != "" {
		in.Config = append(in.Config, rules.ConfigFile{Name: "netlify.toml", Text: c.NetlifyToml})
	}
	return in
}

func ruleCases(t *testing.T) (all []ruleCase) {
	t.Helper()
	data, err := os.ReadFile("../../site/rules/testdata/cases.json")
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ruledHost is a distribution whose deployments have rules.
type ruledHost struct {
	account

	host     string
	d        cloud.Distribution
	sequence int64
	pipeline uuid.UUID
}

func newRuledHost(t *testing.T, a account, host string) *ruledHost {
	t.Helper()
	h := &ruledHost{account: a, host: host, pipeline: uuid.New()}
	var err error
	if h.d, err = a.cloud.CDN.Create(t.Context(), "troy-"+h.pipeline.String(), host); err == nil {
		err = a.cloud.DNS.Upsert(t.Context(), host, h.d.Domain)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// publish publishes files, whose content is their path, with rules.
func (h *ruledHost) publish(t *testing.T, in rules.Input, files ...string) rules.Report {
	t.Helper()
	h.pipeline = uuid.New() // no search in earlier trees
	tree := site.Tree{Pipeline: h.pipeline, Deployment: uuid.Must(uuid.NewV7())}
	return h.release(t, tree, in, files...)
}

func (h *ruledHost) release(t *testing.T, tree site.Tree, in rules.Input, files ...string) rules.Report {
	t.Helper()
	var m site.Manifest
	paths := site.PathSet{}
	for _, p := range files {
		m.Files = append(m.Files, site.File{Path: p, Size: int64(len(p)), SHA256: sha256.Sum256([]byte(p))})
		paths[p] = struct{}{}
	}
	in.Paths, in.Functions, in.Keys = paths, true, rules.TreeKeys(m.Files)
	out := rules.Compile(in)
	if m.TrailingSlash = in.TrailingSlash; out.TrailingSlash != "" {
		m.TrailingSlash = out.TrailingSlash
	}
	compiled, err := out.Rules.Encode()
	if err != nil {
		t.Fatal(err)
	}
	missing, err := h.cloud.Store.Begin(t.Context(), tree, m)
	for _, f := range missing {
		if err == nil {
			err = h.cloud.Store.Put(t.Context(), tree, f, strings.NewReader(f.Path))
		}
	}
	if err == nil {
		err = h.cloud.Store.Seal(t.Context(), tree, nil, compiled)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.flip(t, tree)
	return out.Report
}

func (h *ruledHost) flip(t *testing.T, tree site.Tree) {
	t.Helper()
	h.sequence++
	if err := h.cloud.CDN.Flip(t.Context(), h.d.ID, site.Pointer{Sequence: h.sequence, Pipeline: tree.Pipeline, Deployment: tree.Deployment}); err != nil {
		t.Fatal(err)
	}
}

// get requests an address with headers, in pairs.
func (h *ruledHost) get(address string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://"+h.host+address, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.double.Edge().ServeHTTP(w, r)
	return w
}

// outcome returns what the table says about an answer.
func outcome(w *httptest.ResponseRecorder) string {
	body := w.Body.String()
	if w.Code >= 300 && w.Code < 400 {
		body = w.Header().Get("Location")
	} else if strings.HasPrefix(body, "<!doctype") {
		body = ""
	}
	return fmt.Sprintf("%d %s", w.Code, body)
}

// onlyEdge lists rows whose outcome differs on CloudFront, and the reason, which
// docs/aws.md has too.
func onlyEdge() map[string]string {
	return map[string]string{
		"headers of a protected path": "Troy does not publish protected paths on AWS",
		"two cookies are two lines":   "a rule can't change the header Set-Cookie",
		"a value can't end the line":  "CloudFront's functions only see answers, and no file has such a path",
	}
}

// ruledHosts are hosts that rows of the table share.
type ruledHosts struct {
	a    account
	used sync.Map // name → *sync.Mutex, held by the row that uses the name
	mu   sync.Mutex
	idle map[string][]*ruledHost
	made int
}

// reserve waits until no other row uses the host with a name. The returned
// function ends the reservation.
func (p *ruledHosts) reserve(name string) (release func()) {
	if name == "" {
		return func() {}
	}
	used, _ := p.used.LoadOrStore(name, new(sync.Mutex))
	used.(*sync.Mutex).Lock()
	return used.(*sync.Mutex).Unlock
}

// take returns a host that no other row uses. The row must have reserved its name.
func (p *ruledHosts) take(t *testing.T, name string) *ruledHost {
	p.mu.Lock()
	if all := p.idle[name]; len(all) > 0 {
		defer p.mu.Unlock()
		p.idle[name] = all[1:]
		return all[0]
	}
	p.made++
	host := name
	if host == "" {
		host = fmt.Sprintf("h%d.sites.test", p.made)
	}
	p.mu.Unlock()
	return newRuledHost(t, p.a, host)
}

func (p *ruledHosts) put(name string, h *ruledHost) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[name] = append(p.idle[name], h)
}

// under moves a row's host under the zone of the sites.
func (c ruleCase) under(zone string) ruleCase {
	if c.Host != "" {
		to := c.Host + zone
		for _, text := range []*string{&c.Redirects, &c.Headers, &c.NetlifyToml, &c.TroyToml, &c.Location} {
			*text = strings.ReplaceAll(*text, c.Host, to)
		}
		c.Host = to
	}
	return c
}

// TestRuleCases publishes each row of the table, and asks the functions. The
// double runs them with goja; then Node.js repeats each run.
func TestRuleCases(t *testing.T) {
	t.Parallel()
	var runs []awsdouble.Run
	var mu sync.Mutex
	cfg := awsdouble.Config{Ran: func(r awsdouble.Run) {
		mu.Lock()
		defer mu.Unlock()
		runs = append(runs, r)
	}}
	hosts := &ruledHosts{a: newAccount(t, s3test.Start(t), cfg), idle: map[string][]*ruledHost{}}
	hosts.a.upkeep(t) // so that pages have one key
	rows, foreign := 0, 0
	var passed atomic.Int32
	different := onlyEdge()
	t.Run("rows", func(t *testing.T) {
		for _, c := range ruleCases(t) {
			if c.Request == "" || c.Status == http.StatusForbidden || c.Status == http.StatusUnauthorized {
				continue // Troy does not publish protected paths on AWS
			}
			if rows++; c.Source != "Troy" {
				foreign++
			}
			if why := different[c.Name]; why != "" {
				t.Logf("%s: only on the edge: %s", c.Name, why)
				delete(different, c.Name)
				continue
			}
			t.Run(c.Source+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				c := c.under(".sites.test")
				defer hosts.reserve(c.Host)()
				h := hosts.take(t, c.Host)
				defer hosts.put(c.Host, h)
				if c.run(t, h); !t.Failed() {
					passed.Add(1)
				}
			})
		}
	})
	t.Logf("%d rows with a request, %d of other projects; %d passed on the functions", rows, foreign, passed.Load())
	if rows < 150 || foreign < 150 || len(different) > 0 {
		t.Errorf("the table has %d rows with a request, %d of other projects, expected at least 150; it lacks %v", rows, foreign, different)
	}
	t.Run("Node.js", func(t *testing.T) { repeatInNode(t, runs) })
}

// repeatInNode runs the functions again in another engine, and compares the
// results.
func repeatInNode(t *testing.T, runs []awsdouble.Run) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	in, err := json.Marshal(runs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "testdata/run_functions.js")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []json.RawMessage
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(runs) || len(runs) == 0 {
		t.Fatalf("%d results of %d runs: %v", len(results), len(runs), err)
	}
	t.Logf("%d runs", len(runs))
	for i, r := range runs {
		var want, got any
		if err := errors.Join(json.Unmarshal(r.Result, &want), json.Unmarshal(results[i], &got)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the event %s (-goja +Node.js):\n%s", r.Event, diff)
		}
	}
}

func (c ruleCase) run(t *testing.T, h *ruledHost) {
	files := slices.Clone(c.Files)
	if own := fileFor(c.Request); c.Status == 0 && !slices.Contains(files, own) {
		files = append(files, own) // headers are of an answer
	}
	if len(files) == 0 {
		files = []string{"other.txt"}
	}
	h.publish(t, c.input(), files...)
	w := h.get(c.Request, "Accept", c.Accept)
	if c.Status != 0 {
		want := fmt.Sprintf("%d %s%s", c.Status, c.File, c.Location)
		if got := outcome(w); sortedQuery(got) != sortedQuery(want) {
			t.Errorf("%s answers %q, expected %q", c.Request, got, want)
		}
		return
	}
	if w.Code != http.StatusOK {
		t.Fatalf("%s answers %d", c.Request, w.Code)
	}
	if origins := c.Set["origins"]; origins != nil {
		w = h.get(c.Request, "Origin", origins[len(origins)-1])
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != origins[len(origins)-1] {
			t.Errorf("Access-Control-Allow-Origin is %q, expected %q", got, origins)
		}
		return
	}
	got, want := map[string]string{}, map[string]string{}
	if site.Shared(fileFor(c.Request)) {
		w.Header().Del("Access-Control-Allow-Origin")
	}
	for name, values := range w.Header() {
		if !slices.Contains([]string{"Content-Type", "Etag", "Cache-Control", "X-Content-Type-Options", "Link"}, name) || c.Set[name] != nil {
			got[name] = strings.Join(values, ", ")
		}
	}
	for name, values := range c.Set {
		if len(values) > 0 {
			want[name] = strings.Join(values, ", ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// sortedQuery sorts the query in a location: an event has no order of
// parameters.
func sortedQuery(location string) string {
	before, query, _ := strings.Cut(location, "?")
	pairs := strings.Split(query, "&")
	slices.Sort(pairs)
	return before + "?" + strings.Join(pairs, "&")
}

// fileFor returns a file that answers to an address.
func fileFor(address string) string {
	address, _, _ = strings.Cut(address, "?")
	p, err := url.PathUnescape(strings.TrimPrefix(address, "/"))
	switch {
	case err != nil || p == "":
		return "index.html"
	case strings.HasSuffix(p, "/"):
		return p + "index.html"
	case !strings.Contains(path.Base(p), "."):
		return p + ".html"
	}
	return p
}
