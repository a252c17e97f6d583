package troy_test

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const module = "github.com/troy-iaas/troy"

// importRule is one of depguard's rules in .golangci.yaml.
type importRule struct {
	Files []string `yaml:"files"`
	Allow []string `yaml:"allow"`
}

// covers reports whether the rule is for the files of a folder.
func (r importRule) covers(folder string) bool {
	covered := false
	for _, pattern := range r.Files {
		pattern, not := strings.CutPrefix(pattern, "!")
		pattern = strings.TrimPrefix(pattern, "${config-path}/")
		base, deep := strings.CutSuffix(pattern, "/**")
		fits := false
		if deep {
			for f := folder; f != "." && !fits; f = path.Dir(f) {
				fits, _ = path.Match(base, f)
			}
		} else {
			fits, _ = path.Match(pattern, path.Join(folder, "x.go"))
		}
		if fits {
			covered = !not
		}
	}
	return covered
}

// TestImportTable holds the linter's import rules to the table of packages in
// docs/architecture.md.
func TestImportTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(".golangci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]importRule `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Rooms, and who may import whom")
	table, _, _ = strings.Cut(table, "\n## ")
	name, note := regexp.MustCompile("`([a-z0-9/]+)`"), regexp.MustCompile(`\([^)]*\)`)
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") || strings.Contains(cells[3], "everything") {
			continue
		}
		var want []string
		for word := range strings.SplitSeq(note.ReplaceAllString(cells[3], ""), ",") {
			if word = strings.Trim(word, " `"); word != "–" {
				want = append(want, word)
			}
		}
		slices.Sort(want)
		for _, m := range name.FindAllStringSubmatch(note.ReplaceAllString(cells[1], ""), -1) {
			rows++
			folder := strings.TrimSuffix(m[1], "/")
			if folder == "troy" {
				folder = "."
			}
			var got, rules []string
			below := []string{folder + "/"} // allowed with their folder
			for rule, r := range config.Linters.Settings.Depguard.Rules {
				if !r.covers(folder) || len(r.Allow) == 0 {
					continue // a rule that only denies narrows another one
				}
				rules = append(rules, rule)
				for _, allowed := range r.Allow {
					if !strings.HasSuffix(allowed, "$") {
						below = append(below, strings.TrimPrefix(allowed, module+"/")+"/")
					}
					allowed = strings.TrimPrefix(strings.TrimSuffix(allowed, "$"), module)
					allowed = strings.TrimPrefix(allowed, "/")
					own := allowed == folder || strings.HasPrefix(allowed, folder+"/") || folder == "." && allowed == ""
					if allowed == "" {
						allowed = "troy"
					}
					if !own {
						got = append(got, allowed)
					}
				}
			}
			slices.Sort(got)
			want := slices.DeleteFunc(slices.Clone(want), func(p string) bool {
				return slices.ContainsFunc(below, func(prefix string) bool { return strings.HasPrefix(p, prefix) })
			})
			if len(rules) != 1 {
				t.Errorf("%s has the rules %v, want one", folder, rules)
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: the table (-) against the rule %s (+):\n%s", folder, rules[0], diff)
			}
		}
	}
	if rows < 40 {
		t.Errorf("the table has %d packages", rows)
	}
}
