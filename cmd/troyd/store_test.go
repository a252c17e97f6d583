package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/site"
)

// TestStoreCommands checks and repairs a store in which a pack gets a wrong bit.
func TestStoreCommands(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c, err := localcloud.New(localcloud.Config{Root: filepath.Join(data, "cloud")})
	if err != nil {
		t.Fatal(err)
	}
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	m, bytes := site.Manifest{}, strings.Builder{}
	for i := range 30 {
		text := fmt.Sprintf("file %d", i)
		bytes.WriteString(text)
		m.Files = append(m.Files, site.File{Path: fmt.Sprintf("%d.txt", i), SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text))})
	}
	if _, err := c.Store.Begin(t.Context(), tree, m); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Store.PutAll(t.Context(), tree, m.Files, strings.NewReader(bytes.String())); err != nil {
		t.Fatal(err)
	}
	if err := c.Store.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		status, out, problem := finish(t, troyd(t, []string{"TROY_DATA_DIR=" + data}, append([]string{"store"}, args...)...))
		if status != want {
			t.Errorf("store %s: exit status %d, want %d: %s%s", strings.Join(args, " "), status, want, out, problem)
		}
		for line := range strings.Lines(out) { // JSON may be longer
			if len(strings.TrimRight(line, "\n")) > 80 && args[len(args)-1] != "--json" {
				t.Errorf("a line has more than 80 columns: %s", line)
			}
		}
		return out
	}
	if out := run(0, "check"); !strings.Contains(out, "1 sites, 1 deployments; 30 files verified") {
		t.Errorf("check prints %s", out)
	}
	packs, err := filepath.Glob(filepath.Join(data, "cloud/sites/*/packs/*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs are %v, %v", packs, err)
	}
	content, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len("troypak1")+36] ^= 1 // of the first file
	if err := os.WriteFile(packs[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(4, "check")
	for _, want := range []string{filepath.Base(packs[0]), "29 of its files are good", tree.Deployment.String(), "lacks 1 of its files", `"0.txt"`} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not print %s: %s", want, out)
		}
	}
	if out := run(4, "repair"); !strings.Contains(out, "moved") {
		t.Errorf("repair prints %s", out)
	}
	var report localcloud.Report
	if err := json.Unmarshal([]byte(run(4, "check", "--json")), &report); err != nil || len(report.Damaged) != 0 || len(report.Broken) != 1 {
		t.Errorf("after the repair: %+v, %v", report, err)
	}
	if err := c.Store.Remove(t.Context(), tree.Pipeline, tree.Deployment); err != nil {
		t.Fatal(err)
	}
	run(0, "check")
	run(2, "check", "extra")
}
