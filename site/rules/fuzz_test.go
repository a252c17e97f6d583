package rules_test

import (
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// patience is far more than any look-up of the fuzz tests takes. A look-up
// whose time grew faster than its path would exceed it.
const patience = 5 * time.Second

// FuzzRules compiles any text in both dialects and asks for any path.
func FuzzRules(f *testing.F) {
	data, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		f.Fatal(err)
	}
	var all []testCase
	if err := json.Unmarshal(data, &all); err != nil {
		f.Fatal(err)
	}
	for _, c := range all {
		f.Add(c.Redirects, c.Headers, c.TroyToml+c.NetlifyToml, c.Request, c.Dialect == rules.Cloudflare)
	}
	f.Add("/*/:a-:b/* /:splat 302!\n/:a/:b/:c/:d /:d/:c", "/*/*/*\n  a: b\n/:x/*\n  Basic-Auth: a:b", "[site]\nspa = true", "/"+strings.Repeat("a-", 4000), true)
	f.Add("/x /"+strings.Repeat(":a", 200), "/"+strings.Repeat("*a", 200)+"\n a: b", "", "/"+strings.Repeat("/", 4000), false)
	files := paths([]string{"index.html", "a.html", "docs/index.html", "_headers", "_redirects"})
	f.Fuzz(func(t *testing.T, redirects, headers, toml, request string, cloudflare bool) {
		if len(redirects)+len(headers)+len(toml)+len(request) > 64<<10 {
			t.Skip("longer than the fuzz test tries")
		}
		in := rules.Input{Redirects: redirects, Headers: headers, Paths: files, Config: []rules.ConfigFile{{Name: "troy.toml", Text: toml}}}
		if cloudflare {
			in.Config = append(in.Config, rules.ConfigFile{Name: "wrangler.toml"})
		}
		out := rules.Compile(in)
		if got := out.Report.Errors + out.Report.Warnings + out.Report.Notices; got < len(out.Report.Problems) {
			t.Fatalf("%d problems are counted, %d are listed", got, len(out.Report.Problems))
		}
		m, err := rules.New(out.Rules)
		if err != nil {
			t.Fatal(err)
		}
		if !out.Rules.Protects() { // hashing passwords takes long
			m = matcher(t, out)
		}
		path, query, _ := strings.Cut(request, "?")
		path = "/" + path
		started := time.Now()
		d := m.Decide(tree{files, site.SlashAuto}, rules.Request{Host: "www.example", Path: path, Query: query, HTML: true})
		changes := m.Headers("www.example", path)
		if took := time.Since(started); took > patience {
			t.Fatalf("a path of %d bytes took %s", len(path), took)
		}
		checkDecision(t, d)
		if changes == nil {
			return
		}
		for name, values := range changes.Set {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
				t.Fatalf("the header %q has the values %q", name, values)
			}
		}
	})
}

func checkDecision(t *testing.T, d rules.Decision) {
	t.Helper()
	if site.Private(d.Answer.Path) {
		t.Fatalf("%s is served", d.Answer.Path)
	}
	if d.Location == "" {
		return
	}
	if d.Status < 300 || d.Status > 399 {
		t.Fatalf("the status %d has the location %q", d.Status, d.Location)
	}
	u, err := url.Parse(d.Location)
	if strings.ContainsFunc(d.Location, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		t.Fatalf("the location is %q", d.Location)
	}
	absolute := strings.HasPrefix(d.Location, "https://") || strings.HasPrefix(d.Location, "http://")
	if !absolute && (!strings.HasPrefix(d.Location, "/") || strings.HasPrefix(d.Location, "//") || err == nil && u.Host != "") {
		t.Fatalf("the location %q leaves the site", d.Location)
	}
}

// FuzzConfig keeps the rules of any TOML file and nothing of other tables.
func FuzzConfig(f *testing.F) {
	f.Add("[build.environment]\nTOKEN = \"secret\"\n[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n[other]\nx = 1\n")
	f.Add("rules = \"cloudflare\"\n[site]\nspa = true\n")
	f.Add("a = '''\n[site]\nsecret\n'''\n[site.cache]\n\"**\" = \"no-store\"\n")
	f.Add("redirects = [{from = \"/a\", to = \"/b\"}]\nx = 1")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := rules.NewConfig("troy.toml", []byte(text))
		if err != nil {
			return
		}
		// What was kept is valid and means the same.
		if err := rules.CheckConfig([]rules.ConfigFile{c}); err != nil {
			t.Fatalf("kept %q: %v", c.Text, err)
		}
		whole := rules.Compile(rules.Input{Config: []rules.ConfigFile{{Name: "troy.toml", Text: text}}})
		part := rules.Compile(rules.Input{Config: []rules.ConfigFile{c}})
		a, errA := json.Marshal(whole.Rules)
		b, errB := json.Marshal(part.Rules)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Fatalf("the whole file has the rules %s, the part %s", a, b)
		}
	})
}
