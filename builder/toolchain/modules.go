package toolchain

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	modzip "golang.org/x/mod/zip"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/files"
)

// goModule is the module whose versions are the releases of Go
// (go.dev/ref/mod#toolchain-module).
const goModule = "golang.org/toolchain"

// The module proxy and the checksum database that the go command uses by default
// (go.dev/ref/mod#environment-variables), with the database's key.
const (
	publicModules = "https://proxy.golang.org"
	publicSums    = "sum.golang.org"
	publicSumsKey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
)

// The limits of what the proxy and the database send.
const (
	maxModuleList = 4 << 20
	maxSums       = 1 << 20
)

// modules is a client of a Go module proxy (go.dev/ref/mod#goproxy-protocol) and
// of a checksum database (go.dev/ref/mod#checksum-database).
type modules struct {
	proxy string // without a slash at the end
	// missing says why the proxy or the database can't be used.
	missing error
	// key verifies what the database signs. Its name is in it.
	key, sums string
	client    *http.Client
}

// newModules reads the variables GOPROXY and GOSUMDB: those of builds, or else
// those of this process.
func newModules(environment map[string]string, client *http.Client) *modules {
	m := &modules{client: client}
	variable := func(name string) string { return cmp.Or(environment[name], os.Getenv(name)) }
	for address := range strings.FieldsFuncSeq(cmp.Or(variable("GOPROXY"), publicModules), func(r rune) bool { return r == ',' || r == '|' }) {
		u, err := url.Parse(strings.TrimSpace(address))
		if err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
			m.proxy = strings.TrimSuffix(u.String(), "/")
			break
		}
	}
	if m.proxy == "" {
		m.missing = errors.New("GOPROXY names no http or https address")
		return m
	}
	key, address, _ := strings.Cut(strings.TrimSpace(cmp.Or(variable("GOSUMDB"), publicSums)), " ")
	switch key {
	case "off":
		m.missing = errors.New("GOSUMDB is off, so Go can't be verified")
		return m
	case publicSums, "sum.golang.google.cn":
		// The second is another address of the first, for China.
		address = cmp.Or(address, "https://"+key)
		key = publicSumsKey
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		m.missing = fmt.Errorf("GOSUMDB is neither %s nor the key of a checksum database, like NAME+HASH+KEY", publicSums)
		return m
	}
	m.key, m.sums = key, strings.TrimSuffix(cmp.Or(strings.TrimSpace(address), "https://"+verifier.Name()), "/")
	return m
}

// goPlatform returns the machine's kind in the versions of Go, such as
// linux-amd64, or "" if Troy does not install Go for it. Its programs need no C
// library.
func goPlatform() string {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" || runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return ""
	}
	return runtime.GOOS + "-" + runtime.GOARCH
}

const theProxy = "the module proxy"

// get requests an address of from, the proxy or the database. Its errors contain
// no address, which may have a password.
func (m *modules) get(ctx context.Context, from, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("the address of %s is not valid", from)
	}
	resp, err := send(m.client, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, &unreachable{fmt.Errorf("%s answered %s", from, status(resp))}
	}
	return resp, nil
}

func (m *modules) read(ctx context.Context, from, address string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTime)
	defer cancel()
	resp, err := m.get(ctx, from, address)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, &unreachable{err}
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s sent more than %d bytes", from, limit)
	}
	return data, nil
}

// goRelease matches the versions of the module that are releases: 1.22.3, and
// 1.20, whose patch version is 0 (go.dev/doc/toolchain#version).
var goRelease = regexp.MustCompile(`^v0\.0\.1-go(1\.[0-9]+)(\.[0-9]+)?\.([a-z0-9]+-[a-z0-9]+)$`)

// releases fetches the releases of Go for this machine.
func (m *modules) releases(ctx context.Context) ([]release, error) {
	if m.missing != nil {
		return nil, m.missing
	}
	data, err := m.read(ctx, theProxy, m.proxy+"/"+goModule+"/@v/list", maxModuleList)
	if err != nil {
		return nil, err
	}
	var all []release
	for line := range strings.Lines(string(data)) {
		text := strings.TrimSpace(line)
		if match := goRelease.FindStringSubmatch(text); match != nil && match[3] == goPlatform() {
			all = append(all, release{Version: match[1] + cmp.Or(match[2], ".0"), Package: goModule, Tarball: text})
		}
	}
	slices.SortFunc(all, func(a, b release) int { return strings.Compare(a.Version, b.Version) })
	return all, nil
}

// unlisted returns a release that the proxy's list lacks, as the lists of mirrors
// do that have only what was asked for before. It returns an error if the proxy
// does not have it.
func (m *modules) unlisted(ctx context.Context, version string) (release, error) {
	if m.missing != nil {
		return release{}, m.missing
	}
	rel := release{Version: version, Package: goModule, Tarball: "v0.0.1-go" + version + "." + goPlatform()}
	_, err := m.read(ctx, theProxy, m.proxy+"/"+goModule+"/@v/"+rel.Tarball+".info", maxSums)
	return rel, err
}

// unpack downloads a release and puts its files into the folder content. It
// returns the module's digest, which the checksum database has signed. It
// returns a *troy.Error of kind Invalid if the content has another one.
func (m *modules) unpack(ctx context.Context, rel release, archive, content string) (digest string, err error) {
	if m.missing != nil {
		return "", m.missing
	}
	want, err := m.digest(ctx, rel)
	if err != nil {
		return "", err
	}
	if err := m.download(ctx, rel, archive); err != nil {
		return "", err
	}
	got, err := hashModule(ctx, rel, archive)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", &unreachable{fmt.Errorf("the module proxy's archive of Go %s can't be read: %w", rel.Version, err)}
	}
	if got != want {
		return "", troy.Errorf(troy.Invalid, "Go %s has the wrong checksum and was discarded: the checksum database has %.19s…, the module proxy sent %.19s…", rel.Version, want, got)
	}
	err = modzip.Unzip(content, module.Version{Path: goModule, Version: rel.Tarball}, archive)
	if err := errors.Join(err, os.Remove(archive)); err != nil {
		return "", fmt.Errorf("unpack Go %s: %w", rel.Version, files.Error(err))
	}
	return got, restore(content)
}

func (m *modules) download(ctx context.Context, rel release, archive string) error {
	resp, err := m.get(ctx, theProxy, m.proxy+"/"+goModule+"/@v/"+rel.Tarball+".zip")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out, err := os.OpenFile(archive, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return files.Error(err)
	}
	body := &reading{r: resp.Body}
	n, err := io.Copy(out, io.LimitReader(body, maxArchive+1))
	if err = errors.Join(err, out.Close()); body.err != nil {
		return &unreachable{fmt.Errorf("download Go %s: %w", rel.Version, body.err)}
	}
	if n > maxArchive {
		return troy.Errorf(troy.TooLarge, "Go %s has more than %d bytes", rel.Version, maxArchive)
	}
	return files.Error(err)
}

// maxZipDirectory bounds an archive's list of files. Those of Go have 2 MB.
const maxZipDirectory = 32 << 20

// hashModule returns the digest of an archive. It makes sure first that the archive
// is one of a module, because only then its content is bounded.
func hashModule(ctx context.Context, rel release, archive string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if _, err := zip.NewReader(&bounded{f, maxZipDirectory}, info.Size()); err != nil {
		return "", err
	}
	checked, err := modzip.CheckZip(module.Version{Path: goModule, Version: rel.Tarball}, archive)
	if err == nil {
		err = checked.Err()
	}
	if err != nil {
		return "", errors.New("it is not a module's archive") // err contains names in it
	}
	r, err := zip.NewReader(f, info.Size())
	if err != nil {
		return "", err
	}
	var names []string
	all := map[string]*zip.File{}
	for _, file := range r.File {
		names = append(names, file.Name)
		all[file.Name] = file
	}
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return all[name].Open()
	})
}

// bounded reads at most a number of bytes.
type bounded struct {
	r    io.ReaderAt
	left int64
}

func (b *bounded) ReadAt(p []byte, offset int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("it has too many files")
	}
	return b.r.ReadAt(p, offset)
}

// restore undoes what a module's archive can't have: programs that can be
// executed, and files go.mod in its folders. The go command does the same
// (cmd/go/internal/toolchain).
func restore(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return root.Chmod(path, 0o755)
		case strings.HasPrefix(path, "bin/"), strings.HasPrefix(path, "pkg/tool/"):
			return root.Chmod(path, 0o755)
		case d.Name() == "_go.mod":
			return root.Rename(path, filepath.Join(filepath.Dir(path), "go.mod"))
		}
		return nil
	})
}

// digest returns the digest of a release that the checksum database has signed.
func (m *modules) digest(ctx context.Context, rel release) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*metadataTime)
	defer cancel()
	remote := &sums{ctx: ctx, modules: m}
	lines, err := sumdb.NewClient(remote).Lookup(goModule, rel.Tarball)
	switch {
	case remote.unverified != "":
		return "", troy.Errorf(troy.Invalid, "Go %s can't be verified: the checksum database is not the one that GOSUMDB names, or its answer was changed on the way", rel.Version)
	case err != nil && remote.err != nil:
		return "", remote.err
	case err != nil:
		return "", troy.Errorf(troy.Invalid, "Go %s can't be verified: %w", rel.Version, err)
	}
	for _, line := range lines {
		if digest, found := strings.CutPrefix(line, goModule+" "+rel.Tarball+" "); found {
			return digest, nil
		}
	}
	return "", troy.Errorf(troy.Invalid, "the checksum database has no digest of Go %s, so it can't be verified", rel.Version)
}

// sums reads a checksum database for one look-up. Each begins with an empty tree,
// so it verifies the database's signature and that the digest is in its tree,
// but not that the tree has only grown since the last one.
type sums struct {
	*modules
	ctx context.Context //nolint:containedctx // sumdb.ClientOps has none

	once       sync.Once
	base       string
	mu         sync.Mutex
	latest     []byte
	err        error  // of the connection
	unverified string // what is wrong with the database's answers
}

// ReadRemote implements sumdb.ClientOps. Like the go command, it asks the proxy if
// that has the database.
func (s *sums) ReadRemote(path string) ([]byte, error) {
	s.once.Do(func() {
		s.base = s.sums
		if name, _, _ := strings.Cut(s.key, "+"); name != "" {
			if _, err := s.read(s.ctx, theProxy, s.proxy+"/sumdb/"+name+"/supported", maxSums); err == nil {
				s.base = s.proxy + "/sumdb/" + name
			}
		}
	})
	data, err := s.read(s.ctx, "the checksum database", s.base+path, maxSums)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	}
	return data, err
}

// ReadConfig implements sumdb.ClientOps.
func (s *sums) ReadConfig(file string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if file == "key" {
		return []byte(s.key), nil
	}
	return s.latest, nil
}

// WriteConfig implements sumdb.ClientOps.
func (s *sums) WriteConfig(_ string, before, now []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(before, s.latest) {
		return sumdb.ErrWriteConflict
	}
	s.latest = now
	return nil
}

// ReadCache implements sumdb.ClientOps.
func (s *sums) ReadCache(string) ([]byte, error) { return nil, fs.ErrNotExist }

// WriteCache implements sumdb.ClientOps.
func (s *sums) WriteCache(string, []byte) {}

// Log implements sumdb.ClientOps.
func (s *sums) Log(string) {}

// SecurityError implements sumdb.ClientOps.
func (s *sums) SecurityError(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unverified = text
}

var _ sumdb.ClientOps = (*sums)(nil)
