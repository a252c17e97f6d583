package workers

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func upload(t *testing.T, store cloud.Store, tree site.Tree, files map[string]string) {
	t.Helper()
	var m site.Manifest
	content := map[site.Digest]string{}
	for path, text := range files {
		d := site.Digest(sha256.Sum256([]byte(text)))
		m.Files = append(m.Files, site.File{Path: path, SHA256: d, Size: int64(len(text))})
		content[d] = text
	}
	missing, err := store.Begin(t.Context(), tree, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range missing {
		if err := store.Put(t.Context(), tree, f, strings.NewReader(content[f.SHA256])); err != nil {
			t.Fatal(err)
		}
	}
}
