package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
)

// TestRestoredBackup restores a dump that is older than the live sites: the
// next deployment goes live above the pointer in force, and a distribution that
// is not in the dump is adopted.
func TestRestoredBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web, work := w.start("web"), w.start("work")
	w.start("edge")
	blog := w.event("Created", "blog", time.Now())
	w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog")
	w.fault("cdn.create hang\n")
	docs := w.event("Created", "docs", time.Now())
	w.waitFor(docs, troy.Provisioning)

	dump := filepath.Join(w.dir, "dump.sql")
	command := func(name string, args ...string) {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed: %v", name, err)
		}
		if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	command("pg_dump", "--no-owner", "--clean", "--if-exists", "--file", dump, w.database)
	w.fault("")
	w.waitFor(docs, troy.ReadyForDeployment)
	for _, version := range []string{"two", "three", "four"} {
		w.must("troy", "release", w.folder(page(version)), "--pipeline", "blog")
	}
	w.must("troy", "release", w.folder(page("docs")), "--pipeline", "docs")
	for _, p := range []*process{web, work} {
		p.kill()
	}

	command("psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", dump, w.database)
	w.redis.FlushAll()
	w.start("web")
	w.start("work")
	p := w.waitFor(blog, troy.Deployed)
	if status, body, live := w.get("blog.localhost", "/"); status != 200 || !strings.Contains(body, "<title>four</title>") || p.LiveDeploymentID.String() == live {
		t.Errorf("the site shows %d %.40q of %s, and the row has %s: want what was live, which the row does not know", status, body, live, p.LiveDeploymentID)
	}
	w.must("troy", "release", w.folder(page("five")), "--pipeline", "blog")
	if _, body, live := w.get("blog.localhost", "/"); !strings.Contains(body, "<title>five</title>") || live != w.live(blog) {
		t.Errorf("after another release the site shows %.40q of %s", body, live)
	}
	w.waitFor(docs, troy.ReadyForDeployment)
	if n := len(w.distributions()); n != 2 {
		t.Errorf("%d distributions of two pipelines", n)
	}
	w.must("troy", "release", w.folder(page("docs again")), "--pipeline", "docs")
	if _, body, _ := w.get("docs.localhost", "/"); !strings.Contains(body, "<title>docs again</title>") {
		t.Errorf("the adopted site shows %.40q", body)
	}
	if _, err := os.Stat(dump); err != nil {
		t.Error(err)
	}
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	var last int64
	if err := db.QueryRow(t.Context(), "SELECT last_sequence FROM pipelines WHERE id = $1", blog).Scan(&last); err != nil || last != 5 {
		t.Errorf("the last sequence is %d, %v; four was in force", last, err)
	}
}
