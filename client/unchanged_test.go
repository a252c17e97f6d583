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

// TestUnchangedRelease begins releases that have the live files, probably, or
// nearly: the whole list is sent only to a server that answers that it has
// others, or does not know the question.
func TestUnchangedRelease(t *testing.T) {
	t.Parallel()
	files := []site.File{{Path: "a", SHA256: site.Digest{1}, Size: 2}, {Path: "b"}, {Path: "c"}, {Path: "d"}}
	changed := []site.File{files[0], {Path: "b", Size: 1}, files[2], files[3], {Path: "e"}}
	other := []site.File{files[0], {Path: "b", Size: 1}, files[2], files[3]}
	const list, manifest, base = `{"files":[{"path":"a"`, `"manifest":"`, `"base":"`
	for name, test := range map[string]struct {
		base   []site.File
		answer int // to the digest or the differences
		kind   troy.ErrorKind
		want   []string
		fails  bool
	}{
		"no base":                          {want: []string{list}},
		"the same":                         {base: files, answer: 201, want: []string{manifest}},
		"others are live":                  {base: files, answer: 409, kind: troy.Conflict, want: []string{manifest, list}},
		"an older server":                  {base: files, answer: 400, kind: troy.Invalid, want: []string{manifest, list}},
		"not allowed":                      {base: files, answer: 403, kind: troy.Forbidden, want: []string{manifest}, fails: true},
		"as many":                          {base: other, answer: 201, want: []string{base}},
		"changed":                          {base: changed, answer: 201, want: []string{base}},
		"changed, and others are live":     {base: changed, answer: 409, kind: troy.Conflict, want: []string{base, list}},
		"changed, for an older server":     {base: changed, answer: 400, kind: troy.Invalid, want: []string{base, list}},
		"changed, and the live is damaged": {base: changed, answer: 500, kind: troy.Internal, want: []string{base, list}},
		"changed, and too large":           {base: changed, answer: 413, kind: troy.TooLarge, want: []string{base, list}},
		"nearly all changed":               {base: files[:1], want: []string{list}},
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
			n := NewRelease{Files: files, Message: "m"}
			if test.base != nil {
				n.Base = &site.Manifest{Files: test.base}
			}
			r, err := c.BeginRelease(t.Context(), "blog", "key", n)
			if (err != nil) != test.fails || !test.fails && r.ID != id {
				t.Errorf("%v, %v", r, err)
			}
			if strings.Contains(bodies[0], base) && (strings.Contains(bodies[0], `"path":"a"`) || strings.Contains(bodies[0], `"removed":["e"]`) != (len(test.base) > len(files))) {
				t.Errorf("the differences are %s", bodies[0])
			}
			if !slices.EqualFunc(bodies, test.want, strings.Contains) || len(keys) != 1 || !keys["key"] {
				t.Errorf("the bodies are %q, want %q; the keys are %v", bodies, test.want, keys)
			}
		})
	}
}
