package client

import (
	"encoding/json"
	"errors"
	"io"
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
