package awscloud_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

func troyToml(text string) []rules.ConfigFile {
	return []rules.ConfigFile{{Name: "troy.toml", Text: text}}
}

// TestRuledAnswers asks for one address of each kind, as the edge's TestRules
// does.
func TestRuledAnswers(t *testing.T) {
	t.Parallel()
	h := newRuledHost(t, newAccount(t, s3test.Start(t), awsdouble.Config{}), "rules.sites.test")
	report := h.publish(t, rules.Input{
		Config: troyToml("[site]\nspa = true\nimmutable = [\"fixed/**\"]\n[site.cors]\n\"api/**\" = [\"https://a.example\"]\n\"open/**\" = \"*\"\n"),
		Redirects: "/old /about\n/old/* /new/:splat 308\n/moved/:id id=:q /m/:id/:q 302\n/hidden /about 200\n/about /docs/ 302!\n" +
			"/removed /gone.html 410\n/lost /gone.html 404\n/empty /nothing 410\n/leave https://new.example/x#top 301\n/old.php /about 303\n/caf%C3%A9/* /docs/ 200\n",
		Headers: "/*\n  X-Frame-Options: DENY\n  Cache-Control: public, max-age=60\n/hidden\n  X-Hidden: yes\n  Vary: Cookie\n/docs/*\n  ! X-Frame-Options\n",
	}, "index.html", "about.html", "404.html", "gone.html", "docs/index.html", "docs/404.html", "api/a.json", "open/a.json", "fixed/a.txt", "a.woff2")
	for _, p := range report.Problems {
		if p.Code == rules.CodeNotObeyed {
			t.Error(p)
		}
	}
	const html = "text/html,*/*"
	for _, c := range []struct {
		target  string
		request []string
		want    string
		header  []string // pairs; "" means absent
	}{
		{"/old", nil, "301 /about", []string{"Cache-Control", "public, max-age=0, must-revalidate", "X-Frame-Options", "", "Etag", "", "X-Amz-Meta-Troy-Redirect", ""}},
		{"/old/?a=1", nil, "301 /about?a=1", nil},
		{"/old/index.html", nil, "404 ", []string{"Location", ""}},
		{"/old.php", nil, "303 /about", nil},
		{"/old/a%20b?x=1", nil, "308 /new/a%20b?x=1", []string{"Cache-Control", "public, max-age=0, must-revalidate"}},
		{"/old//evil.example", nil, "308 /new/evil.example", nil},
		{"/moved/7?id=a%2Fb", nil, "302 /m/7/a/b?id=a%2Fb", nil},
		{"/moved/7", []string{"Accept", html}, "200 index.html", nil},
		{"/leave?x=1", nil, "301 https://new.example/x?x=1#top", nil},
		{"/about", nil, "302 /docs/", nil},
		{"/about.html", nil, "200 about.html", []string{"Link", `</about>; rel="canonical"`, "X-Frame-Options", "DENY"}},
		{"/hidden", nil, "200 about.html", []string{"Link", "", "X-Hidden", "yes", "Cache-Control", "public, max-age=60", "Vary", "Cookie", "X-Amz-Meta-Troy-Address", ""}},
		{"/docs", nil, "301 /docs/", nil},
		{"/docs/", nil, "200 docs/index.html", []string{"X-Frame-Options", ""}},
		{"/caf%C3%A9/x", nil, "200 docs/index.html", nil},
		{"/removed", nil, "410 gone.html", []string{"Cache-Control", "no-store", "X-Frame-Options", "DENY", "Etag", ""}},
		{"/lost", nil, "404 gone.html", []string{"Cache-Control", "no-store"}},
		{"/empty", nil, "410 404.html", nil},
		{"/deep/link", []string{"Accept", html}, "200 index.html", []string{"Cache-Control", "public, max-age=60"}},
		{"/deep/link", []string{"Accept", "image/png"}, "404 404.html", []string{"Cache-Control", "no-store"}},
		{"/deep/app.js", []string{"Accept", html}, "404 404.html", nil},
		{"/docs/none.js", nil, "404 docs/404.html", nil},
		{"/_headers", []string{"Accept", "*/*"}, "404 404.html", nil},
		{"/../x", nil, "404 ", nil},
		{"/api/a.json", []string{"Origin", "https://a.example"}, "200 api/a.json", []string{"Access-Control-Allow-Origin", "https://a.example", "Vary", "Origin"}},
		{"/api/a.json", []string{"Origin", "https://b.example"}, "200 api/a.json", []string{"Access-Control-Allow-Origin", "", "Vary", "Origin"}},
		{"/open/a.json", nil, "200 open/a.json", []string{"Access-Control-Allow-Origin", "*", "Vary", ""}},
		{"/api/a.json", []string{"method", "OPTIONS", "Origin", "https://a.example"}, "204 ", []string{"Access-Control-Allow-Origin", "https://a.example", "Vary", "Origin"}},
		{"/api/a.json", []string{"method", "OPTIONS", "Origin", "https://b.example"}, "204 ", []string{"Access-Control-Allow-Origin", ""}},
		{"/a.woff2", []string{"method", "OPTIONS", "Origin", "https://b.example"}, "204 ", []string{"Access-Control-Allow-Origin", "*"}},
		// A client can't choose what the functions tell each other.
		{"/fixed/a.txt", []string{"X-Troy-Rules", `{"v":{"x-evil":"1"}}`, "X-Troy-Uri", "/x"}, "200 fixed/a.txt", []string{"X-Evil", ""}},
	} {
		w := h.ask(c.target, c.request...)
		if got := outcome(w); got != c.want {
			t.Errorf("%s %q answers %q, expected %q", c.target, c.request, got, c.want)
		}
		for i := 0; i < len(c.header); i += 2 {
			if got := w.Header().Get(c.header[i]); got != c.header[i+1] {
				t.Errorf("%s %q has %s: %q, expected %q", c.target, c.request, c.header[i], got, c.header[i+1])
			}
		}
	}
	h.publish(t, rules.Input{}, "fixed.txt")
	if got := h.get("/fixed.txt", "X-Troy-Rules", `{"v":{"x-evil":"1"}}`).Header().Get("X-Evil"); got != "" {
		t.Error("a client chose a header of a site without rules")
	}
}

// ask is get with the pseudo-header method.
func (h *ruledHost) ask(address string, header ...string) *httptest.ResponseRecorder {
	if len(header) > 1 && header[0] == "method" {
		r := httptest.NewRequest(header[1], "http://"+h.host+address, nil)
		for i := 2; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.double.Edge().ServeHTTP(w, r)
		return w
	}
	return h.get(address, header...)
}

// keys returns the host's keys in the KeyValueStore.
func (h *ruledHost) keys() (all []string) {
	for key := range h.double.Pointers() {
		if strings.HasPrefix(key, h.d.ID) {
			all = append(all, strings.TrimPrefix(key, h.d.ID))
		}
	}
	slices.Sort(all)
	return all
}

// TestRulesFollowThePointer flips between deployments with and without rules.
// The rules change with the pointer, in one call.
func TestRulesFollowThePointer(t *testing.T) {
	t.Parallel()
	var updates atomic.Int32
	a := newAccount(t, s3test.Start(t), awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
		if c.Action == "UpdateKeys" {
			updates.Add(1)
		}
		return awsdouble.None
	}})
	h := newRuledHost(t, a, "back.sites.test")
	tree := func() site.Tree { return site.Tree{Pipeline: h.pipeline, Deployment: uuid.Must(uuid.NewV7())} }
	want := func(address, outcomeWanted string) {
		t.Helper()
		if got := outcome(h.get(address)); got != outcomeWanted {
			t.Errorf("%s answers %q, expected %q", address, got, outcomeWanted)
		}
	}
	large := "/a /one\n/b/* /one/:splat\n"
	for i := range 90 {
		large += fmt.Sprintf("/long-%d/* /target-%d/:splat\n", i, i)
	}
	first := tree()
	h.release(t, first, rules.Input{Redirects: large}, "index.html")
	if got := h.keys(); len(got) < 5 || !slices.Contains(got, "/n0") || !slices.Contains(got, "/r1") {
		t.Errorf("the store has the keys %q", got)
	}
	want("/a", "301 /one")
	want("/b/x", "301 /one/x")
	second := tree()
	h.release(t, second, rules.Input{Redirects: "/a /two 302\n/b/* /two/:splat 302\n"}, "index.html")
	want("/a", "302 /two")
	want("/b/x", "302 /two/x")
	if got := h.keys(); !slices.Equal(got, []string{"", "/n0", "/r0"}) {
		t.Errorf("the store has the keys %q", got)
	}
	h.release(t, tree(), rules.Input{}, "index.html")
	want("/a", "404 ")
	want("/b/x", "404 ")
	if got := h.keys(); !slices.Equal(got, []string{""}) {
		t.Errorf("the store has the keys %q", got)
	}
	before := updates.Load()
	h.flip(t, first)
	want("/a", "301 /one")
	want("/b/x", "301 /one/x")
	if updates.Load() != before+1 {
		t.Errorf("the flip made %d updates of the store", updates.Load()-before)
	}
	// A part that is of another deployment.
	for _, c := range []struct{ part, address, want string }{{"/n0", "/b/x", "404 "}, {"/r0", "/b/x", "503 "}, {"/r0", "/", "503 "}} {
		key := h.d.ID + c.part
		old := h.double.Pointers()[key]
		h.double.SetValue(h.cfg.KeyValueStoreARN, key, "12345678"+old[8:])
		want(c.address, c.want)
		h.double.SetValue(h.cfg.KeyValueStoreARN, key, old)
	}
	want("/", "200 index.html")

	// Sealed again with other rules, and removed.
	if err := h.cloud.Store.Seal(t.Context(), first, nil, mustEncode(t, rules.Rules{Site: rules.Site{SPA: true}})); err != nil {
		t.Fatal(err)
	}
	h.flip(t, first)
	want("/a", "404 ")
	if got := outcome(h.get("/a", "Accept", "text/html")); got != "200 index.html" {
		t.Errorf("a deep link answers %q", got)
	}
	if err := h.cloud.Store.Remove(t.Context(), first.Pipeline, first.Deployment, second.Deployment); err != nil {
		t.Fatal(err)
	}
	d, err := h.cloud.CDN.Get(t.Context(), h.d.ID)
	if err == nil {
		err = h.cloud.CDN.Disable(t.Context(), d.ID, d.ETag)
	}
	if err == nil {
		d, err = h.cloud.CDN.Get(t.Context(), h.d.ID)
	}
	if err == nil {
		err = h.cloud.CDN.Delete(t.Context(), d.ID, d.ETag)
	}
	if got := h.keys(); err != nil || len(got) > 0 {
		t.Errorf("after the deletion the store has %q: %v", got, err)
	}
}

func mustEncode(t *testing.T, r rules.Rules) []byte {
	t.Helper()
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFlipsOfManyKeys writes the parts of several distributions, which one call
// can't hold.
func TestFlipsOfManyKeys(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	var hosts []*ruledHost
	var all []site.Tree
	text := ""
	for i := range 70 {
		text += fmt.Sprintf("/from-this-folder-%d/* /%s/:splat\n", i, strings.Repeat("x", 20))
	}
	for i := range 6 {
		h := newRuledHost(t, a, fmt.Sprintf("many%d.sites.test", i))
		hosts = append(hosts, h)
		tree := site.Tree{Pipeline: h.pipeline, Deployment: uuid.Must(uuid.NewV7())}
		h.release(t, tree, rules.Input{Redirects: text}, "index.html")
		all = append(all, tree)
	}
	failed := make(chan error)
	for i, h := range hosts {
		h.sequence++
		go func() {
			failed <- h.cloud.CDN.Flip(t.Context(), h.d.ID, site.Pointer{Sequence: h.sequence, Pipeline: all[i].Pipeline, Deployment: all[i].Deployment})
		}()
	}
	var err error
	for range hosts {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		if w := h.get("/from-this-folder-69/a"); w.Code != http.StatusMovedPermanently {
			t.Errorf("%s answers %d", h.host, w.Code)
		}
	}
}

// TestServedFits stores the largest program and the most keys.
func TestServedFits(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for i := range rules.MaxKeys {
		keys[fmt.Sprintf("folder-%d/page-%d.html", i%17, i)] = true
	}
	values, err := awscloud.ServedValues([]byte(strings.Repeat("x", rules.MaxProgram)), keys)
	if err != nil || len(values)+1 > 50 {
		t.Fatalf("%d values: %v", len(values), err)
	}
	for key, value := range values {
		if len(value) > 1024 {
			t.Errorf("%s has %d bytes", key, len(value))
		}
	}
}
