package credentials

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseGroups(t *testing.T) {
	t.Parallel()
	got, err := ParseGroups([]string{"platform=admin", " web team=deployer:blog+docs", "cn=all=viewer"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Group{{"platform", Admin, nil}, {"web team", Deployer, []string{"blog", "docs"}}, {"cn=all", Viewer, nil}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, says := range map[string]string{
		"platform": "expected GROUP=ROLE", "=admin": "expected GROUP=ROLE", "": "expected GROUP=ROLE", "a=": "the role of the group \"a\" is \"\"", "a=root": "expected one of [viewer deployer admin]",
		"a=viewer:": "not a pipeline's slug", "a=viewer:blog+": "not a pipeline's slug", "a=viewer:Blog": "not a pipeline's slug", "a\x00=viewer": "expected GROUP=ROLE", "b=viewer,a=viewer,b=admin": "appears twice",
	} {
		if _, err := ParseGroups(strings.Split(text, ",")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestGrant(t *testing.T) {
	t.Parallel()
	known := []Group{{"all", Viewer, nil}, {"web", Deployer, []string{"blog"}}, {"docs", Deployer, []string{"docs"}}, {"platform", Admin, nil}, {"lead", Admin, []string{"blog"}}}
	for in, want := range map[string]struct {
		role      Role
		pipelines string
	}{
		"": {"", ""}, "none": {"", ""}, "all": {Viewer, "all"}, "all web": {Deployer, "blog"}, "web all docs": {Deployer, "blog docs"},
		"docs platform": {Admin, "all"}, "lead platform": {Admin, "all"}, "lead web": {Admin, "blog"},
	} {
		role, pipelines, given := grant(known, strings.Fields(in))
		got := strings.Join(pipelines, " ")
		if pipelines == nil && role != "" {
			got = "all"
		}
		if role != want.role || got != want.pipelines || (len(given) == 0) != (role == "") {
			t.Errorf("in %q: %s of %q by %v, want %s of %q", in, role, got, given, want.role, want.pipelines)
		}
	}
}
