package troy_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestBranchLabel(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("very-", 50) + "long"
	for branch, want := range map[string]string{
		"main":                     "main",
		"feature/Add_Login.v2":     "feature-add-login-v2",
		"fix--double":              "fix-double",
		"/-strange-/":              "strange",
		"ünïcode/Журнал":           "unicode-zhurnal",
		"blog":                     "blog",
		"release-1.2":              "release-1-2",
		"dependabot/npm/left-pad":  "dependabot-npm-left-pad",
		"d-1x":                     "d-1x",
		"pr-":                      "pr",
		strings.Repeat("a", 63-6):  strings.Repeat("a", 63-6),
		"🚀":                        "branch-",
		"pr-7":                     "pr-7-",
		"d-12":                     "d-12-",
		long:                       "very-very-",
		strings.Repeat("a", 63-5):  "aaaa",
		strings.Repeat("é/", 1000): "e-e-",
	} {
		got := troy.BranchLabel(branch, "blog")
		// A label that does not determine the branch ends with a hash.
		if hashed := strings.HasSuffix(want, "-") || len(branch) > 57; !hashed && got != want || hashed && (!strings.HasPrefix(got, want) || len(got) < 10) {
			t.Errorf("BranchLabel(%.80q) is %q, want %q", branch, got, want)
		}
		if err := troy.CheckPreviewLabel(got, "blog"); err != nil {
			t.Errorf("BranchLabel(%.80q) is %q: %v", branch, got, err)
		}
		if host := got + "--blog"; len(host) > 63 {
			t.Errorf("%q has %d characters, want at most 63", host, len(host))
		}
	}
	if a, b := troy.BranchLabel(long+"1", "blog"), troy.BranchLabel(long+"2", "blog"); a == b {
		t.Errorf("two branches have the label %q", a)
	}
	if a, b := troy.BranchLabel("🚀", "blog"), troy.BranchLabel("🦀", "blog"); a == b {
		t.Errorf("two branches have the label %q", a)
	}
}

func TestCheckPreviewLabel(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"draft": "", "a": "", "blog": "", "2026": "", "d-x": "", strings.Repeat("a", 57): "",
		"":                      "empty",
		"d-1":                   "reserved",
		"pr-12":                 "reserved",
		"a--b":                  `for example "a-b"`,
		"-a":                    "single inner hyphens",
		"Draft":                 `for example "draft"`,
		"feature/x":             `for example "feature-x"`,
		"a.b":                   "lower-case letters",
		strings.Repeat("a", 58): "has 58 characters; expected at most 57",
	} {
		err := troy.CheckPreviewLabel(label, "blog")
		if want == "" && err != nil || want != "" && (troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("CheckPreviewLabel(%q): %v, want %q", label, err, want)
		}
	}
}
