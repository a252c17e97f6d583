package build_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy/build"
)

// fixture is a repository that uses a framework, and what its build writes.
type fixture struct {
	// modules are the dependencies in package.json, and scripts its scripts, as
	// "build: vite build".
	modules string
	scripts []string
	files   map[string]string
	// wrote are the files that the build writes; a folder gets an index.html.
	wrote []string
	// command and output are what is run and published; refusal is a part of
	// the error instead.
	command, output, refusal string
}

func (f fixture) repository(t *testing.T) map[string]string {
	t.Helper()
	files := maps.Clone(f.files)
	if files == nil {
		files = map[string]string{}
	}
	if f.modules == "" {
		return files
	}
	m := map[string]map[string]string{"dependencies": {}, "scripts": {}}
	for name := range strings.FieldsSeq(f.modules) {
		m["dependencies"][name] = "1"
	}
	for _, s := range f.scripts {
		name, text, _ := strings.Cut(s, ": ")
		m["scripts"][name] = text
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	files["package.json"] = string(text)
	return files
}

// TestFrameworks builds a fixture of each framework on paper: the plan's
// command is the right one, and what the framework's build writes is published
// from the right folder, or refused with the line to add.
func TestFrameworks(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	right, refused := 0, 0
	for name, f := range fixtures() {
		framework, _, _ := strings.Cut(name, ":")
		seen[framework] = true
		if f.refusal == "" {
			right++
		} else {
			refused++
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := f.repository(t)
			plan, err := build.Decide(repository(files), build.Settings{})
			if err != nil {
				check(t, build.Output{}, err, "", refusalOf(t, f))
				return
			}
			if plan.Generator != framework {
				t.Fatalf("it is taken for %q: %s", plan.Generator, plan.Why)
			}
			if f.command != "" && plan.Build != f.command {
				t.Errorf("it is built with %q, want %q", plan.Build, f.command)
			}
			after := built(files)
			for _, w := range f.wrote {
				if path.Ext(w) == "" {
					w += "/index.html"
				}
				delete(after, w)
				after["+"+w] = ""
			}
			out, err := plan.FindOutput(t.Context(), repository(after.files()), after.written(t))
			check(t, out, err, f.output, f.refusal)
		})
	}
	for _, f := range build.Frameworks() {
		if !seen[f.Name] {
			t.Errorf("no fixture is about %s", f.Name)
		}
	}
	t.Logf("%d fixtures are published from the right folder, %d are refused with the line to add", right, refused)
	if right < 60 {
		t.Errorf("%d fixtures are right; expected at least 60", right)
	}
}

func refusalOf(t *testing.T, f fixture) string {
	t.Helper()
	if f.refusal == "" {
		return "no refusal"
	}
	return f.refusal
}

var update = flag.Bool("update", false, "write the table of frameworks into docs/builds.md")

// The table in docs/builds.md is that of the frameworks.
func TestFrameworksAreDocumented(t *testing.T) {
	t.Parallel()
	const page, head = "../docs/builds.md", "| framework | recognized by | Troy runs | Troy publishes | other folders are read from |\n|---|---|---|---|---|\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), head)
	if !found {
		t.Fatalf("%s has no table of frameworks", page)
	}
	got, after, _ := strings.Cut(rest, "\n\n")
	var want []string
	for _, f := range build.Frameworks() {
		want = append(want, row(f))
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+head+strings.Join(want, "\n")+"\n\n"+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, strings.Split(got, "\n")); diff != "" {
		t.Errorf("the table in %s (-want +got); write it with go test ./build -run Documented -update:\n%s", page, diff)
	}
}

// row returns a framework's row of the table.
func row(f build.Framework) string {
	marks := f.Modules
	for _, file := range f.Files {
		if i := strings.IndexAny(file, "~+="); i >= 0 {
			file = file[:i]
		}
		marks = append(marks, file)
	}
	var config []string
	for _, name := range f.Config {
		config = append(config, strings.Replace(name, "{docs}/", "", 1))
	}
	if len(f.Keys) == 0 {
		config = nil
	}
	list := func(names []string) string {
		if len(names) == 0 {
			return "–"
		}
		var once []string
		for _, name := range names {
			if !slices.Contains(once, name) {
				once = append(once, name)
			}
		}
		return "`" + strings.Join(once, "`, `") + "`"
	}
	return "| " + strings.Join([]string{f.Name, list(marks), list([]string{f.Command}), list(f.Outputs), list(config)}, " | ") + " |"
}

// TestCaches checks the folders that builds keep: each framework's are among
// them, none is in another, and common names count for their generator alone.
func TestCaches(t *testing.T) {
	t.Parallel()
	for _, f := range build.Frameworks() {
		caches := build.Plan{Generator: f.Name}.Caches()
		for _, folder := range f.Caches {
			if !slices.ContainsFunc(caches, func(c string) bool { return c == folder || strings.HasPrefix(folder, c+"/") }) {
				t.Errorf("%s: %s is not kept: %q", f.Name, folder, caches)
			}
		}
		for _, folder := range caches {
			if path.Clean(folder) != folder || !filepath.IsLocal(folder) || slices.Contains(f.Outputs, folder) {
				t.Errorf("%s: %s can't be kept", f.Name, folder)
			}
			if slices.ContainsFunc(caches, func(c string) bool { return strings.HasPrefix(folder, c+"/") }) {
				t.Errorf("%s: %s is in another folder that is kept", f.Name, folder)
			}
		}
	}
	for folder, generators := range map[string]map[string]bool{
		"target": {"Trunk": true, "Vite": false, "": false}, "node_modules/.vite": {"": true, "Hugo": true, "SvelteKit": true}, "resources/_gen": {"Hugo": true, "Zola": false},
	} {
		for generator, want := range generators {
			if got := slices.Contains(build.Plan{Generator: generator}.Caches(), folder); got != want {
				t.Errorf("%q keeps %s: %v, want %v", generator, folder, got, want)
			}
		}
	}
}
