package troy_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// avoided matches phrases that docs/style.md replaces and that are never the
// better choice. "There is no X" and "is no longer" are plain English.
var avoided = regexp.MustCompile(`(?i)\b(?:there )?(?:is|are) no \w+|\bsomebody\b|\bnobody\b|\bwhoever\b|\bfor ever\b|\bwhat it is at\b|` +
	`\bg(?:one|oes) on with\b|\bexpected is\b|\bunless told\b|\b(?:is|are) told of\b|\b(?:is|not) to be had\b|\bof no account\b|\bwhat keeps\b`)

// plain matches what avoided finds in plain English.
var plain = regexp.MustCompile(`(?i)^there |^(?:is|are) no (?:longer|more|less|fewer)$`)

// lineBreak is a line end with the marks of a comment, a list or a quotation
// around it, so that a phrase is found across two lines.
var lineBreak = regexp.MustCompile(`\s*\n\s*(?://|--|>)?\s*`)

// names contain an avoided word but are not prose.
var names = strings.NewReplacer(`"nobody"`, "", "user nobody", "", "nobody.localhost", "", "http.NoBody", "")

// unread lists the beginnings of paths whose prose has not been revised. Remove
// one after its revision.
func unread() []string {
	return nil
}

// TestPlainEnglish checks that no Go, SQL or Markdown file uses a phrase that
// docs/style.md replaces.
func TestPlainEnglish(t *testing.T) {
	t.Parallel()
	checked, left := 0, map[string]int{}
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case !slices.Contains([]string{".go", ".sql", ".md"}, path.Ext(file)),
			file == "words_test.go", file == "docs/style.md", // they quote the phrases
			strings.HasPrefix(file, "sql/migrations/"): // they never change
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found := phrases(string(text))
		if i := slices.IndexFunc(unread(), func(p string) bool { return strings.HasPrefix(file, p) }); i >= 0 && !strings.HasPrefix(file, "web/reply/") {
			left[unread()[i]] += len(found)
			return nil
		}
		checked++
		for _, phrase := range found {
			t.Errorf("%s: %s (see docs/style.md)", file, phrase)
		}
		return nil
	})
	if err != nil || checked == 0 {
		t.Fatalf("checked %d files: %v", checked, err)
	}
	for _, p := range unread() {
		t.Logf("not yet revised: %s has %d of the phrases", p, left[p])
	}
}

// phrases returns the avoided phrases in text, each with its surroundings.
func phrases(text string) (found []string) {
	text = names.Replace(lineBreak.ReplaceAllString(text, " "))
	for _, at := range avoided.FindAllStringIndex(text, -1) {
		if !plain.MatchString(text[at[0]:at[1]]) {
			found = append(found, "…"+strings.ToValidUTF8(text[max(0, at[0]-30):min(len(text), at[1]+30)], "")+"…")
		}
	}
	return found
}

func TestPhrases(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"There is no pipeline, and a lock is no longer held.":        0,
		"// If there\n\t// is no file, start as \"nobody\".":         0,
		"what is no name of a branch":                                1,
		"-- It waits for\n-- ever. Somebody goes on with it.":        3,
		"the type is wrong; expected is Created; none is to be had.": 2,
	} {
		if got := phrases(text); len(got) != want {
			t.Errorf("phrases(%q) = %q, want %d", text, got, want)
		}
	}
}
