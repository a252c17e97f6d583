package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/poll"
)

// killed is how many releases TestReleasesSurviveKills sends, unless
// TROY_TEST_KILLS is set.
const killed = 10

// The command or the server is killed while a release is sent. The next run of
// the command, or the same one, ends with each byte right.
func TestReleasesSurviveKills(t *testing.T) {
	t.Parallel()
	rounds := killed
	if text := os.Getenv("TROY_TEST_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("TROY_TEST_KILLS: %v", err)
		}
		rounds = n
	}
	w := newWorld(t)
	web := w.start("web")
	w.start("edge")
	w.start("work")
	w.must("troy", "pipeline", "create", "Blog")
	w.waitFor("blog", troy.ReadyForDeployment)
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	mid := 0
	for round := range rounds {
		// The kills of a day take minutes here. What they leave must not fill the
		// pipeline's room.
		if _, err := db.Exec(t.Context(), "UPDATE releases SET touched_at = touched_at - interval '20 minutes' WHERE finalized_at IS NULL"); err != nil {
			t.Fatal(err)
		}
		contents := map[string]string{"index.html": fmt.Sprint("<title>round ", round, "</title>")}
		for i := range 4000 {
			contents[fmt.Sprintf("p/%d/%d.html", i%40, i)] = strings.Repeat(fmt.Sprint("page ", i, " of round ", round, "\n"), 1+i%40)
		}
		dir := w.folder(contents)
		before := w.calls("store.putall", "")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		cli := exec.CommandContext(ctx, filepath.Join(binaries, "troy"), "release", dir, "--pipeline", "blog", "--no-cache")
		cli.Env = append(w.env, "TROY_URL=http://"+w.web, "TROY_TOKEN="+w.token)
		var out bytes.Buffer
		cli.Stdout, cli.Stderr = &out, &out
		if err := cli.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cli.Wait() }()
		// Eight batches: it is killed after some of them, a moment later.
		after := before + round%8
		poll.Until(ctx, time.Minute, time.Millisecond, func() bool { return w.calls("store.putall", "") >= after || len(ended) > 0 })
		<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
		if w.calls("store.putall", "") < before+8 {
			mid++
		}
		if round%2 == 0 {
			_ = cli.Process.Signal(syscall.SIGKILL)
			if err := <-ended; err == nil {
				t.Log("the release ended before it could be killed")
			}
			w.must("troy", "release", dir, "--pipeline", "blog", "--no-cache")
		} else {
			web.kill()
			web = w.start("web")
			if err := <-ended; err != nil {
				t.Errorf("round %d: the command ended: %v\n%s", round, err, out.String())
			}
		}
		cancel()
		for path, content := range contents {
			if path == "index.html" {
				path = ""
			} else if rand.IntN(40) > 0 {
				continue
			}
			if status, body, _ := w.get("blog.localhost", "/"+path); status != 200 || body != content {
				t.Fatalf("round %d: %q answers %d with %d bytes, want %d", round, path, status, len(body), len(content))
			}
		}
	}
	if mid < rounds/3 {
		t.Errorf("%d of %d were killed before the last batch", mid, rounds)
	}
	if out, diag, status := w.run("troyd", "store", "check"); status != 0 {
		t.Errorf("the store has faults:\n%s%s", out, diag)
	}
}
