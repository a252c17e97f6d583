package toolchain

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeRegistry is an npm registry with small packages.
type fakeRegistry struct {
	*httptest.Server
	mu       sync.Mutex
	packages map[string]map[string]fakePackage
	// gets counts the requests by path.
	gets map[string]int
	// down answers every request with 503; token is the one it expects.
	down  bool
	token string
	// hold, if not nil, is closed before an archive is sent whose path ends with
	// held, or what follows its first sent bytes. refused archives are answered
	// with 503.
	hold          chan struct{}
	held, refused string
	sent          int
}

type fakePackage struct {
	archive   []byte
	integrity string
	tarball   string // instead of the registry's own address
	bin       map[string]string
	node      string
}

func newFakeRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	r := &fakeRegistry{packages: map[string]map[string]fakePackage{}, gets: map[string]int{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// TestProxy installs through the proxy that builds have, although this process
// has none.
func TestProxy(t *testing.T) {
	t.Parallel()
	for name, variables := range map[string]map[string]string{
		"with":                    {"HTTP_PROXY": "PROXY"},
		"with a lower name first": {"http_proxy": "PROXY", "HTTP_PROXY": "http://192.0.2.1:1"},
		"without":                 {"http_proxy": "PROXY", "no_proxy": "registry.test"},
	} {
		var asked atomic.Int64
		w := newWorld(t, nil)
		p := w.packages["yarn"]["1.22.22"]
		p.tarball = "http://registry.test/yarn/-/1.22.22.tgz"
		w.put("yarn", "1.22.22", p)
		proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			if req.URL.Host != "registry.test" {
				t.Errorf("%s: the proxy is asked for %s", name, req.URL)
			}
			asked.Add(1)
			w.ServeHTTP(rw, req)
		}))
		t.Cleanup(proxy.Close)
		w.cfg.Registry, w.cfg.Environment = "http://registry.test/", map[string]string{}
		for key, value := range variables {
			w.cfg.Environment[key] = strings.Replace(value, "PROXY", proxy.URL, 1)
		}
		w.open(t)
		got, _, err := w.prepare(t, tool(t, "yarn", "1", "package.json"))
		if through := name != "without"; through != (err == nil && len(got) == 1) || through != (asked.Load() > 0) {
			t.Errorf("%s: %q, %v; the proxy was asked %d times", name, got, err, asked.Load())
		}
	}
}

// add publishes a package whose programs print its name and version.
func (r *fakeRegistry) add(t *testing.T, name, version string, bin map[string]string) fakePackage {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	w := tar.NewWriter(z)
	write := func(path, text string) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "package/" + path, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("package.json", fmt.Sprintf(`{"name":%q,"version":%q}`, name, version))
	for program, path := range bin {
		write(path, "#!/bin/sh\necho "+program+" "+version+"\n")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	p := fakePackage{archive: packed.Bytes(), integrity: integrity(packed.Bytes()), bin: bin}
	r.put(name, version, p)
	return p
}

func (r *fakeRegistry) put(name, version string, p fakePackage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.packages[name] == nil {
		r.packages[name] = map[string]fakePackage{}
	}
	r.packages[name][version] = p
}

func (r *fakeRegistry) count(suffix string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for path, times := range r.gets {
		if strings.HasSuffix(path, suffix) {
			n += times
		}
	}
	return n
}

func (r *fakeRegistry) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func integrity(data []byte) string {
	sum := sha512.Sum512(data)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (r *fakeRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	down, token, hold, sent := r.down, r.token, r.hold, r.sent
	down = down || r.refused != "" && strings.HasSuffix(req.URL.Path, r.refused)
	if !strings.HasSuffix(req.URL.Path, r.held) {
		hold = nil
	}
	r.gets[req.URL.Path]++
	r.mu.Unlock()
	switch {
	case down:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case token != "" && req.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name, file, isArchive := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/-/")
	r.mu.Lock()
	versions := r.packages[name]
	document := map[string]any{}
	for version, p := range versions {
		tarball := p.tarball
		if tarball == "" {
			tarball = r.URL + "/" + name + "/-/" + version + ".tgz"
		}
		document[version] = map[string]any{
			"name": name, "version": version, "bin": p.bin, "engines": map[string]string{"node": p.node},
			"dist": map[string]string{"integrity": p.integrity, "tarball": tarball},
		}
	}
	p, found := versions[strings.TrimSuffix(file, ".tgz")]
	r.mu.Unlock()
	switch {
	case isArchive && found:
		if hold != nil {
			_, _ = w.Write(p.archive[:sent])
			_ = http.NewResponseController(w).Flush()
			select {
			case <-hold:
			case <-req.Context().Done():
			}
			p.archive = p.archive[sent:]
		}
		_, _ = w.Write(p.archive)
	case isArchive || versions == nil:
		w.WriteHeader(http.StatusNotFound)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "versions": document})
	}
}
