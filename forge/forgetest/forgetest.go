// Package forgetest is shared by the tests of the forges' packages: the suite
// for their parsers, and one-line summaries of events.
package forgetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
)

// Summary describes an event in one line.
func Summary(e troy.ForgeEvent) string {
	short := func(commit string) string { return commit[:min(8, len(commit))] }
	names := func(list []troy.ForgeRepository) (out []string) {
		for _, r := range list {
			out = append(out, r.FullName)
		}
		return out
	}
	switch e := e.(type) {
	case troy.PushEvent:
		s := fmt.Sprintf("push to %s by %s through %s, complete %v", e.Repository.ID, e.Pusher, e.Installation, e.Complete)
		for _, p := range e.Pushes {
			s += fmt.Sprintf("; %s %s ", p.Kind, p.Name)
			for _, flag := range []struct {
				set  bool
				name string
			}{{p.Created, "created "}, {p.Deleted, "deleted "}, {p.Forced, "forced "}} {
				if flag.set {
					s += flag.name
				}
			}
			subject, _, _ := strings.Cut(p.Message, "\n")
			s += fmt.Sprintf("%s..%s %q by %s, %d paths, all %v", short(p.Before), short(p.After), subject, p.Author, len(p.Paths), p.PathsComplete)
		}
		return s
	case troy.InstallationChange:
		return fmt.Sprintf("installation %s of app %s for %s %s, all %v, +%v -%v", e.ID, e.AppID, e.Account, e.Action, e.AllRepositories, names(e.Added), names(e.Removed))
	case troy.RepositoryChange:
		return fmt.Sprintf("repository %s %s %s, was %q, branch was %q", e.Repository.ID, e.Repository.FullName, e.Action, e.OldFullName, e.OldDefaultBranch)
	case troy.Rerequest:
		return fmt.Sprintf("rerequest of %s on %s in %s, run %s, button %q", short(e.Commit), e.Branch, e.Repository.ID, e.CheckRun, e.Action)
	case troy.PullRequest:
		return fmt.Sprintf("pull request %d %s, %s on %s to %s, fork %v, open %v", e.Number, e.Action, short(e.HeadCommit), e.Head, e.Base, e.Fork, e.Open)
	case troy.PullRequestCommand:
		return fmt.Sprintf("command on pull request %d of %s by %s %s, commit %q", e.Number, e.Repository.ID, e.Author.ID, e.Author.Name, e.Commit)
	case troy.Ping:
		return fmt.Sprintf("ping of %s, app %s", e.Hook, e.AppID)
	case troy.Ignored:
		return fmt.Sprintf("ignored %s %s", e.Name, e.Action)
	}
	return fmt.Sprintf("%T", e)
}

// NeedRecorded skips the test if there are no recorded payloads.
func NeedRecorded(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("skipped the recorded payloads; those of testdata were tested: %v", err)
	}
}

// Read reads a payload.
func Read(t *testing.T, name ...string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// Payloads parses the payloads of a folder and compares them with the table of
// their outcomes; each needs an entry. eventOf returns the event of a file.
func Payloads(t *testing.T, dir string, outcomes map[string]string, eventOf func(file string) string, parse func(event string, body []byte) (troy.ForgeEvent, error)) {
	t.Helper()
	for file, want := range outcomes {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			body := Read(t, dir, file)
			event, err := parse(eventOf(file), body)
			if err != nil {
				t.Fatal(err)
			}
			if got := Summary(event); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			// Half a payload is never accepted.
			if event, err := parse(eventOf(file), body[:len(body)/2]); err == nil || troy.KindOf(err) != troy.Invalid {
				t.Errorf("the first half of it gave %v, %v", event, err)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	if diff := cmp.Diff(files, slices.Sorted(maps.Keys(outcomes))); diff != "" {
		t.Errorf("the folder %s (-) against the table (+):\n%s", dir, diff)
	}
}

// With returns the body with one member, given as a path, set to a value in
// JSON or, if that is empty, removed.
func With(t *testing.T, body, path, value string) []byte {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal([]byte(body), &root); err != nil {
		t.Fatal(err)
	}
	names := strings.Split(path, ".")
	at := root
	for _, name := range names[:len(names)-1] {
		if list, ok := at[name].([]any); ok {
			at = list[0].(map[string]any)
			continue
		}
		at = at[name].(map[string]any)
	}
	last := names[len(names)-1]
	if value == "" {
		delete(at, last)
	} else {
		at[last] = json.RawMessage(value)
	}
	out, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// List returns a JSON list with an item n times.
func List(n int, item string) string {
	return "[" + strings.Repeat(item+",", n-1) + item + "]"
}

// Refused checks for an error that clients may see and that names the field.
func Refused(t *testing.T, event troy.ForgeEvent, err error, field string) {
	t.Helper()
	e, ok := errors.AsType[*troy.Error](err)
	if event != nil || !ok || e.Kind != troy.Invalid || e.Field != field {
		t.Errorf("got %v, %v; want a refusal at %s", event, err, field)
	}
}

// Sound checks the guarantees for every event that a parser accepts.
func Sound(t *testing.T, provider troy.Provider, e troy.ForgeEvent, err error) {
	t.Helper()
	if err != nil {
		if e != nil || troy.KindOf(err) != troy.Invalid {
			t.Fatalf("refused as %v, %v", e, err)
		}
		Line(t, err.Error(), 600)
		return
	}
	repository := func(r troy.ForgeRepository) {
		if r.Provider != provider || r.ID == "" || strings.Count(r.FullName, "/") != 1 {
			t.Errorf("got the repository %+v", r)
		}
		Line(t, r.ID, 40)
		Line(t, r.FullName, 255)
		Line(t, r.DefaultBranch, 255)
	}
	switch e := e.(type) {
	case troy.PushEvent:
		repository(e.Repository)
		Line(t, e.Pusher, 255)
		for _, p := range e.Pushes {
			if p.Name == "" || p.Kind != troy.Branch && p.Kind != troy.Tag || (p.After == "") && !p.Deleted || len(p.After) > 64 || len(p.Before) > 64 {
				t.Errorf("got %+v", p)
			}
			Line(t, p.Name, 255)
			Line(t, p.Author, 255)
			Line(t, strings.NewReplacer("\n", "", "\t", "").Replace(p.Message), troy.MaxMessage)
		}
	case troy.InstallationChange:
		for _, r := range append(e.Added, e.Removed...) {
			repository(r)
		}
		Line(t, e.Account, 255)
		Line(t, e.Sender, 255)
	case troy.RepositoryChange:
		repository(e.Repository)
		Line(t, e.OldFullName, 255)
		Line(t, e.OldDefaultBranch, 255)
	case troy.Rerequest:
		repository(e.Repository)
		for _, s := range []string{e.Branch, e.Action, e.ExternalID, e.Sender} {
			Line(t, s, 255)
		}
	case troy.PullRequest:
		repository(e.Repository)
		for _, s := range []string{
			e.Action, e.Title, e.Head, e.HeadCommit, e.HeadRepository, e.HeadFullName, e.Base, e.Author.ID, e.Author.Name, e.Sender,
		} {
			Line(t, s, 255)
		}
		if e.Number <= 0 || e.Fork != (e.HeadRepository != e.Repository.ID) {
			t.Errorf("got the pull request %+v", e)
		}
	case troy.PullRequestCommand:
		repository(e.Repository)
		for _, s := range []string{e.Author.ID, e.Author.Name, e.Commit} {
			Line(t, s, 255)
		}
		if e.Number <= 0 || e.Author.ID == "" || e.Time.IsZero() {
			t.Errorf("got the command %+v", e)
		}
	case troy.Ping:
	case troy.Ignored:
		Line(t, e.Name, 128)
		Line(t, e.Action, 255)
	default:
		t.Errorf("got %T", e)
	}
}

// Line checks for a text that can be stored and shown.
func Line(t *testing.T, s string, most int) {
	t.Helper()
	if utf8.RuneCountInString(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		t.Errorf("got the text %q", s)
	}
}
