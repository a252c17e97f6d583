package e2e

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
)

// A folder of this machine is sent, built on CodeBuild and goes live. Neither the
// source nor anything of the build stays, also of builds that fail or are stopped.
func TestUploadToLiveOnCodeBuild(t *testing.T) {
	t.Parallel()
	a, w, _, _ := codeBuildWorld(t, awsdouble.Config{}, true)
	const host = "folder.sites.test"
	w.must("troy", "pipeline", "create", "folder")
	p, err := w.api.Pipeline(t.Context(), "folder")
	if err != nil {
		t.Fatal(err)
	}
	id := p.ID.String()
	w.waitFor(id, troy.ReadyForDeployment)
	w.input = "s3cret-value-1234"
	w.must("troy", "variable", "set", "folder", "TOKEN")
	big := make([]byte, 9<<20) // more than one part
	rand.Read(big)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("troy.toml", "[build]\ncommand = \"test ! -e .env && test ! -e left-out && test $TOKEN = s3cret-value-1234 && sh ./run.sh\"\noutput = \"dist\"\n", 0o644)
	write("run.sh", "set -e; test \"$(wc -c < big)\" = 9437184; mkdir dist; echo '<title>one</title>' > dist/index.html; echo token $TOKEN\n", 0o755)
	write("big", string(big), 0o644)
	write(".env", "PASSWORD=x\n", 0o600)
	write(".gitignore", "left-out\n", 0o644)
	write("left-out", "x", 0o644)

	_, said, status := w.run("troy", "deploy", "folder", "--upload", dir, "-f")
	if status != 0 {
		t.Fatalf("exit status %d\n%s\n%s", status, said, w.must("troy", "logs", "folder"))
	}
	w.waitFor(id, troy.Deployed)
	if status, body := a.get(t, host, "/"); status != 200 || body != "<title>one</title>\n" {
		t.Errorf("a reader gets %d %q", status, body)
	}
	if log := w.must("troy", "logs", "folder"); !strings.Contains(log, "==> Build: ") || strings.Contains(log, "s3cret") {
		t.Errorf("the log:\n%s", log)
	}
	nothing := func(of string) {
		t.Helper()
		w.eventually("no source is left "+of, func() bool {
			for _, bucket := range []string{sitesBucket, workBucket} {
				for _, key := range a.s3.Keys(t, bucket) {
					info, err := os.Stat(a.s3.File(bucket, key))
					if err == nil && info.Size() > 1<<20 || strings.HasPrefix(key, "builds/") || strings.HasPrefix(key, "records/") {
						return false
					}
				}
			}
			return true
		})
	}
	nothing("of a build that succeeded")

	write("run.sh", "exit 3\n", 0o755)
	if _, said, status := w.run("troy", "deploy", "folder", "--upload", dir, "-f"); status == 0 || !strings.Contains(said, "exit code") {
		t.Errorf("a build that fails: exit status %d\n%s", status, said)
	}
	nothing("of a build that failed")
	if status, body := a.get(t, host, "/"); status != 200 || !strings.Contains(body, "one") {
		t.Errorf("after the failed build a reader gets %d %q", status, body)
	}

	// One is stopped for a newer one, which is cancelled.
	write("run.sh", "sleep 600\n", 0o755)
	w.must("troy", "deploy", "folder", "--upload", dir, "--no-wait")
	w.eventually("CodeBuild runs the build", func() bool { return strings.HasSuffix(a.Builds()[0], "IN_PROGRESS") })
	write("later", "x", 0o644)
	w.must("troy", "deploy", "folder", "--upload", dir, "--no-wait")
	for d, err := range w.api.Deployments(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if !d.State.Ended() {
			w.must("troy", "cancel", "folder", d.ID.String())
		}
	}
	w.eventually("CodeBuild has stopped it", func() bool { return strings.HasSuffix(a.Builds()[0], "STOPPED") })
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	// It waits a few minutes, so that one turn does for many deployments.
	if _, err := db.Exec(t.Context(), "UPDATE work SET due_at = now() WHERE kind = 'retention' AND due_at > now() AND due_at < now() + interval '10 minutes'"); err != nil {
		t.Fatal(err)
	}
	nothing("of builds that were stopped and cancelled")

	w.must("troy", "pipeline", "delete", "folder", "--yes")
	w.waitFor(id, troy.Deleted)
	for _, key := range append(a.s3.Keys(t, sitesBucket), a.s3.Keys(t, workBucket)...) {
		if strings.Contains(key, id) {
			t.Errorf("%s is left", key)
		}
	}
}
