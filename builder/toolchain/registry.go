package toolchain

import (
	"context"
	"crypto/sha1" //nolint:gosec // corepack allows it in packageManager, beside the registry's SHA-512
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/files"
)

// release is a version of a package in the registry.
type release struct {
	Version   string            `json:"version"`
	Package   string            `json:"package"`
	Integrity string            `json:"integrity"`
	Tarball   string            `json:"tarball"` // of a module: its version
	Programs  map[string]string `json:"programs,omitempty"`
	Node      string            `json:"node,omitempty"` // the versions of Node.js with which it works
}

// The limits of what the registry sends.
const (
	maxMetadata  = 64 << 20
	maxArchive   = 512 << 20
	metadataTime = 30 * time.Second
)

// registry is a client of an npm registry
// (github.com/npm/registry/blob/main/docs/REGISTRY-API.md).
type registry struct {
	npm    npmConfig
	client *http.Client
}

func newRegistry(npm npmConfig) (*registry, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	proxy := npm.proxy.ProxyFunc()
	transport.Proxy = func(req *http.Request) (*url.URL, error) { return proxy(req.URL) }
	if npm.caFile != "" {
		pem, err := os.ReadFile(npm.caFile)
		if err != nil {
			return nil, fmt.Errorf("read the registry's authorities: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 5 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errors.New("it redirects too often or to an address without encryption")
		}
		return nil
	}}
	return &registry{npm: npm, client: client}, nil
}

// unreachable is an error of the connection, which a later try may not have.
type unreachable struct{ err error }

func (e *unreachable) Error() string { return e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

// get requests an address of the registry. Its errors contain no address, which
// may have a password.
func (r *registry) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the registry's address is not valid")
	}
	req.Header = header
	if authorization := r.npm.authorization(req.URL); authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := send(r.client, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		err := fmt.Errorf("the registry answered %s", status(resp))
		if resp.StatusCode == http.StatusNotFound {
			return nil, err
		}
		return nil, &unreachable{err}
	}
	return resp, nil
}

// send sends a request. Its error is *unreachable and does not contain the
// address.
func send(client *http.Client, req *http.Request) (*http.Response, error) {
	resp, err := client.Do(req)
	if err == nil {
		return resp, nil
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return nil, &unreachable{err}
}

// status returns an answer's status in the words of the standard: the server's own
// could be anything.
func status(resp *http.Response) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
}

// releases fetches all versions of a package.
func (r *registry) releases(ctx context.Context, name string) ([]release, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTime)
	defer cancel()
	base := r.npm.registryOf(name)
	resp, err := r.get(ctx, base+strings.Replace(name, "/", "%2f", 1), http.Header{"Accept": {"application/vnd.npm.install-v1+json, application/json;q=0.8"}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var document struct {
		Versions map[string]struct {
			Version string          `json:"version"`
			Bin     json.RawMessage `json:"bin"`
			Engines json.RawMessage `json:"engines"`
			Dist    struct {
				Integrity string `json:"integrity"`
				Tarball   string `json:"tarball"`
			} `json:"dist"`
		} `json:"versions"`
	}
	limited := &io.LimitedReader{R: resp.Body, N: maxMetadata + 1}
	if err := json.NewDecoder(limited).Decode(&document); err != nil {
		if limited.N <= 0 {
			return nil, fmt.Errorf("the registry's list of %s has more than %d bytes", name, maxMetadata)
		}
		return nil, &unreachable{fmt.Errorf("read the registry's list of %s: %w", name, err)}
	}
	all := make([]release, 0, len(document.Versions))
	for _, v := range document.Versions {
		one := release{Version: v.Version, Package: name, Integrity: v.Dist.Integrity, Tarball: v.Dist.Tarball}
		// Old packages have another type there.
		_ = json.Unmarshal(v.Bin, &one.Programs)
		var engines struct {
			Node string `json:"node"`
		}
		_ = json.Unmarshal(v.Engines, &engines)
		one.Node = engines.Node
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b release) int { return strings.Compare(a.Version, b.Version) })
	return all, nil
}

// download writes a release's archive to w while it arrives. It returns a
// *troy.Error of kind Invalid if the content has another digest than the
// registry announces.
func (r *registry) download(ctx context.Context, rel release, w io.Writer) error {
	want, err := sha512Of(rel)
	if err != nil {
		return err
	}
	address, err := r.npm.archive(rel)
	if err != nil {
		return err
	}
	resp, err := r.get(ctx, address, http.Header{})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sum := sha512.New()
	body := &reading{r: resp.Body}
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(body, maxArchive+1))
	switch {
	case body.err != nil:
		return &unreachable{fmt.Errorf("download %s@%s: %w", rel.Package, rel.Version, body.err)}
	case err != nil:
		return err
	case n > maxArchive:
		return troy.Errorf(troy.TooLarge, "the package %s@%s has more than %d bytes", rel.Package, rel.Version, maxArchive)
	case !slices.Equal(sum.Sum(nil), want):
		return troy.Errorf(troy.Invalid, "the package %s@%s has the wrong checksum and was discarded: the registry announces the SHA-512 %.16x… and sent %.16x…", rel.Package, rel.Version, want, sum.Sum(nil))
	}
	return nil
}

// reading keeps its reader's error apart from that of the writer.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// sha512Of returns the digest in a release's integrity
// (w3.org/TR/SRI/#integrity-metadata).
func sha512Of(rel release) ([]byte, error) {
	for _, field := range strings.Fields(rel.Integrity) {
		text, found := strings.CutPrefix(field, "sha512-")
		if !found {
			continue
		}
		if sum, err := base64.StdEncoding.DecodeString(text); err == nil && len(sum) == sha512.Size {
			return sum, nil
		}
	}
	return nil, troy.Errorf(troy.Invalid, "the registry has no SHA-512 of the package %s@%s, so it can't be verified", rel.Package, rel.Version)
}

// digestOf returns the hash and the sum of a digest in packageManager.
func digestOf(text string) (h hash.Hash, sum []byte, err error) {
	algorithm, digits, _ := strings.Cut(text, ".")
	switch algorithm {
	case "sha1":
		h = sha1.New() //nolint:gosec // as above
	case "sha224":
		h = sha256.New224()
	case "sha256":
		h = sha256.New()
	case "sha384":
		h = sha512.New384()
	case "sha512":
		h = sha512.New()
	}
	if sum, err = hex.DecodeString(digits); h == nil || err != nil || len(sum) != h.Size() {
		return nil, nil, troy.Errorf(troy.Invalid, "packageManager in package.json ends with the digest %.40q; expected an algorithm and hex digits, like sha512.0a1b…, or no digest", text)
	}
	return h, sum, nil
}

// index is the stored list of a package's releases.
type index struct {
	Fetched  time.Time `json:"fetched"`
	Releases []release `json:"releases"`
}

// listed is the content of a stored list at a time.
type listed struct {
	time time.Time
	size int64
	index
}

// stored returns the stored list of a package; it is empty if there is none. It
// parses a file once: the packages, and so the lists in memory, are those of
// sources.
func (s *Store) stored(file string) index {
	info, err := os.Stat(file)
	if err != nil {
		return index{}
	}
	s.mu.Lock()
	known, ok := s.lists[file]
	s.mu.Unlock()
	if ok && known.size == info.Size() && known.time.Equal(info.ModTime()) {
		return known.index
	}
	// The file is replaced by a rename, so the content is at least as new as the
	// time.
	now := listed{time: info.ModTime(), size: info.Size()}
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &now.index) != nil {
		return index{}
	}
	s.mu.Lock()
	s.lists[file] = now
	s.mu.Unlock()
	return now.index
}

// indexValid is how long a stored list is used without asking the registry.
const indexValid = 24 * time.Hour

// list returns the releases of a package: those stored within the last day, or
// those of its origin, or else older stored ones with the origin's error.
func (s *Store) list(ctx context.Context, from source, fresh bool) ([]release, error) {
	file := filepath.Join(s.dir, "index", strings.ReplaceAll(from.name, "/", "+")+".json")
	stored := s.stored(file)
	age := s.now().Sub(stored.Fetched)
	if !fresh && age >= 0 && age < indexValid {
		return stored.Releases, nil
	}
	var all []release
	var err error
	switch from.origin {
	case npmRegistry:
		all, err = s.registry.releases(ctx, from.name)
	case goModules:
		all, err = s.modules.releases(ctx)
	case viaMise:
		all, err = s.mise.releases(ctx, from.name)
	}
	if err != nil {
		return stored.Releases, err
	}
	if err := files.WriteJSON(filepath.Join(s.dir, "tmp"), file, index{Fetched: s.now(), Releases: all}); err != nil {
		s.log.Warn("storing a package's list of versions failed", "package", from.name, "error", err)
	}
	return all, nil
}
