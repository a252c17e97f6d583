package rules

import (
	"strings"
	"testing"
)

// TestCheckTOML refuses what the parser would recurse into, and nothing else.
func TestCheckTOML(t *testing.T) {
	t.Parallel()
	const n = maxTOMLDepth + 1
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"arrays":           {"a = " + strings.Repeat("[", n), false},
		"on lines":         {"a = " + strings.Repeat("[\n", n), false},
		"tables":           {"a = " + strings.Repeat("{a=", n), false},
		"with text":        {"a = " + strings.Repeat(`["]",`, n), false},
		"with literals":    {"a = " + strings.Repeat(`[']',`, n), false},
		"with quotes":      {"a = " + strings.Repeat(`["\"]",`, n), false},
		"with long text":   {"a = " + strings.Repeat("[\"\"\"\n]\"\"\"\"\",", n), false},
		"with long quotes": {"a = " + strings.Repeat("['''']''''',", n), false},
		"with comments":    {"a = " + strings.Repeat("[ # ]\n", n), false},
		"dots":             {strings.Repeat("a.", n) + "a = 1", false},
		"spaced dots":      {strings.Repeat("a . ", n) + "a = 1", false},
		"quoted dots":      {strings.Repeat(`"a".`, n) + "a = 1", false},
		"a table's dots":   {"[" + strings.Repeat("a.", n) + "a]", false},
		"after a comment":  {"# it's [\na = " + strings.Repeat("[", n), false},
		"wide":             {"a = [" + strings.Repeat("[1.5], {b = 1.5}, ", n) + "]\n" + strings.Repeat("[[x.y]]\nz = 1.5\n", n), true},
		"in text":          {"a = '" + strings.Repeat("[", n) + strings.Repeat("a.", n) + "'", true},
		"in long text":     {"a = \"\"\"\n" + strings.Repeat("[\"", n) + "\"\"\"", true},
		"in a comment":     {"a = 1 # " + strings.Repeat("[", n) + "\n#" + strings.Repeat("[", n), true},
		"not closed":       {"a = \"\"\"", true},
		"empty":            {"", true},
	} {
		if err := CheckTOML([]byte(c.text)); (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "nests more than 100 levels") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := parseConfig(ConfigFile{Name: "netlify.toml", Text: "x = 1\na = " + strings.Repeat("[", 4<<20)})
	if err == nil || !strings.Contains(err.Error(), "line 2 nests more than 100 levels") {
		t.Errorf("a file: %v", err)
	}
}
