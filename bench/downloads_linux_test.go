package bench

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/internal/poll"
)

// repositoryTree is the content of a repository of 100 MB.
var repositoryTree = tree{name: "5,000 files, 100 MB", files: 5_000, bytes: 100e6, folders: 300}

// BenchmarkDownload gets the files of a commit as builds do, from a forge that has
// the archive ready, and with git from a server of the same repository, which has
// its pack ready.
func BenchmarkDownload(b *testing.B) {
	if _, err := exec.LookPath("git"); err != nil {
		b.Skip("git is not installed")
	}
	git := func(dir string, args ...string) {
		b.Helper()
		cmd := exec.CommandContext(b.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	dir := repositoryTree.write(b)
	git(dir, "init", "--quiet", "--initial-branch=main")
	git(dir, "add", ".")
	git(dir, "commit", "--quiet", "--message=one")
	git(dir, "repack", "-a", "-d", "--quiet")
	file := filepath.Join(b.TempDir(), "commit.tar.gz")
	git(dir, "archive", "--format=tar.gz", "--prefix=team-blog-0123/", "--output="+file, "HEAD")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }))
	defer server.Close()
	from, address := archiveForge{url: server.URL}, serveGit(b, dir)
	var ours, theirs []time.Duration
	for range rounds(b) {
		start := time.Now()
		source, err := forge.Source(b.Context(), from, forge.Repository{}, strings.Repeat("0", 40), forge.SourceConfig{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if err := build.Unpack(b.Context(), source, b.TempDir(), build.SourceLimits{}); err != nil {
			b.Fatal(err)
		}
		if err := source.Close(); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(start))
		start = time.Now()
		git(b.TempDir(), "clone", "--quiet", "--depth=1", address, "clone")
		theirs = append(theirs, time.Since(start))
	}
	pair("download of a repository of "+repositoryTree.name, ours, "git clone --depth 1", theirs, "≤ 1.0").add(b)
	b.ReportMetric(0, "ns/op")
}

// archiveForge is a forge that only has the archive of a commit.
type archiveForge struct {
	forge.Forge
	url string
}

func (f archiveForge) Archive(ctx context.Context, _ forge.Repository, _ string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// serveGit serves the repository in dir with git's own server, and returns its
// address.
func serveGit(b *testing.B, dir string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("git", "daemon", "--export-all", "--listen=127.0.0.1", "--port="+strconv.Itoa(port), "--base-path="+dir, dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address := "127.0.0.1:" + strconv.Itoa(port)
	if !poll.Until(b.Context(), 10*time.Second, 10*time.Millisecond, func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}) {
		b.Fatal("git's server does not answer")
	}
	return "git://" + address + "/"
}
