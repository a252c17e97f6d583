package forge_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/internal/devstack/gittest"
)

// host is a forge's host: repositories over smart HTTP (git-http-backend(1)),
// and an LFS server. "team/…" requires the token, "open/…" does not.
type host struct {
	forge.Forge // unused
	t           *testing.T
	dir         string
	server      *httptest.Server
	noArchive   bool
	submodules  []string          // the listed ones
	objects     map[string]string // LFS files by digest
	stall       string            // a request whose path contains it hangs
	stalled     chan struct{}     // called for each

	mu     sync.Mutex
	asked  []string // paths
	clones []string // repositories for which a token was requested
}

const hostToken = "ghs_SECRET-token_0123456789abcdefghijklmnop"

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir(), objects: map[string]string{}, stalled: make(chan struct{}, 100)}
	git, err := gittest.Server(t.Context(), h.dir)
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked = append(h.asked, r.URL.Path)
		h.mu.Unlock()
		if h.stall != "" && strings.Contains(r.URL.Path, h.stall) {
			_, _ = io.Copy(io.Discard, r.Body) // the end of the connection shows only then
			h.stalled <- struct{}{}
			<-r.Context().Done()
			return
		}
		if _, password, _ := r.BasicAuth(); strings.HasPrefix(r.URL.Path, "/team/") && password != hostToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/info/lfs/objects/batch"):
			h.batch(w, r)
		case strings.HasPrefix(r.URL.Path, "/media/"):
			_, _ = io.WriteString(w, h.objects[strings.TrimPrefix(r.URL.Path, "/media/")])
		default:
			git.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *host) batch(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Objects []struct {
			OID string `json:"oid"`
		} `json:"objects"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	object := map[string]any{"oid": ask.Objects[0].OID}
	switch content, known := h.objects[ask.Objects[0].OID]; {
	case !known:
		object["error"] = map[string]any{"code": 404, "message": "gone"}
	case content == "elsewhere":
		object["actions"] = map[string]any{"download": map[string]any{"href": "https://127.0.0.1:9/secrets"}}
	default:
		object["actions"] = map[string]any{"download": map[string]any{"href": h.server.URL + "/media/" + ask.Objects[0].OID}}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": []any{object}})
}

// git runs git in a repository as a developer would.
func (h *host) git(repository string, args ...string) string {
	h.t.Helper()
	out, err := gittest.Command(h.t.Context(), filepath.Join(h.dir, repository), args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files and commits them. links are submodules by path.
func (h *host) commit(repository string, files, links map[string]string) string {
	h.t.Helper()
	work := filepath.Join(h.dir, repository)
	if _, err := os.Stat(work); err != nil {
		if err := os.MkdirAll(work, 0o755); err != nil {
			h.t.Fatal(err)
		}
		h.git(repository, "init", "--quiet", "-b", "main")
	}
	for name, content := range files {
		file := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	h.git(repository, "add", "--all")
	for path, commit := range links {
		h.git(repository, "update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	}
	h.git(repository, "commit", "--quiet", "--allow-empty", "-m", "change")
	return h.git(repository, "rev-parse", "HEAD")
}

// Archive implements forge.Forge as GitHub does: without submodules.
func (h *host) Archive(ctx context.Context, r forge.Repository, commit string) (io.ReadCloser, error) {
	if h.noArchive {
		return nil, troy.Errorf(troy.Conflict, "the archive: %w", forge.ErrNoArchive)
	}
	out, err := gittest.Command(ctx, filepath.Join(h.dir, r.FullName+".git"), "archive", "--format=tar.gz", "--prefix=team-blog-0123/", commit).Output()
	return io.NopCloser(bytes.NewReader(out)), err
}

// Clone implements forge.Forge.
func (h *host) Clone(_ context.Context, r forge.Repository) (forge.Clone, error) {
	h.mu.Lock()
	h.clones = append(h.clones, r.FullName)
	h.mu.Unlock()
	clone := forge.Clone{URL: h.server.URL + "/" + r.FullName + ".git"}
	if strings.HasPrefix(r.FullName, "open/") {
		return clone, troy.Errorf(troy.NotFound, "not of this installation: %w", forge.ErrNoRepository)
	}
	clone.Credential = forge.Credential{Username: "x-access-token", Password: hostToken}
	return clone, nil
}

// source reads forge.Source's result: the files' contents by path.
func (h *host) source(commit string) (map[string]string, error) {
	h.t.Helper()
	r, err := forge.Source(h.t.Context(), h, forge.Repository{Installation: "1", FullName: "team/blog"}, commit, forge.SourceConfig{Dir: h.scratch(), Submodules: h.submodules})
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		h.t.Fatal(err)
	}
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return map[string]string{"": "the forge's archive"}, nil
	}
	files := map[string]string{}
	archive := tar.NewReader(bytes.NewReader(data))
	for {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			h.t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			h.t.Fatal(err)
		}
		if entry.Typeflag == tar.TypeReg {
			files[entry.Name] = string(content)
		}
	}
}

// scratch is a folder that has to be empty when the test ends.
func (h *host) scratch() string {
	dir := h.t.TempDir()
	h.t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			h.t.Errorf("temporary files were left: %v, %v", left, err)
		}
	})
	return dir
}

func pointerTo(content string) string {
	sum := sha256.Sum256([]byte(content))
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", hex.EncodeToString(sum[:]), len(content))
}

func (h *host) keep(content string) {
	sum := sha256.Sum256([]byte(content))
	h.objects[hex.EncodeToString(sum[:])] = content
}

func TestSourceOfAPlainRepositoryIsTheArchive(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	commit := h.commit("team/blog.git", map[string]string{"index.html": "hello", ".gitattributes": "*.png binary\n", "docs/.gitmodules": "not at the root"}, nil)
	files, err := h.source(commit)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"": "the forge's archive"}, files); diff != "" || len(h.clones) != 0 {
		t.Errorf("the source (-want +got):\n%s%d clones", diff, len(h.clones))
	}
}

func TestSourceWithoutAnArchiveIsCloned(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.noArchive = true
	commit := h.commit("team/blog.git", map[string]string{"index.html": "hello", "a/b.txt": "deep"}, nil)
	h.commit("team/blog.git", map[string]string{"index.html": "later"}, nil)
	files, err := h.source(commit)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"source/index.html": "hello", "source/a/b.txt": "deep"}, files); diff != "" {
		t.Errorf("the source (-want +got):\n%s", diff)
	}
}

// Submodules with a relative address, with SSH to the same host, nested, one in
// .gitmodules without a link, and a link without an address.
func TestSourceWithSubmodules(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.submodules = []string{"Team/Theme"}
	deep := h.commit("open/icons.git", map[string]string{"icon.svg": "<svg/>"}, nil)
	theme := h.commit("team/theme.git", map[string]string{
		"theme.css":   "body{}",
		".gitmodules": "[submodule \"icons\"]\n\tpath = icons\n\turl = ../../open/icons.git\n",
	}, map[string]string{"icons": deep})
	gone := h.commit("team/gone.git", map[string]string{"x": "x"}, nil)
	sshHost, _, _ := strings.Cut(strings.TrimPrefix(h.server.URL, "http://"), ":")
	commit := h.commit("team/blog.git", map[string]string{
		"index.html": "hello",
		".gitmodules": "[submodule \"theme\"]\n\tpath = vendor/theme\n\turl = ../theme.git\n" +
			"[submodule \"icons\"]\n\tpath = icons\n\turl = git@" + sshHost + ":open/icons.git\n" +
			"[submodule \"leftover\"]\n\tpath = leftover\n\turl = file:///etc\n",
	}, map[string]string{"vendor/theme": theme, "icons": deep, "unnamed": gone})
	files, err := h.source(commit)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, "source/.gitmodules")
	delete(files, "source/vendor/theme/.gitmodules")
	want := map[string]string{
		"source/index.html": "hello", "source/vendor/theme/theme.css": "body{}", "source/vendor/theme/icons/icon.svg": "<svg/>", "source/icons/icon.svg": "<svg/>",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("the source (-want +got):\n%s", diff)
	}
	if !strings.Contains(strings.Join(h.clones, " "), "team/theme") {
		t.Errorf("the submodule's own credential was not requested: %q", h.clones)
	}
}

// A committer chooses the submodules, so a private repository is read only if
// it is listed.
func TestPrivateSubmodulesAreListed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listed []string
		url    string
		read   bool
	}{
		"not listed":               {nil, "../payroll.git", false},
		"by its full address":      {nil, "HOST/team/payroll.git", false},
		"with a user":              {nil, "git@SSHHOST:team/payroll.git", false},
		"through a folder and out": {nil, "../../team/payroll", false},
		"another is listed":        {[]string{"team/theme", "teams/*", "team/pay*"}, "../payroll.git", false},
		"listed":                   {[]string{"team/payroll"}, "../payroll.git", true},
		"all of the owner's":       {[]string{"team/*"}, "../payroll.git", true},
		"the repository itself":    {nil, "../blog.git", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.submodules = c.listed
			repository := "team/payroll.git"
			if name == "the repository itself" {
				repository = "team/blog.git"
			}
			linked := h.commit(repository, map[string]string{"salaries.txt": "secret"}, nil)
			sshHost, _, _ := strings.Cut(strings.TrimPrefix(h.server.URL, "http://"), ":")
			address := strings.NewReplacer("SSHHOST", sshHost, "HOST", h.server.URL).Replace(c.url)
			commit := h.commit("team/blog.git", map[string]string{".gitmodules": "[submodule \"sub\"]\n\tpath = sub\n\turl = " + address + "\n"}, map[string]string{"sub": linked})
			files, err := h.source(commit)
			switch {
			case c.read && (err != nil || files["source/sub/salaries.txt"] != "secret"):
				t.Errorf("%v, %v", files, err)
			case !c.read && (troy.KindOf(err) != troy.NotFound || !strings.Contains(fmt.Sprint(err), "TROY_SUBMODULES")):
				t.Errorf("%v, %v; want an error that it is not listed", files, err)
			}
		})
	}
	for entry, good := range map[string]bool{"team/theme": true, "team/*": true, "*": false, "*/theme": false, "team/t*": false, "": false, "team": false} {
		if err := forge.CheckSubmodules([]string{entry}); (err == nil) != good {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

func TestSubmodulesAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url  string
		kind troy.ErrorKind
		says string
	}{
		"a file":            {"file:///etc/passwd", troy.Invalid, "can't be read"},
		"a helper":          {"ext::sh -c id", troy.Invalid, "can't be read"},
		"http elsewhere":    {"http://example.com/a/b.git", troy.Invalid, "neither https"},
		"another port":      {"https://example.com:8443/a/b.git", troy.Invalid, "neither https"},
		"ssh elsewhere":     {"ssh://git@example.com/a/b.git", troy.Invalid, "neither https"},
		"this machine":      {"https://127.0.0.1/a/b.git", troy.Forbidden, "not a public address of the internet"},
		"this machine, v6":  {"https://[::1]/a/b.git", troy.Forbidden, "not a public address of the internet"},
		"the metadata":      {"https://169.254.169.254/latest", troy.Forbidden, "not a public address of the internet"},
		"a private address": {"https://10.0.0.1/a/b.git", troy.Forbidden, "not a public address of the internet"},
		"out of the host":   {"../../../..", troy.Invalid, "leads out of"},
		"a missing one":     {"../nothing.git", troy.NotFound, "the submodule \"sub\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			other := h.commit("team/other.git", map[string]string{"x": "x"}, nil)
			commit := h.commit("team/blog.git", map[string]string{
				".gitmodules": "[submodule \"sub\"]\n\tpath = sub\n\turl = " + c.url + "\n",
			}, map[string]string{"sub": other})
			_, err := h.source(commit)
			if troy.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("%v (%s); want %s with %q", err, troy.KindOf(err), c.kind, c.says)
			}
		})
	}
}

func TestSourceWithLFSFiles(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	photo := strings.Repeat("pixels ", 1000)
	h.keep(photo)
	commit := h.commit("team/blog.git", map[string]string{
		".gitattributes": "*.jpg filter=lfs diff=lfs merge=lfs -text\n", "photo.jpg": pointerTo(photo), "small.txt": "version 1\n",
		".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:9/steal\n",
	}, nil)
	files, err := h.source(commit)
	if err != nil {
		t.Fatal(err)
	}
	if files["source/photo.jpg"] != photo || files["source/small.txt"] != "version 1\n" {
		t.Errorf("photo.jpg has %d bytes, small.txt is %q", len(files["source/photo.jpg"]), files["source/small.txt"])
	}

	for name, c := range map[string]struct{ content, stored, says string }{
		"a missing one":      {"never sent", "", "has no such file"},
		"a different one":    {"original", "replaced", "does not match its digest"},
		"a short one":        {"original two", "orig", "does not match its digest"},
		"one near this host": {"original three", "elsewhere", "not at a public address of the internet"},
	} {
		if c.stored != "" {
			sum := sha256.Sum256([]byte(c.content))
			h.objects[hex.EncodeToString(sum[:])] = c.stored
		}
		commit := h.commit("team/blog.git", map[string]string{"photo.jpg": pointerTo(c.content)}, nil)
		if _, err := h.source(commit); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "photo.jpg") {
			t.Errorf("%s: %v; want photo.jpg named, and %q", name, err, c.says)
		}
	}
}

func TestCloneFailsInWords(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.noArchive = true
	h.commit("team/blog.git", map[string]string{"index.html": "hello"}, nil)
	_, err := h.source(strings.Repeat("ab", 20)) // removed by a force-push
	if !errors.Is(err, forge.ErrNoCommit) || troy.KindOf(err) != troy.NotFound {
		t.Errorf("a removed commit: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(h.dir, "team/blog.git")); err != nil {
		t.Fatal(err)
	}
	_, err = h.source(strings.Repeat("ab", 20))
	if !errors.Is(err, forge.ErrNoRepository) || strings.Contains(err.Error(), hostToken) {
		t.Errorf("a removed repository: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := forge.Source(ctx, h, forge.Repository{FullName: "team/blog"}, strings.Repeat("ab", 20), forge.SourceConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}
