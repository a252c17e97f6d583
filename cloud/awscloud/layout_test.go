package awscloud_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// layoutHost is a host whose objects a test reads, and writes as earlier
// versions did.
type layoutHost struct {
	*ruledHost
	server *s3test.Server
	bucket awsapi.Bucket
}

func newLayoutHost(t *testing.T) layoutHost {
	t.Helper()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{})
	a.upkeep(t) // which finds that all functions are current
	return layoutHost{newRuledHost(t, a, "pages.sites.test"), server, awsapi.Bucket{Client: awsapi.NewS3(a.loaded, a.cfg.Config), Name: a.cfg.SitesBucket}}
}

func (h layoutHost) tree() site.Tree {
	return site.Tree{Pipeline: h.pipeline, Deployment: uuid.Must(uuid.NewV7())}
}

func prefixOf(tree site.Tree) string {
	return "sites/" + tree.Pipeline.String() + "/" + tree.Deployment.String() + "/"
}

// objects returns a tree's keys.
func (h layoutHost) objects(t *testing.T, tree site.Tree) (all []string) {
	t.Helper()
	for _, key := range h.server.Keys(t, h.cfg.SitesBucket) {
		if below, ok := strings.CutPrefix(key, prefixOf(tree)); ok {
			all = append(all, below)
		}
	}
	slices.Sort(all)
	return all
}

// copies counts the copies inside S3 so far.
func (h layoutHost) copies() (n int) {
	for _, c := range h.double.Calls() {
		if c.Action == "CopyObject" {
			n++
		}
	}
	return n
}

func (h layoutHost) want(t *testing.T, answers map[string]string) {
	t.Helper()
	for address, want := range answers {
		if got := outcome(h.get(address)); got != want {
			t.Errorf("%s answers %q, expected %q", address, got, want)
		}
	}
}

// A page is one object, unless another file has its canonical key or a rule
// needs the name of its file. All spellings answer in each layout.
func TestPagesHaveOneKey(t *testing.T) {
	t.Parallel()
	h := newLayoutHost(t)
	answers := map[string]string{
		"/": "200 index.html", "/index.html": "200 index.html", "/about": "200 about.html", "/about.html": "200 about.html", "/about/": "301 /about",
		"/docs/": "200 docs/index.html", "/docs/index.html": "200 docs/index.html", "/docs/guide.html?a=b": "200 docs/guide.html", "/docs/guide": "200 docs/guide.html",
		"/v1.2.html": "200 v1.2.html", "/none": "404 404.html", "/none.html": "404 404.html", "/LICENSE": "200 LICENSE", "/docs": "301 /docs/", "/a+b.html": "200 a+b.html",
	}
	files := []string{"index.html", "about.html", "docs/index.html", "docs/guide.html", "404.html", "v1.2.html", "app.js", "a+b.html", "LICENSE"}
	one := []string{"404.html", "LICENSE.html", "a+b.html", "about.html", "app.js", "docs.html", "docs/guide.html", "index.html", "v1.2.html"}
	names := []string{"404.html", "LICENSE/index.html", "a+b.html", "about.html", "app.js", "docs/guide.html", "docs/index.html", "index.html", "v1.2.html"}
	two := append([]string{"404/index.html", "a+b/index.html", "about/index.html", "docs/guide/index.html", "v1.2/index.html"}, names...)
	for _, c := range []struct {
		name    string
		in      rules.Input
		more    []string
		objects []string
		answers map[string]string
	}{
		{"no rules", rules.Input{}, nil, one, nil},
		{"the functions know the keys", rules.Input{Redirects: "/a/* /about 200\n/old/* /docs/guide.html 301\n"}, nil, one, map[string]string{"/a/x": "200 about.html", "/old/x": "301 /docs/guide.html"}},
		{"a redirect", rules.Input{Redirects: "/old /about\n/older/ /about\n/old.php /about\n"}, nil, append([]string{"old.html", "older.html", "old.php"}, one...), map[string]string{"/old": "301 /about", "/older/": "301 /about", "/old.php": "301 /about"}},
		{"a page called 404", rules.Input{}, []string{"docs/404/index.html"}, append([]string{"docs/404/index.html"}, two...), map[string]string{"/docs/404/": "200 docs/404/index.html", "/docs/none": "404 404.html"}},
		{"a file at the canonical key", rules.Input{}, []string{"about/index.html"}, two, map[string]string{"/about/": "200 about/index.html", "/about": "301 /about/"}},
		{"a file beside a page", rules.Input{}, []string{"about"}, two, map[string]string{"/about": "200 about", "/about/": "200 about"}},
		{"the redirect of a file name", rules.Input{Redirects: "/old.html /about\n"}, nil, append([]string{"old.html"}, two...), map[string]string{"/old.html": "301 /about", "/old": "404 404.html"}},
		{
			"file names only", rules.Input{Config: troyToml("[site]\nclean_urls = false\n")},
			nil, names, map[string]string{"/about": "404 404.html", "/docs/guide": "404 404.html", "/about/": "404 404.html"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.pipeline = uuid.New()
			tree, before := h.tree(), h.copies()
			h.release(t, tree, c.in, append(c.more, files...)...)
			if got, want := h.objects(t, tree), slices.Sorted(slices.Values(c.objects)); !slices.Equal(got, want) {
				t.Errorf("the keys are\n%q, expected\n%q", got, want)
			}
			if n := h.copies() - before; c.objects[0] == one[0] && len(c.objects) == len(one) && c.in.Config == nil && n > 1 {
				t.Errorf("the release made %d copies, expected at most that of the 404 page", n)
			}
			all := map[string]string{}
			for address, want := range answers {
				all[address] = want
			}
			for address, want := range c.answers {
				all[address] = want
			}
			h.want(t, all)
		})
	}
}

// Pages have two keys until an upkeep has found no function of an earlier
// version, some minutes after the last one was changed.
func TestPagesWaitForTheFunctions(t *testing.T) {
	t.Parallel()
	h := newLayoutHost(t)
	work := awsapi.Bucket{Client: h.bucket.Client, Name: h.cfg.WorkBucket}
	if err := work.Remove(t.Context(), "manifests/pages"); err != nil {
		t.Fatal(err)
	}
	for name := range h.double.Functions() {
		h.double.SetFunction(name, "Troy v8: of an earlier version", "function handler(event) { return event.request; }")
	}
	two := []string{"about.html", "about/index.html"}
	for i, want := range [][]string{two, two, two, {"about.html"}} {
		if i > 0 {
			h.upkeep(t)
		}
		tree := h.tree()
		h.release(t, tree, rules.Input{}, "about.html")
		if got := h.objects(t, tree); !slices.Equal(got, want) {
			t.Errorf("after %d upkeeps the keys are %q, expected %q", i, got, want)
		}
		if i == 2 { // the edges have the functions after some minutes
			if err := work.Put(t.Context(), "manifests/changed", []byte(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)), "text/plain", false); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.want(t, map[string]string{"/about": "200 about.html", "/about.html": "200 about.html"})
}

// A file that is carried does not replace a page of the site.
func TestCarriedIsNotAPage(t *testing.T) {
	t.Parallel()
	h := newLayoutHost(t)
	const folder = "static/0123456789abcdef0123456789abcdef/"
	h.release(t, h.tree(), rules.Input{}, "index.html", folder+"a")
	next := h.tree()
	h.release(t, next, rules.Input{}, "index.html", folder+"a.html")
	a := site.File{Path: folder + "a", Size: int64(len(folder + "a")), SHA256: sha256.Sum256([]byte(folder + "a"))}
	if err := h.cloud.Store.Seal(t.Context(), next, []site.Carried{{File: a, Until: 1 << 40}}, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.server.Read(h.cfg.SitesBucket, prefixOf(next)+folder+"a.html"); string(got) != folder+"a.html" {
		t.Errorf("the page has %q", got)
	}
}

// Trees of earlier versions have pages under the names of their files, and under
// both keys when they are sealed.
func TestLayoutsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	h := newLayoutHost(t)
	answers := map[string]string{"/docs/": "200 docs/index.html", "/docs/index.html": "200 docs/index.html"}

	// An upload that goes on after the upgrade.
	open, begun := h.tree(), site.Manifest{}
	for _, p := range []string{"docs/index.html", "index.html"} {
		begun.Files = append(begun.Files, site.File{Path: p, Size: int64(len(p)), SHA256: sha256.Sum256([]byte(p))})
	}
	if _, err := h.cloud.Store.Begin(t.Context(), open, begun); err != nil {
		t.Fatal(err)
	}
	if err := h.bucket.Put(t.Context(), prefixOf(open)+"docs/index.html", []byte("docs/index.html"), "text/html; charset=utf-8", false); err != nil {
		t.Fatal(err)
	}
	if missing, err := h.cloud.Store.Begin(t.Context(), open, begun); err != nil || len(missing) != 1 {
		t.Fatalf("%v is missing, %v; expected index.html", missing, err)
	}
	if got, err := h.cloud.Store.Read(t.Context(), open, begun.Files[0]); string(got) != "docs/index.html" {
		t.Errorf("docs/index.html has %q, %v", got, err)
	}
	h.release(t, open, rules.Input{}, "docs/index.html", "index.html")
	if got := h.objects(t, open); !slices.Equal(got, []string{"docs.html", "index.html"}) {
		t.Errorf("the keys are %q", got)
	}
	h.want(t, answers)

	// A live tree with both keys, which is sealed again.
	both := open
	if err := h.bucket.Put(t.Context(), prefixOf(both)+"docs/index.html", []byte("docs/index.html"), "text/html; charset=utf-8", false); err != nil {
		t.Fatal(err)
	}
	work := awsapi.Bucket{Client: h.bucket.Client, Name: h.cfg.WorkBucket}
	if err := work.Remove(t.Context(), "manifests/"+both.Pipeline.String()+"/served/"+both.Deployment.String()); err != nil {
		t.Fatal(err)
	}
	h.flip(t, both)
	h.want(t, answers)
	if err := h.cloud.Store.Seal(t.Context(), both, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := h.objects(t, both); !slices.Equal(got, []string{"docs/index.html", "index.html"}) {
		t.Errorf("after the second seal the keys are %q", got)
	}
	h.flip(t, both)
	h.want(t, answers)

	// The next release takes its pages, and so does one from that.
	for range 2 {
		next := h.tree()
		h.release(t, next, rules.Input{}, "docs/index.html", "index.html")
		if got := h.objects(t, next); !slices.Equal(got, []string{"docs.html", "index.html"}) {
			t.Errorf("the next release has the keys %q", got)
		}
		h.want(t, answers)
	}
}

// A redirect at a canonical key is never taken for the page.
func TestRedirectIsNotAPage(t *testing.T) {
	t.Parallel()
	h := newLayoutHost(t)
	names := rules.Input{Config: troyToml("[site]\nclean_urls = false\n"), Redirects: "/about /elsewhere\n"}
	first := h.tree()
	h.release(t, first, names, "index.html", "about.html")
	h.want(t, map[string]string{"/about": "301 /elsewhere", "/about.html": "200 about.html"})
	pages := map[string]string{"/about": "200 about.html", "/about.html": "200 about.html"}
	h.release(t, h.tree(), rules.Input{}, "index.html", "about.html")
	h.want(t, pages)
	about := site.File{Path: "about.html", Size: int64(len("about.html")), SHA256: sha256.Sum256([]byte("about.html"))}
	if got, err := h.cloud.Store.Read(t.Context(), first, about); string(got) != "about.html" {
		t.Errorf("about.html has %q, %v", got, err)
	}
	if err := h.cloud.Store.Seal(t.Context(), first, nil, mustEncode(t, rules.Rules{Site: rules.Site{SPA: true}})); err != nil {
		t.Fatal(err)
	}
	h.flip(t, first)
	h.flip(t, first) // which invalidates what CloudFront has of the tree
	h.want(t, pages)
}
