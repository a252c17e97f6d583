package toolchain

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// fakeModules is a module proxy, which also serves a checksum database.
type fakeModules struct {
	*httptest.Server
	key  string // of the database
	sums http.Handler

	mu       sync.Mutex
	archives map[string][]byte // by version
	signed   map[string]string // the digests that the database has
	gets     map[string]int
	// fail answers paths with this suffix with 503; cut sends half of an archive.
	fail string
	cut  bool
	// unlisted are versions that the list lacks.
	unlisted []string
	// hang is a suffix of paths that are not answered.
	hang string
	// moved is a database that has only the full tiles of level 0.
	moved bool
	// noSums is a proxy that does not serve the database.
	noSums bool
}

func newFakeModules(t *testing.T) *fakeModules {
	t.Helper()
	m := &fakeModules{archives: map[string][]byte{}, signed: map[string]string{}, gets: map[string]int{}}
	private, public, err := note.GenerateKey(nil, "sums.test")
	if err != nil {
		t.Fatal(err)
	}
	m.key = public
	m.sums = sumdb.NewServer(sumdb.NewTestServer(private, func(path, version string) ([]byte, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		digest := m.signed[version]
		if digest == "" {
			return nil, os.ErrNotExist
		}
		return fmt.Appendf(nil, "%s %s %s\n%s %s/go.mod %s\n", path, version, digest, path, version, digest), nil
	}))
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *fakeModules) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.gets[r.URL.Path]++
	fail, cut, noSums := m.fail != "" && strings.HasSuffix(r.URL.Path, m.fail), m.cut, m.noSums
	hang, moved := m.hang != "" && strings.HasSuffix(r.URL.Path, m.hang), m.moved && strings.HasPrefix(r.URL.Path, "/sumdb/sums.test/tile/8/0/") && strings.Contains(r.URL.Path, ".p/")
	versions := m.archives
	m.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return
	}
	path, isDatabase := strings.CutPrefix(r.URL.Path, "/sumdb/sums.test")
	if direct, found := strings.CutPrefix(r.URL.Path, "/direct"); found {
		path, isDatabase, noSums = direct, true, false
	}
	switch {
	case moved:
		w.WriteHeader(http.StatusNotFound)
	case fail:
		w.WriteHeader(http.StatusServiceUnavailable)
	case isDatabase && noSums:
		w.WriteHeader(http.StatusNotFound)
	case path == "/supported":
	case isDatabase:
		r.URL.Path = path
		m.sums.ServeHTTP(w, r)
	case strings.HasSuffix(r.URL.Path, "/@v/list"):
		_, _ = fmt.Fprint(w, "v0.0.1-go1.22.1.plan9-amd64\nv0.0.1-go1.30rc1."+goPlatform()+"\n")
		for version := range versions {
			if !slices.Contains(m.unlisted, version) {
				_, _ = fmt.Fprintln(w, version)
			}
		}
	case strings.HasSuffix(r.URL.Path, ".info"):
		if versions[strings.TrimSuffix(filepath.Base(r.URL.Path), ".info")] == nil {
			w.WriteHeader(http.StatusNotFound)
		}
	default:
		data := versions[strings.TrimSuffix(filepath.Base(r.URL.Path), ".zip")]
		if cut {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			data = data[:len(data)/2]
		}
		_, _ = w.Write(data)
	}
}

// add publishes a release of Go whose program prints its version.
func (m *fakeModules) add(t *testing.T, version string) {
	t.Helper()
	module := "v0.0.1-go" + version + "." + goPlatform()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for _, f := range [][2]string{
		{"bin/go", "#!/bin/sh\necho go " + strings.TrimSuffix(version, ".0") + "\n"}, {"bin/gofmt", "#!/bin/sh\n"},
		{"pkg/tool/compile", "#!/bin/sh\necho compiled\n"}, {"src/_go.mod", "module std\n"}, {"VERSION", "go" + version},
	} {
		w, err := z.Create(goModule + "@" + module + "/" + f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "go.zip")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	digest, err := dirhash.HashZip(file, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	m.set(func() { m.archives[module], m.signed[module] = packed.Bytes(), digest })
}

func (m *fakeModules) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// goWorld has some releases of Go at the proxy.
func goWorld(t *testing.T, versions ...string) (*world, *fakeModules) {
	t.Helper()
	m := newFakeModules(t)
	for _, version := range versions {
		m.add(t, version)
	}
	return newWorld(t, func(cfg *Config) {
		cfg.Environment = map[string]string{"GOPROXY": "off," + m.URL + "/,direct", "GOSUMDB": m.key}
	}), m
}

// TestGo installs Go for what repositories ask.
func TestGo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		machine string
		tool    build.Tool
		want    []string
		says    string
	}{
		"an exact version":   {"", tool(t, "go", "1.22.3", ".go-version"), []string{"go@1.22.3"}, "Go 1.22.3, from .go-version; installed in "},
		"a minor version":    {"", tool(t, "go", "1.22", "the variable GO_VERSION"), []string{"go@1.22.10"}, "Go 1.22.10, from the variable GO_VERSION (1.22); installed in "},
		"the oldest allowed": {"", tool(t, "go", ">=1.22.4", "go in go.mod"), []string{"go@1.23.1"}, "from go in go.mod (>=1.22.4)"},
		"the machine's":      {"go version go1.22.9 linux/amd64", tool(t, "go", ">=1.22.4", "go in go.mod"), []string{"go@1.22.9*"}, "Go 1.22.9 of this machine, from go in go.mod (>=1.22.4)."},
		"not the machine's":  {"go version go1.21.9 linux/amd64", tool(t, "go", ">=1.22.4", "go in go.mod"), []string{"go@1.23.1"}, ""},
		"nothing asked":      {"", build.Tool{Name: "go"}, []string{"go@1.23.1"}, "Go 1.23.1, the newest: nothing names a version; installed in "},
		"go.mod asks for a newer one": {"", build.Tool{Name: "go", Ask: tool(t, "go", "1.22.3", ".go-version").Ask, Others: []build.Ask{tool(t, "go", ">=1.23", "go in go.mod").Ask}},
			[]string{"go@1.22.3"}, "go in go.mod asks for Go >=1.23, which 1.22.3 is not; .go-version decides, but the go command gets the version of go.mod unless GOTOOLCHAIN is local."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := goWorld(t, "1.20", "1.22.3", "1.22.10", "1.23.1")
			if c.machine != "" {
				w.has(t, "go", c.machine)
			}
			got, log, err := w.prepare(t, c.tool)
			if err != nil || !slices.Equal(got, c.want) || !strings.Contains(log, c.says) {
				t.Errorf("the tools are %q, %v, want %q; the log, which should have %q:\n%s", got, err, c.want, c.says, log)
			}
		})
	}
}

// TestGoIsNotListed asks for a release that the proxy has but does not list, and for
// one that does not exist.
func TestGoIsNotListed(t *testing.T) {
	t.Parallel()
	w, m := goWorld(t, "1.22.3", "1.22.4")
	m.unlisted = []string{"v0.0.1-go1.22.3." + goPlatform()}
	if got, _, err := w.prepare(t, tool(t, "go", "1.22.3", ".go-version")); err != nil || !slices.Equal(got, []string{"go@1.22.3"}) {
		t.Errorf("%q, %v", got, err)
	}
	_, _, err := w.prepare(t, tool(t, "go", "1.22.99", ".go-version"))
	if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), ".go-version asks for Go 1.22.99, which does not exist; available versions: 1.22.4, 1.22.3; choose one of them") {
		t.Errorf("one that does not exist: %v", err)
	}
}

// TestGoIsWhole looks at an installed Go: what a module's archive can't have is
// restored.
func TestGoIsWhole(t *testing.T) {
	t.Parallel()
	w, _ := goWorld(t, "1.22.3")
	tool, installed, err := w.store.Install(t.Context(), "go@1.22")
	if err != nil || !installed || tool.Version != "1.22.3" {
		t.Fatalf("%+v, %v, %v", tool, installed, err)
	}
	dir := filepath.Join(w.cfg.Dir, "go", "1.22.3", "package")
	for _, program := range []string{"bin/go", "bin/gofmt", "pkg/tool/compile"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.Mode()&0o111 != 0o111 {
			t.Errorf("%s: %v, %v", program, info, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "src", "go.mod")); err != nil || string(text) != "module std\n" {
		t.Errorf("src/go.mod: %q, %v", text, err)
	}
	if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, "go", "1.22.3", "*.zip")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestGoIsVerified has the proxy send what the checksum database has not signed,
// and a database that is another one.
func TestGoIsVerified(t *testing.T) {
	t.Parallel()
	version := "v0.0.1-go1.22.3." + goPlatform()
	_, other, err := note.GenerateKey(nil, "sums.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*world, *fakeModules)
		kind   troy.ErrorKind
		says   string
	}{
		"another digest":   {func(_ *world, m *fakeModules) { m.signed[version] = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }, troy.Invalid, "Go 1.22.3 has the wrong checksum and was discarded: the checksum database has h1:47DEQpj8HBSa+/TI…"},
		"none":             {func(_ *world, m *fakeModules) { delete(m.signed, version) }, troy.Unavailable, "the checksum database answered 404"},
		"another database": {func(w *world, _ *fakeModules) { w.cfg.Environment["GOSUMDB"] = other }, troy.Invalid, "Go 1.22.3 can't be verified"},
		"no database":      {func(w *world, _ *fakeModules) { w.cfg.Environment["GOSUMDB"] = "off" }, troy.Unavailable, "GOSUMDB is off, so Go can't be verified"},
		"not a database":   {func(w *world, _ *fakeModules) { w.cfg.Environment["GOSUMDB"] = "https://user:s3cret@sums.lan" }, troy.Unavailable, `GOSUMDB is neither sum.golang.org nor the key`},
		"no proxy":         {func(w *world, _ *fakeModules) { w.cfg.Environment["GOPROXY"] = "direct" }, troy.Unavailable, "GOPROXY names no http or https address"},
		"a list fails":     {func(_ *world, m *fakeModules) { m.fail = "/list" }, troy.Unavailable, "the module proxy answered 503"},
		"an archive fails": {func(_ *world, m *fakeModules) { m.fail = ".zip" }, troy.Unavailable, "the module proxy answered 503 Service Unavailable; no version is available; try again when the Go module proxy can be reached"},
		"half an archive":  {func(_ *world, m *fakeModules) { m.cut = true }, troy.Unavailable, "download Go 1.22.3: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := goWorld(t, "1.22.3")
			m.set(func() { c.change(w, m) })
			w.open(t)
			_, log, err := w.prepare(t, tool(t, "go", "1.22.3", ".go-version"))
			if troy.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s and %q", err, c.kind, c.says)
			}
			for _, dir := range []string{"tmp", "go"} {
				if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, dir, "*")); err != nil || len(left) > 0 {
					t.Errorf("left: %q, %v", left, err)
				}
			}
			// A build that names no version may do without Go, unless it gets a
			// wrong one.
			if got, log2, err := w.prepare(t, build.Tool{Name: "go"}); c.kind == troy.Unavailable && (err != nil || got != nil || !strings.Contains(log2, "Go is not on this machine and can't be installed: ")) {
				t.Errorf("%q, %v:\n%s%s", got, err, log, log2)
			}
		})
	}
}

// TestGoWithoutSumsAtTheProxy asks the database itself.
func TestGoWithoutSumsAtTheProxy(t *testing.T) {
	t.Parallel()
	w, m := goWorld(t, "1.22.3")
	m.set(func() { m.noSums = true })
	w.cfg.Environment["GOSUMDB"] = m.key + " " + m.URL + "/direct"
	w.open(t)
	if got, _, err := w.prepare(t, tool(t, "go", "1.22.3", ".go-version")); err != nil || !slices.Equal(got, []string{"go@1.22.3"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestGoCancelled ends the build while Go is being installed.
func TestGoCancelled(t *testing.T) {
	t.Parallel()
	w, _ := goWorld(t, "1.22.3")
	if err := func() error { // the list is stored
		_, err := w.store.list(t.Context(), w.store.sources("go")[0], false)
		return err
	}(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set, err := w.store.Prepare(ctx, []build.Tool{tool(t, "go", "1.22.3", ".go-version")}, nil, func(string) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", set, err)
	}
}
