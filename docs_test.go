package troy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
)

const (
	statesPage   = "docs/states.md"
	statusesPage = "docs/diagrams/statuses.md"
)

// TestStatesTable compares the table of docs/states.md with the table of
// transitions: every status once, in order, with its successors.
func TestStatesTable(t *testing.T) {
	t.Parallel()
	var got, want [][]string
	for _, row := range table(t, statesPage, "status") {
		// The column's head covers Scheduled for Deletion for the first nine.
		got = append(got, append([]string{row[0]}, splitList(row[1])...))
	}
	for _, s := range troy.Statuses() {
		row := []string{s.String()}
		for _, to := range s.Next() {
			if to != troy.ScheduledForDeletion || s == troy.FailedToDelete {
				row = append(row, to.String())
			}
		}
		want = append(want, row)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package troy (-) against the table of %s (+):\n%s", statesPage, diff)
	}
	for i, s := range troy.Statuses() {
		if s.CanBecome(troy.ScheduledForDeletion) != (i < 9 || s == troy.FailedToDelete) {
			t.Errorf("%s says that the first nine may be deleted; %s disagrees", statesPage, s)
		}
	}
}

// TestStatesParagraphs checks that every status has a paragraph, in order, with
// its name and its value.
func TestStatesParagraphs(t *testing.T) {
	t.Parallel()
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^(\\*\\*.+?\\*\\* \\(`.+?`\\))\\. \\S").FindAllStringSubmatch(page(t, statesPage), -1) {
		got = append(got, m[1])
	}
	for _, s := range troy.Statuses() {
		want = append(want, "**"+s.String()+"** (`"+string(s)+"`)")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package troy (-) against the paragraphs of %s (+):\n%s", statesPage, diff)
	}
}

func TestDeploymentStatesTable(t *testing.T) {
	t.Parallel()
	var got []troy.DeploymentState
	for _, row := range table(t, statesPage, "state") {
		got = append(got, troy.DeploymentState(row[0]))
	}
	if diff := cmp.Diff(troy.DeploymentStates(), got); diff != "" {
		t.Errorf("package troy (-) against the table of %s (+):\n%s", statesPage, diff)
	}
}

// TestStatusesDiagram compares the names and the arrows of the diagram with the
// table of transitions.
func TestStatusesDiagram(t *testing.T) {
	t.Parallel()
	text := page(t, statusesPage)
	statuses := map[string]troy.Status{} // by the diagram's short name
	composite := ""                      // the box around the first nine
	for _, m := range regexp.MustCompile(`(?m)^ *state "(.+?)(?: \(.*\))?" as (\w+)( \{)?$`).FindAllStringSubmatch(text, -1) {
		i := slices.IndexFunc(troy.Statuses(), func(s troy.Status) bool { return s.String() == m[1] })
		switch {
		case m[3] != "":
			composite = m[2]
		case i < 0:
			t.Errorf("%s has %q, which is not a status", statusesPage, m[1])
		default:
			statuses[m[2]] = troy.Statuses()[i]
		}
	}
	if len(statuses) != len(troy.Statuses()) || composite == "" {
		t.Fatalf("%s has %d statuses and the box %q", statusesPage, len(statuses), composite)
	}
	var got, want []string
	for _, m := range regexp.MustCompile(`(?m)^ *(\S+) --> (\S+)(?: : .*)?$`).FindAllStringSubmatch(text, -1) {
		from, to := statuses[m[1]], statuses[m[2]]
		switch {
		case m[1] == "[*]" && to == troy.PreProvisioned, from == troy.Deleted && m[2] == "[*]":
			continue // the start and end of the diagram
		case m[1] == composite:
			for _, s := range troy.Statuses()[:9] {
				got = append(got, s.String()+" → "+to.String())
			}
		default:
			got = append(got, from.String()+" → "+to.String())
		}
	}
	for _, from := range troy.Statuses() {
		for _, to := range from.Next() {
			want = append(want, from.String()+" → "+to.String())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package troy (-) against the arrows of %s (+):\n%s", statusesPage, diff)
	}
}

func page(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// table returns the rows of the table whose first column has this head.
func table(t *testing.T, file, head string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(page(t, file), "\n| "+head+" |")
	if !found {
		t.Fatalf("%s has no table with the head %q", file, head)
	}
	var rows [][]string
	for i, line := range strings.Split(text, "\n") {
		if i < 2 {
			continue // the rest of the head, and the rule below it
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return rows
}

// splitList splits "a, b"; "–" is an empty list.
func splitList(text string) []string {
	if text == "" || text == "–" {
		return nil
	}
	return strings.Split(text, ", ")
}

// TestDocumentsLeadSomewhere checks that the links between documents, and the
// files that CONTRIBUTING.md says to edit, exist.
func TestDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	links := 0
	for _, file := range files {
		for _, m := range link.FindAllStringSubmatch(page(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			to, anchor, _ := strings.Cut(m[1], "#")
			if to == "" {
				to = filepath.Base(file)
			}
			to = filepath.Join(filepath.Dir(file), to)
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, m[1])
			} else if anchor != "" && !slices.Contains(anchors(page(t, to)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
	_, lists, found := strings.Cut(page(t, "CONTRIBUTING.md"), "\n## Which files to touch\n")
	lists, _, ended := strings.Cut(lists, "\n## ")
	if !found || !ended || links == 0 {
		t.Fatalf("%d links, and the lists of files: %t, %t", links, found, ended)
	}
	named := 0
	for _, m := range regexp.MustCompile("`([^`\\s]+)`").FindAllStringSubmatch(lists, -1) {
		if !strings.ContainsAny(m[1], "./") || strings.Contains(m[1], "NAME") || strings.HasPrefix(m[1], "-") {
			continue
		}
		named++
		if found, err := filepath.Glob(m[1]); err != nil || len(found) == 0 {
			t.Errorf("CONTRIBUTING.md names %s, which does not exist", m[1])
		}
	}
	if named == 0 {
		t.Error("CONTRIBUTING.md names no file to touch")
	}
}

// anchors returns the anchors that GitHub makes from a document's headings.
func anchors(text string) []string {
	var out []string
	other := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		heading := other.ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(heading, " ", "-"))
	}
	return out
}
