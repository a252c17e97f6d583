package awscloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud/awscloud/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// What a person has to mend is said in words, and not tried again.
func TestRefusalsInWords(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, c := range map[string]struct {
		cfg  awsdouble.Config
		host string
		says string
	}{
		"the quota":       {awsdouble.Config{MaxDistributions: 1}, "new.sites.test", "Web distributions per AWS account"},
		"the certificate": {awsdouble.Config{Covers: ".sites.test"}, "new.other.test", "the certificate does not cover the host"},
		"the alias":       {awsdouble.Config{}, "first.sites.test", "in use by another distribution"},
	} {
		a := newAccount(t, server, c.cfg)
		if _, err := a.cloud.CDN.Create(t.Context(), "first", "first.sites.test"); err != nil {
			t.Fatal(err)
		}
		_, err := a.cloud.CDN.Create(t.Context(), "second", c.host)
		if troy.KindOf(err) != troy.Conflict || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v (%s); want a conflict with %q", name, err, troy.KindOf(err), c.says)
		}
	}
	other := newAccount(t, server, awsdouble.Config{Zone: "Z9", ZoneName: "sites.test"}) // Troy is told of Z0123456789
	if err := other.cloud.DNS.Upsert(t.Context(), "blog.sites.test", "d1.cloudfront.net"); troy.KindOf(err) != troy.Conflict {
		t.Errorf("another account's zone: %v", err)
	}
}

// Past a hundred distributions there are a second function and a second origin
// access control.
func TestShards(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	for i := range 101 {
		name := fmt.Sprintf("p%d", i)
		if _, err := a.cloud.CDN.Create(t.Context(), name, name+".sites.test"); err != nil {
			t.Fatalf("distribution %d: %v", i+1, err)
		}
	}
	functions, access := map[string]int{}, map[string]int{}
	for _, d := range a.double.Distributions() {
		functions[d.Function]++
		access[d.Access]++
	}
	if len(functions) != 2 || functions["arn:aws:cloudfront::123456789012:function/troy-0"] != 100 || len(access) != 2 {
		t.Errorf("functions %v, origin access controls %v", functions, access)
	}
}

// harness runs viewer_request.js as CloudFront would: its import is what
// CloudFront gives it, its requests come on standard input.
const harness = `
const cf = { kvs: () => ({ get: async (id) => { if (!(id in pointers)) { throw new Error('none'); } return pointers[id]; } }) };
const { pointers, requests } = JSON.parse(require('fs').readFileSync(0));
%s
(async () => {
	const answers = [];
	for (const [id, uri] of requests) {
		const answer = await handler({ context: { distributionId: id }, request: { uri: uri, headers: {} } });
		answers.push(answer.uri || String(answer.statusCode));
	}
	console.log(JSON.stringify(answers));
})();
`

// The function is run, and the double's rules, by which end-to-end tests read
// sites, are held to it.
func TestViewerRequest(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is needed: make deps installs it")
	}
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	d, err := a.cloud.CDN.Create(t.Context(), "troy", "blog.sites.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cloud.DNS.Upsert(t.Context(), "blog.sites.test", d.Domain); err != nil {
		t.Fatal(err)
	}
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	if err := a.cloud.CDN.Flip(t.Context(), d.ID, site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment}); err != nil {
		t.Fatal(err)
	}
	prefix := "/sites/" + tree.Pipeline.String() + "/" + tree.Deployment.String()
	cases := []struct{ uri, want string }{
		{"/", prefix + "/index.html"},
		{"/about", prefix + "/about/index.html"},
		{"/about/", prefix + "/about/index.html"},
		{"/about.html", prefix + "/about.html"},
		{"/a/b.c/LICENSE", prefix + "/a/b.c/LICENSE/index.html"},
		{"/.well-known/acme", prefix + "/.well-known/acme/index.html"},
		{"//x", prefix + "//x/index.html"},
		{"/a%2Fb", prefix + "/a%2Fb/index.html"},
		{"/..", "404"}, {"/../x", "404"}, {"/a/../../x.html", "404"}, {"/%2e%2E/x", "404"}, {"/.%2e/x", "404"}, {"/./x", "404"},
	}
	var requests [][2]string
	for _, c := range cases {
		requests = append(requests, [2]string{d.ID, c.uri})
	}
	requests = append(requests, [2]string{"EOTHER", "/"})
	input, err := json.Marshal(map[string]any{"pointers": a.double.Pointers(), "requests": requests})
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("viewer_request.js")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "run.js")
	if err := os.WriteFile(script, fmt.Appendf(nil, harness, strings.Replace(string(code), "import cf from 'cloudfront';", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, script)
	var diagnostics bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &diagnostics
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, diagnostics.String())
	}
	var answers []string
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	edge := a.double.Edge(func(string) ([]byte, bool) { return []byte("found"), true })
	for i, c := range cases {
		if answers[i] != c.want {
			t.Errorf("the function makes %q of %q, want %q", answers[i], c.uri, c.want)
		}
		r := httptest.NewRequest(http.MethodGet, "http://blog.sites.test"+c.uri, nil)
		w := httptest.NewRecorder()
		edge.ServeHTTP(w, r)
		got := "404"
		if w.Code == http.StatusOK {
			got = "/" + w.Header().Get("X-Key")
		}
		if got != c.want {
			t.Errorf("the double makes %q of %q, want %q", got, c.uri, c.want)
		}
	}
	if last := answers[len(answers)-1]; last != "404" {
		t.Errorf("a distribution without a pointer: %q", last)
	}
	if len(code) > 10<<10 {
		t.Errorf("the function has %d bytes; CloudFront takes 10 KB", len(code))
	}
}
