package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/site/rules"
)

// planOf compiles rules for CloudFront's functions. It returns the paths of
// the objects, the program, and the lines of what the functions don't obey.
func planOf(t *testing.T, in rules.Input, files ...string) (objects []string, program string, omitted []string) {
	t.Helper()
	in.Paths, in.Functions = paths(files), true
	out := rules.Compile(in)
	for _, p := range out.Report.Problems {
		if p.Code == rules.CodeNotObeyed {
			omitted = append(omitted, fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Message))
		}
	}
	plan, err := out.Rules.Functions(in.Paths, in.Keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range plan.Objects {
		objects = append(objects, o.Path)
	}
	if len(plan.Program) > rules.MaxProgram+200 {
		t.Errorf("the program has %d bytes", len(plan.Program))
	}
	return objects, string(plan.Program), omitted
}

// TestFunctionsOrder decides which redirects are objects, so that the first
// rule counts.
func TestFunctionsOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		redirects string
		files     []string
		objects   []string
		inProgram string // a part of the program, if not empty
	}{
		"plain":                             {"/a /b\n/c /d 302\n", nil, []string{"/a", "/c"}, ""},
		"the first of two":                  {"/a /b\n/a /c\n", nil, []string{"/a"}, ""},
		"before a splat":                    {"/a /b\n/* /index.html 200\n", nil, []string{"/a"}, ""},
		"hidden by a splat":                 {"/* /index.html 200\n/a /b\n", nil, nil, ""},
		"after a condition":                 {"/* x=1 /x 302\n/a /b\n", nil, nil, `"p":"/a"`},
		"after a forced condition":          {"http://old.example/* /x 302!\n/a /b\n", nil, []string{"/a"}, ""},
		"before a forced splat":             {"/a /b\n/* /x 302!\n", nil, nil, `"p":"/a"`},
		"forced":                            {"/a /b 301!\n", nil, nil, `"p":"/a"`},
		"a rewrite":                         {"/a /b 200\n", nil, nil, `"p":"/a"`},
		"to itself":                         {"/a /a?x=1 301\n", nil, nil, `"p":"/a"`},
		"below another object":              {"/a.b /x\n/a.b/c /y\n", nil, []string{"/a.b"}, `"p":"/a.b/c"`},
		"below a file":                      {"/a.css/c /y\n", []string{"a.css"}, nil, `"p":"/a.css/c"`},
		"below a page":                      {"/about/c /y\n", []string{"about.html"}, []string{"/about/c"}, ""},
		"the other key of an index":         {"/a/index.html /y\n", nil, nil, `"p":"/a/index.html"`},
		"a path that is not valid as a key": {"//a /y\n", nil, nil, `"p":"//a"`},
	} {
		objects, program, omitted := planOf(t, rules.Input{Redirects: c.redirects}, c.files...)
		if !slices.Equal(objects, c.objects) || !strings.Contains(program, c.inProgram) || len(omitted) > 0 {
			t.Errorf("%s: the objects %q, expected %q; the program %s, expected %s; %q", name, objects, c.objects, program, c.inProgram, omitted)
		}
	}
}

// TestFunctionsLimits reports what the functions don't obey, by line.
func TestFunctionsLimits(t *testing.T) {
	t.Parallel()
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		in   rules.Input
		want []string // the beginning of each
	}{
		"101 rules with a splat":      {rules.Input{Redirects: many(101, "/%d/* /x\n")}, []string{"_redirects:101 on AWS at most 100 rules"}},
		"100 rules with a splat":      {rules.Input{Redirects: many(100, "/%d/* /x\n")}, nil},
		"10,001 plain redirects":      {rules.Input{Redirects: many(10_001, "/%d /x\n")}, []string{"_redirects:10001 on AWS at most 10000 redirects"}},
		"long rules":                  {rules.Input{Redirects: many(3, "/%d/* /"+strings.Repeat("x", 1500)+"/:splat\n/y/:a/%[1]d /z/"+strings.Repeat("x", 2800)+"\n")}, []string{"_redirects:6 on AWS the rules with"}},
		"a cookie":                    {rules.Input{Headers: "/a\n  X-A: b\n\n/b\n  Set-Cookie: a=b\n"}, []string{"_headers:4 on AWS a rule can't change the header Set-Cookie"}},
		"many files":                  {rules.Input{Redirects: "/a /b\n/b/* /c\n/c/* /d 302!\n", Keys: rules.MaxKeys}, []string{"_redirects:2 on AWS this rule needs !"}},
		"many files and plain ones":   {rules.Input{Redirects: "/a /b\n", Keys: rules.MaxKeys}, nil},
		"as many files as have place": {rules.Input{Redirects: "/b/* /c\n", Keys: rules.MaxKeys}, nil},
		"spa with many files": {rules.Input{Keys: rules.MaxKeys + 1, Config: []rules.ConfigFile{{Name: "troy.toml", Text: "[site]\nnoindex = true\nspa = true\n"}}},
			[]string{"troy.toml:3 on AWS spa and not_found"}},
	} {
		_, _, got := planOf(t, c.in, "index.html")
		ok := len(got) == len(c.want)
		for i := range c.want {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
	}
}

// TestFunctionsASCII keeps a program in ASCII, whose bytes are characters.
func TestFunctionsASCII(t *testing.T) {
	t.Parallel()
	_, program, _ := planOf(t, rules.Input{Redirects: "/é/* /😀/:splat 200\n"})
	if !strings.Contains(program, `\u00e9`) || !strings.Contains(program, `\ud83d\ude00`) {
		t.Errorf("the program is %s", program)
	}
}
