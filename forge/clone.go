package forge

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/network"
)

const (
	// maxModules bounds the submodules of a source, including nested ones.
	maxModules = 100
	// maxModuleDepth bounds the nesting of submodules.
	maxModuleDepth = 5
	// gitTimeout bounds one call of git.
	gitTimeout = 15 * time.Minute
	// watchGit is the interval at which the size of git's fetch is checked.
	watchGit = 500 * time.Millisecond
	// topFolder is the single folder around everything.
	topFolder = "source"
)

// cloned assembles the source of a commit: the commit's files and those of its
// submodules, as `git archive` gives them, with LFS pointers replaced. It
// checks nothing out, so no hook, filter or link of the repository takes effect
// where Troy runs.
func cloned(ctx context.Context, f Forge, r Repository, commit string, cfg SourceConfig) (_ io.ReadCloser, err error) {
	if err := CheckCommit(commit); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, troy.Errorf(troy.Conflict, "the repository has submodules, LFS files or no archive, which requires git; install it on the machine of troyd work")
	}
	clone, err := f.Clone(ctx, r)
	if err != nil {
		return nil, err
	}
	home, err := url.Parse(clone.URL)
	if err != nil {
		return nil, fmt.Errorf("the clone's address: %w", withoutURL(err))
	}
	dir, err := os.MkdirTemp(cfg.Dir, "troy-clone-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out, err := newTemporary(cfg.Dir, "fetched by git")
	if err != nil {
		return nil, err
	}
	c := cloning{forge: f, installation: r.Installation, home: home, dir: dir, cfg: cfg, budget: newBudget(cfg.MaxBytes)}
	c.out = tar.NewWriter(metered{out, c.budget})
	err = c.add(ctx, module{address: home, credential: clone.Credential, commit: commit})
	if err == nil {
		err = c.out.Close()
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// cloning is one source that is being assembled.
type cloning struct {
	forge        Forge
	installation string
	home         *url.URL // the repository itself; its host is the forge's
	dir          string
	cfg          SourceConfig
	budget       *budget
	out          *tar.Writer
	modules      int
}

// module is a repository at a commit, the source's own or a submodule's.
type module struct {
	address    *url.URL
	credential Credential // none: anonymous
	unlisted   bool       // it is on the forge's host, but not listed, so it is fetched anonymously
	commit     string
	path       string // below the top folder; empty for the source's own
	depth      int
}

func (m module) what() string {
	if m.path == "" {
		return "the repository"
	}
	return fmt.Sprintf("the submodule %q", Line(m.path, 200))
}

// add fetches a module and adds its files, and then its submodules.
func (c *cloning) add(ctx context.Context, m module) error {
	if c.modules++; c.modules > maxModules+1 {
		return troy.Errorf(troy.TooLarge, "the source has more than %d submodules", maxModules)
	}
	g := git{dir: filepath.Join(c.dir, strconv.Itoa(c.modules)), home: c.dir, budget: c.budget}
	if err := os.Mkdir(g.dir, 0o700); err != nil {
		return err
	}
	pinned, err := c.reach(ctx, m)
	if err != nil {
		return err
	}
	format := "sha1"
	if len(m.commit) == 64 {
		format = "sha256"
	}
	if _, err := g.run(ctx, nil, "init", "--quiet", "--bare", "--object-format="+format, "."); err != nil {
		return fmt.Errorf("prepare for %s: %w", m.what(), err)
	}
	settings := append(access(m), pinned...)
	if _, err := g.run(ctx, settings, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", m.address.String(), m.commit); err != nil {
		return c.fetchFailed(ctx, m, err)
	}
	if err := c.files(ctx, g, m); err != nil {
		return err
	}
	modules, err := submodules(ctx, g, m)
	if err != nil {
		return err
	}
	// The fetched files are in the tar now.
	if err := os.RemoveAll(g.dir); err != nil {
		return err
	}
	for _, sub := range modules {
		if sub.depth > maxModuleDepth {
			return troy.Errorf(troy.Invalid, "%s is nested more than %d deep", sub.what(), maxModuleDepth)
		}
		if err := c.allow(ctx, &sub); err != nil {
			return err
		}
		if err := c.add(ctx, sub); err != nil {
			return err
		}
	}
	return nil
}

// fetchFailed classifies git's failures by its output, since its exit status is
// always 128.
func (c *cloning) fetchFailed(ctx context.Context, m module, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var failed *gitError
	if !errors.As(err, &failed) {
		return fmt.Errorf("fetch %s: %w", m.what(), err)
	}
	said := failed.said
	switch {
	case strings.Contains(said, "No space left on device"), strings.Contains(said, "Disk quota exceeded"):
		return fmt.Errorf("fetch %s: %w", m.what(), syscall.ENOSPC)
	case strings.Contains(said, "not our ref"), strings.Contains(said, "couldn't find remote ref"), strings.Contains(said, "unadvertised object"):
		return troy.Errorf(troy.NotFound, "%s has no commit %s: %w", m.what(), m.commit, ErrNoCommit)
	case strings.Contains(said, "Authentication failed"), strings.Contains(said, "could not read Username"),
		strings.Contains(said, "returned error: 403"), strings.Contains(said, "returned error: 404"), strings.Contains(said, "not found"):
		if m.unlisted {
			return troy.Errorf(troy.NotFound, "%s at %s does not exist or is private; a private repository can be a submodule only if an operator lists it in TROY_SUBMODULES: %w",
				m.what(), m.address.Redacted(), ErrNoRepository)
		}
		return troy.Errorf(troy.NotFound, "%s at %s: %w", m.what(), m.address.Redacted(), ErrNoRepository)
	}
	return fmt.Errorf("fetch %s from %s: %w", m.what(), m.address.Redacted(), err)
}

// files adds the files of a module that was fetched.
func (c *cloning) files(ctx context.Context, g git, m module) error {
	prefix := path.Join(topFolder, m.path) + "/"
	archive, wait, err := g.stream(ctx, "archive", "--format=tar", "--prefix="+prefix, m.commit)
	if err != nil {
		return fmt.Errorf("read %s: %w", m.what(), err)
	}
	objects := largeFiles{clone: m, http: c.client(m), budget: c.budget}
	in := tar.NewReader(canceled{ctx, archive})
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return errors.Join(fmt.Errorf("read %s: %w", m.what(), err), wait())
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // the commit's id
		}
		if err := c.entry(ctx, &objects, h, in); err != nil {
			return errors.Join(err, wait())
		}
	}
	if err := wait(); err != nil {
		return fmt.Errorf("read %s: %w", m.what(), err)
	}
	return nil
}

// entry adds one file, folder or link; it replaces an LFS pointer by the file.
func (c *cloning) entry(ctx context.Context, objects *largeFiles, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeReg && h.Size <= maxPointer {
		text, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		if p, ok := parsePointer(text); ok {
			return objects.add(ctx, c.out, h, p)
		}
		content = bytes.NewReader(text)
	}
	if err := c.out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(c.out, content)
	return err
}

// submodules lists a module's submodules: git's own links to commits, with the
// addresses that .gitmodules has for their paths (gitmodules(5)). It ignores a
// path in .gitmodules without a link; a link without an address is an empty
// folder, as in git.
func submodules(ctx context.Context, g git, m module) ([]module, error) {
	tree, err := g.run(ctx, nil, "ls-tree", "-r", "-z", m.commit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m.what(), err)
	}
	links := map[string]string{}
	for line := range strings.SplitSeq(string(tree), "\x00") {
		entry, name, _ := strings.Cut(line, "\t")
		if fields := strings.Fields(entry); len(fields) == 3 && fields[1] == "commit" {
			links[name] = fields[2]
		}
	}
	if len(links) == 0 {
		return nil, nil
	}
	text, err := g.run(ctx, nil, "config", "--blob", m.commit+":.gitmodules", "-z", "--get-regexp", `^submodule\..*\.(path|url)$`)
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "%s has submodules but no .gitmodules that can be read", m.what())
	}
	return m.linked(links, string(text))
}

// linked joins git's links, commits by path, with the output of `git config -z`
// for .gitmodules.
func (m module) linked(links map[string]string, config string) ([]module, error) {
	paths, urls := map[string]string{}, map[string]string{}
	for pair := range strings.SplitSeq(config, "\x00") {
		key, value, _ := strings.Cut(pair, "\n")
		if name, ok := strings.CutSuffix(key, ".path"); ok {
			paths[name] = value
		} else if name, ok := strings.CutSuffix(key, ".url"); ok {
			urls[name] = value
		}
	}
	var modules []module
	for name, at := range paths {
		commit, linked := links[at]
		if !linked || urls[name] == "" {
			continue
		}
		sub := module{commit: commit, path: path.Join(m.path, at), depth: m.depth + 1}
		if !fs.ValidPath(sub.path) {
			return nil, troy.Errorf(troy.Invalid, "%s has a path that leads outside the repository", sub.what())
		}
		address, err := moduleAddress(m.address, urls[name])
		if err != nil {
			return nil, troy.Errorf(troy.Invalid, "%s: %w", sub.what(), err)
		}
		sub.address = address
		modules = append(modules, sub)
	}
	return modules, nil
}

// moduleAddress reads a submodule's URL: https, relative to its parent
// repository, or one of the two SSH forms with that repository's host, which is
// fetched over https instead.
func moduleAddress(parent *url.URL, text string) (*url.URL, error) {
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		u := *parent
		// A relative address treats the repository as a folder.
		u.Path = path.Join(parent.Path, text)
		if u.Path == "/" || !strings.HasPrefix(u.Path, "/") {
			return nil, fmt.Errorf("its address %q leads out of %s", Line(text, 200), parent.Host)
		}
		return &u, nil
	}
	if user, rest, ok := strings.Cut(text, "@"); ok && !strings.Contains(user, "/") { // git@host:owner/name
		if host, name, ok := strings.Cut(rest, ":"); ok {
			text = "ssh://" + host + "/" + name
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("its address %q can't be read", Line(text, 200))
	}
	if u.Scheme == "ssh" && strings.EqualFold(u.Hostname(), parent.Hostname()) {
		return &url.URL{Scheme: parent.Scheme, Host: parent.Host, Path: u.Path}, nil
	}
	if u.Scheme == parent.Scheme && strings.EqualFold(u.Host, parent.Host) {
		return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}, nil
	}
	if u.Scheme != "https" || u.Port() != "" && u.Port() != "443" {
		return nil, fmt.Errorf("its address %q is neither https nor on the repository's host", Line(u.Redacted(), 200))
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}, nil
}

// allow gives a submodule a credential that can read only it, if it is the
// source's own repository or listed, and the forge issues one. Others are
// fetched anonymously.
func (c *cloning) allow(ctx context.Context, m *module) error {
	if !c.atHome(m.address) {
		return nil
	}
	name := c.nameOf(m.address)
	if _, _, err := SplitName(name); err != nil {
		return nil //nolint:nilerr // not a repository's address: fetched anonymously
	}
	if !strings.EqualFold(name, c.nameOf(c.home)) && !c.cfg.mayRead(name) {
		m.unlisted = true
		return nil
	}
	clone, err := c.forge.Clone(ctx, Repository{Installation: c.installation, FullName: name})
	switch troy.KindOf(err) {
	case troy.NotFound, troy.Forbidden:
		return nil
	}
	m.credential = clone.Credential
	return err
}

// nameOf returns the "owner/name" of an address on the forge's host.
func (c *cloning) nameOf(address *url.URL) string {
	above := strings.TrimSuffix(path.Dir(path.Dir(c.home.Path)), "/") + "/"
	return strings.TrimSuffix(strings.TrimPrefix(address.Path, above), ".git")
}

func (c *cloning) atHome(u *url.URL) bool {
	return u.Scheme == c.home.Scheme && strings.EqualFold(u.Host, c.home.Host)
}

// reach refuses addresses through which a repository could read services near
// Troy. It resolves the host once and pins git to that address, so that a later
// DNS answer has no effect.
func (c *cloning) reach(ctx context.Context, m module) ([]string, error) {
	if c.atHome(m.address) {
		return nil, nil
	}
	host := m.address.Hostname()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up the host of %s: %w", m.what(), err)
	}
	for _, ip := range found {
		if !network.Public(ip) {
			return nil, troy.Errorf(troy.Forbidden, "%s is at %s, which is not a public address of the internet", m.what(), Line(host, 200))
		}
	}
	return []string{"http.curloptResolve", host + ":443:" + found[0].Unmap().String()}, nil
}

// access returns git's settings, which let it fetch a module and nothing else.
func access(m module) []string {
	settings := []string{"protocol." + m.address.Scheme + ".allow", "always"}
	if m.credential != (Credential{}) {
		basic := base64.StdEncoding.EncodeToString([]byte(m.credential.Username + ":" + m.credential.Password))
		host := url.URL{Scheme: m.address.Scheme, Host: m.address.Host}
		settings = append(settings, "http."+host.String()+"/.extraHeader", "Authorization: Basic "+basic)
	}
	return settings
}
