package client

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

func TestManifestReader(t *testing.T) {
	t.Parallel()
	for _, n := range []NewRelease{
		{Files: []site.File{}},
		{Files: []site.File{{Path: `a "b" <c>.html`, SHA256: site.Digest{1}, Size: 5}}, Message: "ä & ü"},
		{Files: []site.File{{Path: "a"}, {Path: "b", Size: 1 << 40}}, Strict: true, Config: []rules.ConfigFile{{Name: "troy.toml", Text: "x = 1"}}},
	} {
		k, err := manifestCall("/x", n)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			body, err := k.body()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(iotest.OneByteReader(body))
			if err != nil || int64(len(text)) != k.size {
				t.Errorf("%d bytes, want %d, %v", len(text), k.size, err)
			}
			var got NewRelease
			if err := json.Unmarshal(text, &got); err != nil || !cmp.Equal(got, n) {
				t.Errorf("%s: %v, %s", text, err, cmp.Diff(got, n))
			}
		}
	}
}

func TestReleaseIsDecodedPieceByPiece(t *testing.T) {
	t.Parallel()
	limits := site.DefaultBatchLimits()
	want := Release{ID: uuid.New(), PipelineID: uuid.New(), Limits: Limits{1, 2, 3}, Direct: true, Batch: &limits,
		Missing: []site.File{{Path: "a/ä.html", SHA256: site.Digest{7}, Size: 3}, {Path: "b"}}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	decoded := func(text string) (Release, error) {
		r := Release{Finalized: true}
		return r, decodeAnswer(iotest.HalfReader(strings.NewReader(text)), &r)
	}
	var got Release
	if err := decodeAnswer(strings.NewReader(string(text)), &got); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v: %s", err, cmp.Diff(got, want))
	}
	for text, fails := range map[string]bool{
		`{"missing":null,"new":{"a":[1]},"id":"` + want.ID.String() + `"}`: false, `{}`: false,
		``: true, `[]`: true, `{"missing":{}}`: true, `{"missing":[1]}`: true, `{"id":"x"}`: true, `{"missing":[{"path":"a"}`: true,
	} {
		if _, err := decoded(text); (err != nil) != fails {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := decoded(string(text[:len(text)-30])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut answer: %v", err)
	}
}

// TestAllMissing begins a release at a server that answers briefly, and at an
// older one.
func TestAllMissing(t *testing.T) {
	t.Parallel()
	files := []site.File{{Path: "a", SHA256: site.Digest{1}, Size: 2}, {Path: "b", SHA256: site.Digest{2}}, {Path: "c", SHA256: site.Digest{1}, Size: 2}}
	list, err := json.Marshal(files[:2])
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{"brief": `{"missing":[],"all_missing":true}`, "a list": `{"missing":` + string(list) + `}`} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "brief=true" {
				t.Errorf("%s: the query is %q", name, r.URL.RawQuery)
			}
			_, _ = io.WriteString(w, answer)
		})
		r, err := c.BeginRelease(t.Context(), "blog", "key", NewRelease{Files: files})
		if err != nil || !cmp.Equal(r.Missing, files[:2]) {
			t.Errorf("%s: %v, %v", name, r.Missing, err)
		}
	}
}

// TestACutAnswerDoesNotCount begins a release whose first answer ends within the
// list of missing files.
func TestACutAnswerDoesNotCount(t *testing.T) {
	t.Parallel()
	files := []site.File{{Path: "a", SHA256: site.Digest{1}, Size: 2}, {Path: "b", SHA256: site.Digest{2}}}
	answer, err := json.Marshal(map[string]any{"missing": files})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		text := answer
		if calls == 1 {
			text = text[:len(text)-10]
		}
		_, _ = w.Write(text)
	})
	r, err := c.BeginRelease(t.Context(), "blog", "key", NewRelease{Files: files})
	if err != nil || calls != 2 || !cmp.Equal(r.Missing, files) {
		t.Errorf("after %d calls %v are missing, %v", calls, r.Missing, err)
	}
}
