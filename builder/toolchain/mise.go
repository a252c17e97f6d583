package toolchain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/pelletier/go-toml/v2"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
)

// mise runs the program mise (mise.jdx.dev), if the operator has installed it. It
// reads no configuration but its own.
type mise struct {
	program string // "" if it is not installed
	dir     string // for what it keeps, such as lists of versions
	proxy   []string
	// listTime and installTime bound a run.
	listTime, installTime time.Duration
}

// oldestMise is the first version that has the safe mode.
const oldestMise = "2026.7.12"

func newMise(cfg Config, npm npmConfig, dir string) *mise {
	m := &mise{program: cfg.Mise, dir: filepath.Join(dir, "mise"), listTime: time.Minute, installTime: 10 * time.Minute}
	for name, value := range map[string]string{
		"HTTP_PROXY": npm.proxy.HTTPProxy, "HTTPS_PROXY": npm.proxy.HTTPSProxy, "NO_PROXY": npm.proxy.NoProxy,
		"SSL_CERT_FILE": cfg.Environment["SSL_CERT_FILE"], "MISE_URL_REPLACEMENTS": cfg.Environment["MISE_URL_REPLACEMENTS"],
	} {
		if value != "" {
			m.proxy = append(m.proxy, name+"="+value)
		}
	}
	return m
}

// miseNames are the names at mise of the tools that Troy gets by it: those of
// backends that are part of mise and download what the publisher has released.
// Hosts install Hugo's extended edition too.
func miseNames() map[string]string {
	return map[string]string{"python": "core:python", "ruby": "core:ruby", "hugo": "aqua:gohugoio/hugo/hugo-extended", "zola": "aqua:getzola/zola"}
}

// FindMise returns the program mise in the PATH of this process, or "".
func FindMise() string {
	program, err := exec.LookPath("mise")
	if err != nil {
		return ""
	}
	return program
}

// CheckMise returns the version of the program mise, and an error if it is too old
// or does not say its version.
func CheckMise(ctx context.Context, program string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "MISE_SAFE=1", "MISE_OFFLINE=1"}
	out, err := runIn(ctx, cmd)
	if err != nil {
		return "", err
	}
	v := versionIn(string(out))
	if v == nil {
		return "", errors.New("it does not print its version")
	}
	if v.LessThan(semver.MustParse(oldestMise)) {
		return v.String(), fmt.Errorf("it is version %s; expected %s or newer", v, oldestMise)
	}
	return v.String(), nil
}

// environment is the whole environment of mise in a folder of its own: no
// configuration of the machine, of a user or of a repository, no plugins, nothing
// compiled (mise.jdx.dev/configuration/settings.html).
func (m *mise) environment(dir string) []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8", "NO_COLOR=1", "TERM=dumb"}
	for name, folder := range map[string]string{"DATA": "data", "STATE": "state", "CONFIG": "config", "SYSTEM_CONFIG": "system", "SYSTEM_DATA": "system-data"} {
		env = append(env, "MISE_"+name+"_DIR="+filepath.Join(dir, folder))
	}
	return append(append(env,
		"MISE_CACHE_DIR="+filepath.Join(m.dir, "cache"), "MISE_GLOBAL_CONFIG_FILE="+filepath.Join(dir, "config", "config.toml"),
		// Nothing above the folder is read.
		"MISE_CEILING_PATHS="+filepath.Dir(dir), "MISE_TRUSTED_CONFIG_PATHS="+dir,
		"MISE_SAFE=1", "MISE_PARANOID=1", "MISE_YES=1", "MISE_LOCKFILE=1", "MISE_NETRC=0", "MISE_USE_VERSIONS_HOST_TRACK=0",
		"MISE_DISABLE_BACKENDS=asdf,vfox", "MISE_PYTHON_COMPILE=0", "MISE_RUBY_COMPILE=0",
		// Without its host of versions, mise would get these and run them.
		"MISE_PYENV_REPO=https://pyenv.invalid/", "MISE_RUBY_BUILD_REPO=https://ruby-build.invalid/",
	), m.proxy...)
}

// maxMiseOutput bounds what a run of mise prints.
const maxMiseOutput = 4 << 20

// run runs mise in a folder and returns what it prints to its standard output. The
// errors of mise are unreachable: the next try may not have them.
func (m *mise) run(ctx context.Context, limit time.Duration, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("mise took longer than %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, m.program, args...)
	cmd.Dir, cmd.Env = dir, m.environment(dir)
	out, err := runIn(ctx, cmd)
	if err != nil {
		return nil, &unreachable{err}
	}
	return out, nil
}

// runIn runs a command in a group of its own, which it ends when ctx ends. Its error
// has what the command printed.
func runIn(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out, said limited
	out.most, said.most = maxMiseOutput, maxMiseOutput
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &said, time.Second
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("mise: %s", errorIn(said.String(), err))
	}
	return out.Bytes(), nil
}

// limited keeps the first bytes that are written to it.
type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	_, _ = l.Buffer.Write(p[:min(len(p), max(0, l.most-l.Len()))]) // never fails
	return len(p), nil
}

// addressSecrets matches what an address may keep secret: the password and the
// query.
var addressSecrets = regexp.MustCompile(`([a-z]://)(?:[^/\s@]*@)?([^\s?#"'()]*)(?:\?[^\s"'()]*)?`)

// errorIn returns the errors that mise printed, in one line, or err.
func errorIn(text string, err error) string {
	var all []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line, found := strings.CutPrefix(lines.Text(), "mise ERROR ")
		if found && !strings.HasPrefix(line, "Version: ") && !strings.HasPrefix(line, "Run with ") {
			all = append(all, line)
		}
	}
	if len(all) == 0 {
		return err.Error()
	}
	line := addressSecrets.ReplaceAllString(strings.Join(all, ": "), "$1$2")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, line)
	return troy.Cut(strings.TrimRight(line, ": "), 400)
}

// usable returns an error if mise is too old for the safe mode, which it would then
// ignore.
func (m *mise) usable(ctx context.Context) error {
	if _, err := CheckMise(ctx, m.program); err != nil {
		return &unreachable{fmt.Errorf("mise can't be used: %w", err)}
	}
	return nil
}

// releases lists the versions of a tool.
func (m *mise) releases(ctx context.Context, name string) ([]release, error) {
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	dir := filepath.Join(m.dir, "lists")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, files.Error(err)
	}
	out, err := m.run(ctx, m.listTime, dir, "ls-remote", name)
	if err != nil {
		return nil, err
	}
	var all []release
	for line := range strings.Lines(string(out)) {
		// Other implementations have other names, such as pypy3.10-7.3.12.
		if v, err := semver.StrictNewVersion(strings.TrimSpace(line)); err == nil && v.Prerelease() == "" {
			all = append(all, release{Version: v.String(), Package: name})
		}
	}
	slices.SortFunc(all, func(a, b release) int { return strings.Compare(a.Version, b.Version) })
	return all, nil
}

// install puts a release into the folder content, with the folder work beside it
// for mise. It returns the publisher's checksum, which mise has compared. It returns
// a *troy.Error of kind Invalid if the publisher has none or it is wrong; after
// other errors the build uses what is there.
func (m *mise) install(ctx context.Context, rel release, work, content string) (checksum string, err error) {
	checksum, err = m.installIn(ctx, rel, work, content)
	err = errors.Join(err, remove(context.WithoutCancel(ctx), work))
	if _, ok := errors.AsType[*troy.Error](err); err != nil && !ok && ctx.Err() == nil {
		err = &unreachable{err}
	}
	return checksum, err
}

func (m *mise) installIn(ctx context.Context, rel release, work, content string) (checksum string, err error) {
	if err := m.usable(ctx); err != nil {
		return "", err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", files.Error(err)
	}
	name := strings.TrimPrefix(rel.Package, "core:")
	if err := os.WriteFile(filepath.Join(work, "mise.toml"), fmt.Appendf(nil, "[tools]\n%q = %q\n", name, rel.Version), 0o644); err != nil {
		return "", files.Error(err)
	}
	// First the addresses and checksums, then what has them.
	if _, err := m.run(ctx, m.installTime, work, "lock", "--platform", misePlatform()); err != nil {
		return "", err
	}
	if checksum, err = lockedChecksum(filepath.Join(work, "mise.lock"), rel); err != nil {
		return "", err
	}
	if _, err := m.run(ctx, m.installTime, work, "install", "--locked"); err != nil {
		if strings.Contains(strings.ToLower(err.Error()), "checksum mismatch") {
			return "", troy.Errorf(troy.Invalid, "%s %s has the wrong checksum and was discarded: %s", rel.Package, rel.Version, err)
		}
		return "", err
	}
	out, err := m.run(ctx, m.listTime, work, "where", name+"@"+rel.Version)
	if err != nil {
		return "", err
	}
	from := strings.TrimSpace(string(out))
	if inside, err := filepath.Rel(work, from); err != nil || !filepath.IsLocal(inside) || inside == "." {
		return "", fmt.Errorf("mise installed %s %s in another folder than its own", rel.Package, rel.Version)
	}
	if err := os.Remove(content); err != nil { // empty
		return "", files.Error(err)
	}
	if err := os.Rename(from, content); err != nil {
		return "", files.Error(err)
	}
	return checksum, relink(ctx, content, from)
}

// misePlatform is this machine's name in mise.lock.
func misePlatform() string { return strings.Replace(platform(), "darwin", "macos", 1) }

// lockedChecksum returns the checksum of a release in mise.lock
// (mise.jdx.dev/dev-tools/mise-lock.html).
func lockedChecksum(file string, rel release) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("mise wrote no mise.lock; update it to %s or newer", oldestMise)
	}
	if err != nil {
		return "", err
	}
	var lock struct {
		Tools map[string][]map[string]any `toml:"tools"`
	}
	if err := toml.Unmarshal(data, &lock); err != nil {
		return "", errors.New("mise wrote a mise.lock that is not valid TOML")
	}
	for _, entries := range lock.Tools {
		for _, entry := range entries {
			at, _ := entry["platforms."+misePlatform()].(map[string]any)
			checksum, _ := at["checksum"].(string)
			algorithm, digits, _ := strings.Cut(checksum, ":")
			if entry["version"] == rel.Version && slices.Contains([]string{"sha256", "sha512", "blake3"}, algorithm) && digits != "" {
				return checksum, nil
			}
		}
	}
	return "", troy.Errorf(troy.Invalid, "%s %s can't be verified: its publisher has no checksum of it for %s; ask for a newer version", rel.Package, rel.Version, misePlatform())
}

// relink makes links relative that lead into the folder by its former path.
func relink(ctx context.Context, dir, former string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return walk.Folder(ctx, root, walk.Limits{Entries: unpacked.Entries, Path: 4096}, func(e walk.Entry) error {
		if e.Type() != fs.ModeSymlink {
			return nil
		}
		target, err := root.Readlink(e.Path)
		if err != nil {
			return err
		}
		inside, found := strings.CutPrefix(target, former+string(filepath.Separator))
		if !found || !filepath.IsLocal(inside) {
			return nil
		}
		if inside, err = filepath.Rel(filepath.Dir(e.Path), inside); err != nil {
			return err
		}
		return errors.Join(root.Remove(e.Path), root.Symlink(inside, e.Path))
	})
}

// programsIn returns the programs of an installed tool, and their folder relative
// to dir: bin, or the folder itself if the program is there.
func programsIn(dir, tool string) (all []checked, bin string, err error) {
	for _, bin := range []string{"package/bin", "package"} {
		if info, err := os.Stat(filepath.Join(dir, bin, Program(tool))); err != nil || !info.Mode().IsRegular() {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(dir, bin))
		if err != nil {
			return nil, "", err
		}
		for _, entry := range entries {
			info, err := os.Stat(filepath.Join(dir, bin, entry.Name()))
			if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
				continue
			}
			p, err := inspect(dir, filepath.Join(bin, entry.Name()), true)
			if err != nil {
				continue // a link out of the folder, say
			}
			all = append(all, p)
		}
		if slices.ContainsFunc(all, func(p checked) bool { return filepath.Base(p.Path) == Program(tool) }) {
			return all, bin, nil
		}
	}
	return nil, "", fmt.Errorf("mise installed no program %s", Program(tool))
}
