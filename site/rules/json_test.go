package rules_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site/rules"
)

const vercelJSON = `{
  "buildCommand": "npm run build",
  "env": { "TOKEN": "abc" },
  "cleanUrls": true,
  "trailingSlash": false,
  "redirects": [
    { "source": "/old", "destination": "/new" },
    { "source": "/blog/:path*", "destination": "/news/:path*", "permanent": false },
    { "source": "/docs/(.*)", "destination": "https://docs.example.com/$1", "statusCode": 302 },
    { "source": "/u/:id(\\d+)", "destination": "/user/:id" },
    { "source": "/in", "destination": "/out", "has": [{ "type": "host", "value": "x" }] }
  ],
  "rewrites": [{ "source": "/(.*)", "destination": "/index.html" }],
  "headers": [
    { "source": "/assets/(.*)", "headers": [{ "key": "X-Asset", "value": "1" }] },
    { "source": "/(.*).js", "headers": [{ "key": "X-Script", "value": "1" }] }
  ]
}`

const firebaseJSON = `{
  // ours
  "functions": { "source": "secret" },
  "hosting": {
    "public": "dist",
    "redirects": [
      { "source": "/old", "destination": "/new", "type": 302 },
      { "source": "/blog/:post*", "destination": "/news/:post" },
      { "regex": "/a.*", "destination": "/b" }
    ],
    "rewrites": [
      { "source": "/api/**", "function": "api" },
      { "source": "!/api/**", "destination": "/index.html" },
      { "source": "**", "destination": "/index.html" }
    ],
    "headers": [
      { "source": "**/*.@(jpg|png)", "headers": [{ "key": "X-Image", "value": "1" }] },
      { "source": "/one/*", "headers": [{ "key": "X-One", "value": "1" }] }
    ],
    "cleanUrls": true
  }
}`

// Rules of vercel.json and firebase.json have the meaning that they have there,
// and what can't be mapped is reported at its line.
func TestJSONRules(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text      string
		redirects map[string]string // "status location" by path
		headers   map[string]string // a header's name by path
		problems  []string
		kept      string // not in the text that is stored
	}{
		"vercel.json": {
			text: vercelJSON,
			redirects: map[string]string{
				"/old": "308 /new", "/blog/a/b": "307 /news/a/b", "/docs/x": "302 https://docs.example.com/x", "/u/1": "200 ", "/else": "200 ",
			},
			headers: map[string]string{"/assets/a.css": "X-Asset", "/b/c.js": "X-Script"},
			problems: []string{
				"10: the source \"/u/:id(\\\\d+)\": this pattern is not supported; expected :name for a segment, or a wildcard at the end",
				`11: the conditions has and missing are not supported, so the rule for "/in" is ignored`,
			},
			kept: "abc",
		},
		"firebase.json": {
			text:      firebaseJSON,
			redirects: map[string]string{"/old": "302 /new", "/blog/a": "301 /news/a", "/else": "200 "},
			headers:   map[string]string{"/a/b.png": "X-Image", "/c.jpg": "X-Image", "/one/x": "X-One"},
			problems: []string{
				"9: regex is not supported; expected source",
				`12: the rule for "/api/**" has no destination; functions and other services are not supported`,
				`13: the source "!/api/**": this pattern is not supported; expected :name for a segment, or a wildcard at the end; for a single-page application, set spa = true in [site] of troy.toml`,
			},
			kept: "secret",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ok, err := rules.NewConfig(name, []byte(test.text))
			if err != nil || !ok {
				t.Fatalf("NewConfig: %t, %v", ok, err)
			}
			if strings.Contains(f.Text, test.kept) {
				t.Errorf("the text has other settings:\n%s", f.Text)
			}
			if err := rules.CheckConfig([]rules.ConfigFile{f}); err != nil {
				t.Fatal(err)
			}
			out := rules.Compile(rules.Input{Config: []rules.ConfigFile{f}})
			var problems []string
			for _, p := range out.Report.Problems {
				problems = append(problems, strings.TrimSuffix(strings.TrimPrefix(p.String(), name+":"), " (unsupported)"))
			}
			for i, p := range problems {
				problems[i] = strings.Replace(p, " error:", "", 1)
			}
			if diff := cmp.Diff(test.problems, problems); diff != "" {
				t.Errorf("the problems (-want +got):\n%s", diff)
			}
			m := matcher(t, out)
			for path, want := range test.redirects {
				match, _ := m.Redirect(rules.Request{Path: path})
				if got := fmt.Sprintf("%d %s", match.Status, match.Location); got != want {
					t.Errorf("%s: %q, want %q", path, got, want)
				}
			}
			for path, name := range test.headers {
				if changes := m.Headers("", path); changes == nil || len(changes.Set[name]) != 1 {
					t.Errorf("%s has no %s: %v", path, name, changes)
				}
			}
			if s := out.Rules.Site; s.CleanURLs == nil || !*s.CleanURLs {
				t.Error("clean_urls is not set")
			}
		})
	}
	if out := rules.Compile(rules.Input{Config: []rules.ConfigFile{{Name: "vercel.json", Text: vercelJSON}}}); out.TrailingSlash != "never" {
		t.Errorf("the slash is %q", out.TrailingSlash)
	}
	for _, text := range []string{"", "[", "{\"hosting\":[", `{"redirects":[1]}`, `{"hosting":3}`, "/*"} {
		f, ok, err := rules.NewConfig("firebase.json", []byte(text))
		if ok && err == nil {
			rules.Compile(rules.Input{Config: []rules.ConfigFile{f}})
		}
	}
}

// A wrangler file says how missing paths and slashes are answered. Nothing else
// of it is kept.
func TestWranglerSettings(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"wrangler.toml":  "name = \"x\"\n[vars]\nTOKEN = \"abc\"\n[assets]\ndirectory = \"dist\"\nnot_found_handling = \"single-page-application\"\nhtml_handling = \"drop-trailing-slash\"\n",
		"wrangler.jsonc": `{"vars": {"TOKEN": "abc"}, "assets": {"not_found_handling": "single-page-application", "html_handling": "drop-trailing-slash", },}`,
	} {
		f, ok, err := rules.NewConfig(name, []byte(text))
		if err != nil || !ok || strings.Contains(f.Text, "abc") || strings.Contains(f.Text, "directory") {
			t.Errorf("%s: the part is %q, %t, %v", name, f.Text, ok, err)
		}
		if err := rules.CheckConfig([]rules.ConfigFile{f}); err != nil {
			t.Error(err)
		}
		out := rules.Compile(rules.Input{Config: []rules.ConfigFile{f}})
		if !out.Rules.Site.SPA || out.TrailingSlash != "never" || out.Report.Dialect != rules.Cloudflare || !out.Report.Clean() {
			t.Errorf("%s: %+v, %q, %+v", name, out.Rules.Site, out.TrailingSlash, out.Report)
		}
		troyToml := rules.ConfigFile{Name: "troy.toml", Text: "[site]\nspa = false\n"}
		if out := rules.Compile(rules.Input{Config: []rules.ConfigFile{f, troyToml}}); out.Rules.Site.SPA {
			t.Errorf("%s: troy.toml does not decide", name)
		}
	}
	for name, text := range map[string]string{"wrangler.toml": "[assets]\nnot_found_handling = \"404-page\"\n", "wrangler.json": "{", "wrangler.jsonc": `{"assets": 3}`} {
		if f, ok, err := rules.NewConfig(name, []byte(text)); f.Text != "" || !ok || err != nil {
			t.Errorf("%s: %q, %t, %v", name, f.Text, ok, err)
		}
	}
	if err := rules.CheckConfig([]rules.ConfigFile{{Name: "wrangler.json", Text: "{"}}); troy.KindOf(err) != troy.Invalid {
		t.Errorf("a text that is not valid: %v", err)
	}
}

// The advice for a rule behind a file has the form of the rule's own file.
func TestOverridingAFile(t *testing.T) {
	t.Parallel()
	tree := paths([]string{"about.html", "b.html"})
	for want, in := range map[string]rules.Input{
		"the file about.html answers instead; write 200! to override it":       {Redirects: "/about /b 200\n"},
		"the file about.html answers instead; set force = true to override it": {Config: []rules.ConfigFile{{Name: "netlify.toml", Text: "[[redirects]]\nfrom = \"/about\"\nto = \"/b\"\nstatus = 200\n"}}},
		"the file about.html answers instead":                                  {Config: []rules.ConfigFile{{Name: "vercel.json", Text: `{"rewrites": [{"source": "/about", "destination": "/b"}]}`}}},
	} {
		in.Paths = tree
		if r := rules.Compile(in).Report; len(r.Problems) != 1 || r.Problems[0].Message != want {
			t.Errorf("%+v, want %q", r.Problems, want)
		}
	}
}

// FuzzJSONConfig keeps the rules of any file, with the same meaning.
func FuzzJSONConfig(f *testing.F) {
	f.Add("vercel.json", vercelJSON)
	f.Add("firebase.json", firebaseJSON)
	f.Fuzz(func(t *testing.T, name, text string) {
		if name != "vercel.json" && name != "firebase.json" {
			return
		}
		c, ok, err := rules.NewConfig(name, []byte(text))
		if err != nil || !ok {
			return
		}
		if err := rules.CheckConfig([]rules.ConfigFile{c}); err != nil {
			t.Fatalf("kept %q: %v", c.Text, err)
		}
		whole := rules.Compile(rules.Input{Config: []rules.ConfigFile{{Name: name, Text: text}}})
		part := rules.Compile(rules.Input{Config: []rules.ConfigFile{c}})
		a, errA := json.Marshal(whole.Rules)
		b, errB := json.Marshal(part.Rules)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Fatalf("the whole file has the rules %s, the part %s", a, b)
		}
	})
}
