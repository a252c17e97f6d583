package intake_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// set sets a variable to a value that is not sealed, but says for what it would
// be.
func (w *world) set(p queries.Pipeline, name, of, value string, hidden bool) (string, error) {
	w.t.Helper()
	return w.in.SetVariable(w.ctx(), p.ID, intake.Variable{Name: name, Context: of, Secret: hidden, Seal: func(sealedFor string) ([]byte, error) {
		return []byte(value + " for " + sealedFor), nil
	}})
}

// values lists the values of a pipeline's variables.
func (w *world) values(p queries.Pipeline) string {
	w.t.Helper()
	rows, err := w.q.VariableList(w.ctx(), p.ID, "")
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, row := range rows {
		value, sealedFor, _ := strings.Cut(string(row.Value), " for ")
		if sealedFor != row.SealedFor {
			w.t.Errorf("%s for %s is sealed for %q, and would be opened for %q", row.Name, row.Context, sealedFor, row.SealedFor)
		}
		if row.Secret {
			value += "!"
		}
		list = append(list, fmt.Sprintf("%s %s=%s", row.Name, row.Context, value))
	}
	return strings.Join(list, ", ")
}

// TestVariablesHaveContexts sets and removes values for contexts, and for none.
func TestVariablesHaveContexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	for _, step := range []struct {
		name, of, value string
		hidden          bool
		stored, want    string
	}{
		{"A", "", "one", true, "production", "A production=one!"},
		{"A", "", "two", false, "all", "A all=two"}, // the only value, as before there were contexts
		{"A", "production", "three", true, "production", "A all=two, A production=three!"},
		{"A", "", "four", true, "production", "A all=two, A production=four!"},
		{"A", "", "five", false, "all", "A all=five, A production=four!"},
		{"A", "production", "six", false, "production", "A all=five, A production=six"},
		{"A", "all", "seven", true, "all", "A all=seven!, A production=six"},
		{"A", "preview:x", "eight", true, "preview:x", "A all=seven!, A preview:x=eight!, A production=six"},
		{"A", "preview:x", "nine", false, "preview:x", "A all=seven!, A preview:x=nine, A production=six"},
		{"A", "production", "ten", true, "production", "A all=seven!, A preview:x=nine, A production=ten!"},
	} {
		of, err := w.set(p, step.name, step.of, step.value, step.hidden)
		if err != nil || of != step.stored {
			t.Errorf("setting %s: %q, %v, want %s", step.value, of, err, step.stored)
		}
		if got := w.values(p); got != step.want {
			t.Errorf("after %s: %s, want %s", step.value, got, step.want)
		}
	}
	for _, step := range []struct {
		of   string
		kind troy.ErrorKind
		want string
	}{
		{"", troy.Invalid, "A all=seven!, A preview:x=nine, A production=ten!"},
		{"preview", troy.NotFound, "A all=seven!, A preview:x=nine, A production=ten!"},
		{"all", "", "A preview:x=nine, A production=ten!"},
		{"production", "", "A preview:x=nine"},
		{"", "", ""},
		{"", troy.NotFound, ""},
	} {
		if err := w.in.RemoveVariable(w.ctx(), p.ID, "A", step.of); err == nil != (step.kind == "") || err != nil && troy.KindOf(err) != step.kind {
			t.Errorf("removing for %q: %v", step.of, err)
		}
		if got := w.values(p); got != step.want {
			t.Errorf("after removing for %q: %s, want %s", step.of, got, step.want)
		}
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'variable.set' AND subject = 'A' AND detail = 'secret, preview:x'"); n != 1 {
		t.Errorf("%d entries say that the secret for preview:x was set, want 1", n)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'variable.remove' AND subject = 'A' AND detail = 'production'"); n != 1 {
		t.Errorf("%d entries say that the value for production was removed, want 1", n)
	}
}

// TestVersionBeforeSetsVariables runs the statement with which the version before
// sets a variable, beside values that it does not know.
func TestVersionBeforeSetsVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	before := func(value string, hidden bool) {
		w.exec(`INSERT INTO variables (pipeline_id, name, value, secret) VALUES ($1, 'A', $2, $3)
			ON CONFLICT (pipeline_id, name) DO UPDATE SET value = excluded.value, secret = excluded.secret, changed_at = now()`, p.ID, []byte(value+" for "), hidden)
	}
	before("one", false)
	for of, value := range map[string]string{"production": "two", "preview": "three"} {
		if _, err := w.set(p, "A", of, value, true); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := w.values(p), "A all=one, A preview=three!, A production=two!"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	before("four", true) // which takes the place of the value for production
	if got, want := w.values(p), "A preview=three!, A production=four!"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestVariablesForUnknownContexts sets and removes values for what is not a
// context. Nothing changes.
func TestVariablesForUnknownContexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	if _, err := w.set(p, "A", "", "one", false); err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"staging", "Preview", "preview:", "preview:a..b", "preview:-x", "preview:a b", "preview:" + strings.Repeat("x", 251), " preview", "all\x00"} {
		_, err := w.set(p, "A", of, "two", false)
		for _, err := range []error{err, w.in.RemoveVariable(w.ctx(), p.ID, "A", of)} {
			if e, ok := errors.AsType[*troy.Error](err); !ok || e.Kind != troy.Invalid || e.Field != "context" {
				t.Errorf("%q: %v, want Invalid at context", of, err)
			}
		}
	}
	if got := w.values(p); got != "A all=one" {
		t.Errorf("left is %s", got)
	}
	if _, err := w.set(p, "A", "preview:"+strings.Repeat("x", 250), "two", false); err != nil {
		t.Errorf("a branch name of 250 bytes: %v", err)
	}
}
