package rules_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// TestManyRules compiles more rules than are allowed, and looks the first, the
// last and the refused ones up.
func TestManyRules(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 1_003 {
		fmt.Fprintf(&b, "/d/%d/:x/* /to/%d/:x/:splat 302\n", i, i)
	}
	for i := range 100_002 {
		fmt.Fprintf(&b, "/s/%d /to/%d\n", i, i)
	}
	out := rules.Compile(rules.Input{Redirects: b.String()})
	if out.Report.Redirects != 101_000 || out.Report.Errors != 5 || out.Report.Problems[0].Code != rules.CodeLimit || out.Report.Problems[0].Line != 1_001 {
		t.Fatalf("the report is %+v", out.Report)
	}
	m := matcher(t, out)
	for path, want := range map[string]string{
		"/s/0": "/to/0", "/s/99999/": "/to/99999", "/s/100000": "", "/d/0/a/b": "/to/0/a/b", "/d/999/a/b/c": "/to/999/a/b/c", "/d/1000/a": "",
	} {
		if match, _ := m.Redirect(rules.Request{Path: path}); match.Location != want {
			t.Errorf("%s leads to %q, expected %q", path, match.Location, want)
		}
	}
}

// TestProblemsAreBounded counts all problems and lists some of each severity.
func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	out := rules.Compile(rules.Input{Redirects: strings.Repeat("/a\n", 50_000) + strings.Repeat("/b /c\n", 300), Paths: paths(nil)})
	r := out.Report
	if r.Errors != 50_000 || r.Warnings != 300 || len(r.Problems) != 200 || r.Omitted() != 50_100 {
		t.Errorf("%d errors, %d warnings, %d listed, %d omitted", r.Errors, r.Warnings, len(r.Problems), r.Omitted())
	}
}

// TestHostilePatterns asks for long paths that almost match many patterns.
func TestHostilePatterns(t *testing.T) {
	t.Parallel()
	var redirects, headers strings.Builder
	for i := range 90 {
		fmt.Fprintf(&redirects, "/:a-:b-:c-:d/*/x%d /y/:splat\n/a*a%d /z\n", i, i)
		fmt.Fprintf(&headers, "/*a*a*a*a*a*b%d\n  x: y\n", i)
	}
	cloudflare := []rules.ConfigFile{{Name: "wrangler.toml"}}
	m := matcher(t, rules.Compile(rules.Input{Redirects: redirects.String(), Config: cloudflare}))
	h := matcher(t, rules.Compile(rules.Input{Headers: headers.String()}))
	for _, path := range []string{
		"/" + strings.Repeat("a-", 16<<10), "/" + strings.Repeat("/", 32<<10), "/" + strings.Repeat("a", 32<<10), "/a-b-c-d" + strings.Repeat("/x", 16<<10),
	} {
		started := time.Now()
		if match, ok := m.Redirect(rules.Request{Path: path}); ok {
			t.Errorf("%.20s… matches %+v", path, match)
		}
		if changes := h.Headers("", path); changes != nil {
			t.Errorf("%.20s… changes %+v", path, changes)
		}
		if took := time.Since(started); took > patience {
			t.Errorf("%.20s… took %s", path, took)
		}
	}
}

// guarded returns which pair user:password opens a path: "" for all, "-" for
// none.
func guarded(t *testing.T, m *rules.Matcher, path string, pairs ...string) string {
	t.Helper()
	d := m.Decide(tree{}, rules.Request{Path: path})
	switch {
	case d.Status == 403:
		return "-"
	case d.Guard == 0:
		return ""
	}
	c := password.NewChecker(1, 1, time.Minute)
	var open []string
	var hashes []password.Hashed
	for _, hash := range m.Credentials() {
		h, err := password.Parse(hash)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	for _, pair := range pairs {
		i, err := c.Match(t.Context(), pair, hashes)
		if err != nil {
			t.Fatal(err)
		}
		if i >= 0 && m.Admits(d.Guard, i) {
			open = append(open, pair)
		}
	}
	return strings.Join(open, " ")
}

// TestPasswordsStayOut looks for a password in everything that is stored or
// shown.
func TestPasswordsStayOut(t *testing.T) {
	t.Parallel()
	in := rules.Input{
		Headers: "/a\n  Basic-Auth: dev:open-sesame\n/b/:x/:x\n  Basic-Auth: dev:open-sesame\n  " + strings.Repeat("Basic-Auth: open-sesame ", 1000) + "\n/d\n  Basic-Auth: open-sesame\n",
		Config:  []rules.ConfigFile{{Name: "netlify.toml", Text: "[[headers]]\nfor = \"/c\"\n[headers.values]\nBasic-Auth = \"dev:open-sesame\"\nX = 1\n"}},
		Paths:   paths([]string{"a.html"}), Strict: true,
	}
	for _, functions := range []bool{false, true} {
		in.Functions = functions
		out := rules.Compile(in)
		encoded, err := out.Rules.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if all := fmt.Sprintf("%s %+v %v", encoded, out.Report, out.Report.Refusal()); strings.Contains(all, "sesame") || strings.Contains(all, "dev:") {
			t.Errorf("the password is in %s", all)
		}
		if !out.Rules.Protects() {
			t.Error("the rules protect nothing")
		}
		m := matcher(t, out)
		for path, want := range map[string]string{"/a": "dev:open-sesame", "/a/": "dev:open-sesame", "/b/x": "-", "/c": "dev:open-sesame", "/d": "-", "/e": ""} {
			if functions && want != "" {
				want = "-"
			}
			if got := guarded(t, m, path, "dev:open-sesame", "dev:open", "open-sesame"); got != want {
				t.Errorf("functions %t: %q opens %s, expected %q", functions, got, path, want)
			}
		}
	}
}

// TestLastPasswordCounts has several rules for one path: as for other headers,
// the last one decides.
func TestLastPasswordCounts(t *testing.T) {
	t.Parallel()
	out := rules.Compile(rules.Input{
		Headers: "/*\n  Basic-Auth: team:one\n/admin/*\n  Basic-Auth: root:two boss:three\n  Basic-Auth: boss:four\n",
		Config:  []rules.ConfigFile{{Name: "troy.toml", Text: "[[headers]]\nfor = \"/admin/log\"\nvalues = { basic-auth = [\"log:five\", \"boss:three\"] }\n"}},
	})
	if out.Report.Errors+out.Report.Warnings > 0 || out.Report.Notices != 3 || !out.Report.Clean() || out.Report.Headers != 3 {
		t.Errorf("the report is %+v", out.Report)
	}
	m := matcher(t, out)
	all := []string{"team:one", "root:two", "boss:three", "boss:four", "log:five", "root:one", "root", ""}
	for path, want := range map[string]string{
		"/": "team:one", "/x": "team:one", "/admin": "root:two boss:three boss:four", "/admin/x": "root:two boss:three boss:four", "/admin/log": "boss:three log:five", "/troy.toml": "-",
	} {
		if got := guarded(t, m, path, all...); got != want {
			t.Errorf("%q opens %s, expected %q", got, path, want)
		}
	}
}

// TestTooManyPasswords refuses the whole site beyond the limit of paths, and
// users beyond theirs.
func TestTooManyPasswords(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 1_001 {
		fmt.Fprintf(&b, "/p/%d/*\n  Basic-Auth: a:b\n", i)
	}
	m := matcher(t, rules.Compile(rules.Input{Headers: b.String()}))
	if guarded(t, m, "/p/1000/x") != "-" || guarded(t, m, "/other") != "-" {
		t.Error("a path beyond the limit is public")
	}
	b.Reset()
	b.WriteString("/p\n")
	for i := range 101 {
		fmt.Fprintf(&b, "  Basic-Auth: user%d:word\n", i)
	}
	b.WriteString("/q\n  Basic-Auth: late:word\n")
	out := rules.Compile(rules.Input{Headers: b.String()})
	if out.Report.Errors != 3 || out.Report.Problems[1].Code != rules.CodeLimit {
		t.Errorf("the report is %+v", out.Report)
	}
	if m, err := rules.New(out.Rules); err != nil || m.Decide(tree{}, rules.Request{Path: "/p"}).Guard == 0 || guarded(t, m, "/q") != "-" {
		t.Error("a path with too many users is public", err)
	}
}

// TestDamagedCredentials refuses compiled forms that name no valid hash.
func TestDamagedCredentials(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"version":1,"headers":[{"path":"/a","users":[0]}]}`,
		`{"version":1,"headers":[{"path":"/a","users":[-1]}],"credentials":[]}`,
		`{"version":1,"headers":[{"path":"/a"}],"credentials":["dev:word"]}`,
	} {
		r, err := rules.Decode([]byte(text))
		if err == nil {
			_, err = rules.New(r)
		}
		if err == nil || strings.Contains(err.Error(), "word") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestNewConfig keeps the lines of rules and empties those of other tables.
func TestNewConfig(t *testing.T) {
	t.Parallel()
	text := "[build]\ncommand = \"make\"\n[build.environment]\nTOKEN = \"hunter2\"\nTEXT = '''\n[site]\nhunter2\n'''\n[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n[context.production]\ncommand = \"x\"\n[site]\nspa = true\n"
	c, ok, err := rules.NewConfig("netlify.toml", []byte(text))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if want := "\n\n\n\n\n\n\n\n[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n\n\n[site]\nspa = true\n"; c.Text != want {
		t.Errorf("kept %q, expected %q", c.Text, want)
	}
	if _, ok, err := rules.NewConfig("troy.toml", []byte("[build]\ncommand = \"x\"\n")); ok || err != nil {
		t.Errorf("a file without rules: %v, %v", ok, err)
	}
	if _, _, err := rules.NewConfig("troy.toml", []byte("[site\n")); troy.KindOf(err) != troy.Invalid {
		t.Errorf("a file that is not TOML: %v", err)
	}
}

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	for field, files := range map[string][]rules.ConfigFile{
		"config[0].name": {{Name: "../troy.toml"}},
		"config[1].name": {{Name: "troy.toml"}, {Name: "troy.toml"}},
		"config[0].text": {{Name: "troy.toml", Text: "[["}},
		"config[1].text": {{Name: "wrangler.toml"}, {Name: "netlify.toml", Text: strings.Repeat("#", rules.MaxConfig+1)}},
	} {
		e, ok := errors.AsType[*troy.Error](rules.CheckConfig(files))
		if !ok || e.Field != field {
			t.Errorf("%v: the error is %v, expected one at %s", files[0].Name, e, field)
		}
	}
}

// TestFromTree reads the files of a tree, and refuses headers that it can't
// read whole.
func TestFromTree(t *testing.T) {
	t.Parallel()
	files := map[string]string{"_redirects": "/a /b\n", "_headers": "/*\n  x: y\n", "b.html": "b"}
	var m site.Manifest
	for name, content := range files {
		m.Files = append(m.Files, site.File{Path: name, Size: int64(len(content))})
	}
	open := func(f site.File) ([]byte, error) { return []byte(files[f.Path]), nil }
	out, err := rules.FromTree(m, open, rules.Input{})
	if err != nil || out.Report.Redirects != 1 || out.Report.Headers != 1 || !out.Report.Clean() {
		t.Errorf("the report is %+v, the error %v", out.Report, err)
	}
	failing := func(site.File) ([]byte, error) { return nil, io.ErrUnexpectedEOF }
	if _, err := rules.FromTree(m, failing, rules.Input{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error is %v", err)
	}
	for _, text := range []string{"\xff\xfe/\x00*\x00\n\x00", "/\x00*\x00\n\x00", "/a\n  x: y\n/f\xfcr/*\n  Basic-Auth: a:b\n"} {
		for _, name := range []string{"_headers", "_redirects"} {
			file := site.Manifest{Files: []site.File{{Path: name, Size: int64(len(text))}}}
			if _, err := rules.FromTree(file, func(site.File) ([]byte, error) { return []byte(text), nil }, rules.Input{}); troy.KindOf(err) != troy.Invalid {
				t.Errorf("%s with %q: the error is %v", name, text, err)
			}
		}
	}
	m.Files = []site.File{{Path: "_headers", Size: rules.MaxFile + 1}}
	if _, err := rules.FromTree(m, open, rules.Input{}); troy.KindOf(err) != troy.Invalid {
		t.Errorf("the error is %v", err)
	}
	large := rules.Compile(rules.Input{Redirects: strings.Repeat("#", rules.MaxFile+1)})
	if large.Report.Errors != 1 || large.Report.Problems[0].Line != 0 {
		t.Errorf("the report is %+v", large.Report)
	}
}

// TestBrokenPaths protects paths that can't be read.
func TestBrokenPaths(t *testing.T) {
	t.Parallel()
	long := "/long/" + strings.Repeat("x", 20_000)
	for _, cloudflare := range []bool{false, true} {
		in := rules.Input{Headers: "/open\n  x: y\n/f\xfcr/*\n  Basic-Auth: a:b\n/b\n  x: y\n" + long + "\n  Basic-Auth: a:b\n/c\n  x: y\n  Basic-Auth: a\xfc:b\n"}
		if cloudflare {
			in.Config = []rules.ConfigFile{{Name: "wrangler.toml"}}
		}
		m := matcher(t, rules.Compile(in))
		for path, want := range map[string]bool{"/open": false, "/für/x": true, "/b": false, long: true, "/c": true, "/": false} {
			if got := guarded(t, m, path) == "-"; got != want {
				t.Errorf("%.20s: denied is %v, expected %v", path, got, want)
			}
		}
	}
}

// TestRulesOfOnePath bounds the rules that a look-up tries in turn.
func TestRulesOfOnePath(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 1_002 {
		fmt.Fprintf(&b, "/a n=%d /to/%d\n", i, i)
	}
	out := rules.Compile(rules.Input{Redirects: b.String() + "/b /c\n"})
	if out.Report.Redirects != 1_001 || out.Report.Errors != 2 || out.Report.Problems[0].Code != rules.CodeLimit || out.Report.Problems[0].Line != 1_001 {
		t.Errorf("the report is %+v", out.Report)
	}
}

// TestMemoryOfRules counts the tree of patterns.
func TestMemoryOfRules(t *testing.T) {
	t.Parallel()
	bytesOf := func(path string) int64 {
		return matcher(t, rules.Compile(rules.Input{Redirects: path + " /to\n"})).Bytes()
	}
	few, many := bytesOf("/a"+strings.Repeat("b", 40)+"/*"), bytesOf(strings.Repeat("/a", 21)+"/*")
	if many-few < 20*400 {
		t.Errorf("20 more segments take %d bytes", many-few)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{}", `{"version":2}`, `{"version":"1"}`, `{"version":1,"later":true}`, `{"version":1,"headers":[{"path":"/","later":"x"}]}`, `{"version":1} {}`} {
		if _, err := rules.Decode([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	for _, parts := range [][]rules.Part{{}, {{}}, {{Text: "a"}}, {{Rest: "r"}, {Text: "/"}}, {{Text: "/"}, {One: "a"}, {One: "b"}}, {{Any: "a"}, {Any: "b"}}} {
		r := rules.Rules{Redirects: []rules.Redirect{{Where: rules.Where{Pattern: parts}}}}
		if _, err := rules.New(r); err == nil && len(parts) > 0 {
			t.Errorf("the pattern %+v was accepted", parts)
		}
	}
}

// TestStrict refuses a report with problems only if it is strict.
func TestStrict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   rules.Input
		fail bool
	}{
		{rules.Input{Redirects: "/a"}, false},
		{rules.Input{Redirects: "/a", Strict: true}, true},
		{rules.Input{Redirects: "/a /b", Strict: true}, false},
		{rules.Input{Redirects: "/a", Config: []rules.ConfigFile{{Name: "troy.toml", Text: "[site]\nstrict = true"}}}, true},
	} {
		err := rules.Compile(c.in).Report.Refusal()
		if (err != nil) != c.fail || c.fail && troy.KindOf(err) != troy.Invalid {
			t.Errorf("%+v: the error is %v", c.in, err)
		}
	}
}
