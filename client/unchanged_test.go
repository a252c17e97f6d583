package client

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// TestUnchangedRelease begins a release that probably has the live files: the
// list is sent only to a server that answers that it has others, or does not
// know the question.
func TestUnchangedRelease(t *testing.T) {
	t.Parallel()
	files := []site.File{{Path: "a", SHA256: site.Digest{1}, Size: 2}}
	const list, manifest = `"files":[{"path":"a"`, `"manifest":"`
	for name, test := range map[string]struct {
		unchanged bool
		answer    int // to the digest
		kind      troy.ErrorKind
		want      []string
		fails     bool
	}{
		"changed":         {want: []string{list}},
		"the same":        {unchanged: true, answer: 201, want: []string{manifest}},
		"others are live": {unchanged: true, answer: 409, kind: troy.Conflict, want: []string{manifest, list}},
		"an older server": {unchanged: true, answer: 400, kind: troy.Invalid, want: []string{manifest, list}},
		"not allowed":     {unchanged: true, answer: 403, kind: troy.Forbidden, want: []string{manifest}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, keys := uuid.New(), map[string]bool{}
			var bodies []string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies = append(bodies, string(body))
				keys[r.Header.Get("Idempotency-Key")] = true
				if test.answer >= 400 && len(bodies) == 1 {
					refuse(w, test.answer, test.kind, "no")
					return
				}
				_, _ = io.WriteString(w, `{"id":"`+id.String()+`"}`)
			})
			r, err := c.BeginRelease(t.Context(), "blog", "key", NewRelease{Files: files, Message: "m", Unchanged: test.unchanged})
			if (err != nil) != test.fails || !test.fails && r.ID != id {
				t.Errorf("%v, %v", r, err)
			}
			if !slices.EqualFunc(bodies, test.want, strings.Contains) || len(keys) != 1 || !keys["key"] {
				t.Errorf("the bodies are %q, want %q; the keys are %v", bodies, test.want, keys)
			}
		})
	}
}
