package rules_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// testCase is a row of testdata/cases.json, which every engine for the compiled
// form runs. Source names where the expected outcome is from.
type testCase struct {
	Name, Source, Dialect, Redirects, Headers, Request, Host, Accept, Location, File string

	NetlifyToml   string `json:"netlify_toml"`
	TroyToml      string `json:"troy_toml"`
	TrailingSlash string `json:"trailing_slash"`
	Files         []string
	Status        int
	Set           map[string][]string
	Problems      []string
}

func (c testCase) input() rules.Input {
	in := rules.Input{Redirects: c.Redirects, Headers: c.Headers, Paths: paths(c.Files), TrailingSlash: site.TrailingSlash(c.TrailingSlash)}
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

func paths(files []string) site.PathSet {
	set := site.PathSet{}
	for _, f := range files {
		set[f] = struct{}{}
	}
	return set
}

// tree is the tree of a test case.
type tree struct {
	paths site.PathSet
	slash site.TrailingSlash
}

func (t tree) Resolve(path string) site.Answer { return t.slash.Resolve(t.paths, path) }

func (t tree) Missing(path string) (string, bool) {
	for folder := path[1:]; ; {
		i := strings.LastIndexByte(folder, '/')
		folder = folder[:max(i, 0)]
		if file, ok := t.paths.Find(strings.TrimPrefix(folder+"/404.html", "/"), ""); ok {
			return file, true
		}
		if folder == "" {
			return "", false
		}
	}
}

// TestCases runs the table on the matcher that the edge uses, after the
// compiled form was encoded and decoded.
func TestCases(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []testCase
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	foreign := 0
	for _, c := range all {
		if c.Source != "Troy" {
			foreign++
		}
		t.Run(c.Source+"/"+c.Name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
	if len(all) < 150 || foreign < 150 {
		t.Errorf("the table has %d rows, %d of them from other projects; expected at least 150 of both", len(all), foreign)
	}
}

func (c testCase) run(t *testing.T) {
	out := rules.Compile(c.input())
	if c.Problems != nil {
		got := []string{}
		for _, p := range out.Report.Problems {
			got = append(got, fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Code))
		}
		if diff := cmp.Diff(c.Problems, got); diff != "" {
			t.Errorf("problems (-want +got):\n%s\n%v", diff, out.Report.Problems)
		}
	}
	if c.Request == "" {
		return
	}
	m := matcher(t, out)
	path, query, _ := strings.Cut(c.Request, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		t.Fatal(err)
	}
	slash := out.TrailingSlash
	if slash == "" {
		slash = site.TrailingSlash(c.TrailingSlash)
	}
	if c.Status != 0 {
		d := m.Decide(tree{paths(c.Files), slash}, rules.Request{
			Host: c.Host, Path: decoded, Query: query, HTML: rules.AcceptsHTML([]string{c.Accept}),
		})
		got := testCase{Status: d.Status, Location: d.Location, File: d.Answer.Path}
		if d.Guard > 0 {
			got = testCase{Status: 401}
		} else if d.Answer.Redirect {
			got = testCase{Status: 301, Location: d.Answer.Address()}
		}
		if diff := cmp.Diff(testCase{Status: c.Status, Location: c.Location, File: c.File}, got); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
	}
	if c.Set != nil {
		got := map[string][]string{}
		if changes := m.Headers(c.Host, decoded); changes != nil {
			for name, values := range changes.Set {
				got[name] = values
			}
			if changes.Origins != nil {
				got["origins"] = changes.Origins
			}
		}
		if diff := cmp.Diff(c.Set, got); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
	}
}

// matcher returns the matcher of the compiled form, as the edge reads it.
func matcher(t testing.TB, out rules.Output) *rules.Matcher {
	t.Helper()
	encoded, err := out.Rules.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var decoded rules.Rules
	if encoded != nil {
		if decoded, err = rules.Decode(encoded); err != nil {
			t.Fatal(err)
		}
	}
	m, err := rules.New(decoded)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
