package toolchain

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// at is the time of the tests: Node.js 26 is the current line.
var at = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// world is a registry, a machine and a store.
type world struct {
	*fakeRegistry
	cfg   Config
	store *Store
	node  string // the package of Node.js
	bin   string // the machine's folder with programs
}

// newWorld has some versions of Node.js and package managers in the registry,
// and none on the machine.
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	if platform() == "" {
		t.Skip("no packages are built for this machine")
	}
	w := &world{fakeRegistry: newFakeRegistry(t), node: "node-" + platform(), bin: t.TempDir()}
	for _, version := range []string{"18.20.8", "20.19.1", "22.20.0", "22.21.1", "25.9.0", "26.0.0-rc.1", "26.1.0", "27.0.0"} {
		w.add(t, w.node, version, map[string]string{"node": "bin/node"})
	}
	for _, version := range []string{"8.19.4", "10.9.4", "11.4.0", "12.1.0"} {
		w.add(t, "npm", version, map[string]string{"npm": "bin/npm-cli.js", "npx": "bin/npx-cli.js"})
	}
	for version, node := range map[string]string{"9.15.9": ">=18.12", "10.1.0": ">=18.12", "11.2.0": ">=22.13"} {
		p := w.add(t, "pnpm", version, map[string]string{"pnpm": "bin/pnpm.cjs"})
		p.node = node
		w.put("pnpm", version, p)
	}
	w.add(t, "yarn", "1.22.22", map[string]string{"yarn": "bin/yarn.js"})
	w.add(t, "@yarnpkg/cli-dist", "4.9.1", map[string]string{"yarn": "bin/yarn.js"})
	w.cfg = Config{Dir: filepath.Join(t.TempDir(), "tools"), Install: true, Registry: w.URL, Environment: map[string]string{"GOPROXY": "off"}, npmrcs: []string{}, now: func() time.Time { return at }}
	if change != nil {
		change(&w.cfg)
	}
	w.open(t)
	return w
}

func (w *world) open(t *testing.T) {
	t.Helper()
	store, err := Open(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
}

// has puts a program on the machine.
func (w *world) has(t *testing.T, name, says string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.bin, name), []byte("#!/bin/sh\necho '"+says+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// tool is a tool for which a file asks.
func tool(t *testing.T, name, text, by string) build.Tool {
	t.Helper()
	r, ok := build.ParseRange(name, text)
	if !ok {
		t.Fatalf("%q is not a range", text)
	}
	return build.Tool{Name: name, Ask: build.Ask{Text: text, By: by, Range: r}}
}

// prepare returns the tools that a build gets as NAME@VERSION, those of the
// machine with a star, and the log.
func (w *world) prepare(t *testing.T, tools ...build.Tool) (got []string, log string, err error) {
	t.Helper()
	var said []string
	set, err := w.store.Prepare(t.Context(), tools, []string{w.bin}, func(s string) { said = append(said, s) })
	log = strings.Join(said, "\n")
	if err != nil {
		return nil, log, err
	}
	defer set.Close()
	for _, ready := range set.Tools {
		name := ready.Name + "@" + ready.Version
		if ready.Dir == "" {
			name += "*"
			if ready.Folder != w.bin {
				t.Errorf("%s is in %s", name, ready.Folder)
			}
		} else if out, err := exec.CommandContext(t.Context(), filepath.Join(ready.Dir, ready.Bin, Program(ready.Name))).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != ready.Name+" "+ready.Version {
			t.Errorf("%s prints %q, %v", name, out, err)
		}
		got = append(got, name)
	}
	return got, log, nil
}

// TestPrepare chooses tools for what repositories ask.
func TestPrepare(t *testing.T) {
	t.Parallel()
	node := func(text, by string) build.Tool { return tool(t, "node", text, by) }
	for name, c := range map[string]struct {
		machine map[string]string
		tools   []build.Tool
		want    []string
		says    string
	}{
		"a major version":          {nil, []build.Tool{node("22", ".nvmrc")}, []string{"node@22.21.1", "npm@10.9.4"}, "Node.js 22.21.1, from .nvmrc (22); installed in "},
		"an exact version":         {nil, []build.Tool{node("v22.20.0", ".nvmrc")}, []string{"node@22.20.0", "npm@10.9.4"}, "Node.js 22.20.0, from .nvmrc; installed in "},
		"npm comes with it":        {nil, []build.Tool{node("22", ".nvmrc")}, []string{"node@22.21.1", "npm@10.9.4"}, "npm 10.9.4, which comes with Node.js 22; installed in "},
		"not the machine's npm":    {map[string]string{"npm": "10.1.0"}, []build.Tool{node("22", ".nvmrc")}, []string{"node@22.21.1", "npm@10.9.4"}, "npm 10.9.4, which comes with Node.js 22"},
		"nothing":                  {nil, []build.Tool{{Name: "node"}}, []string{"node@26.1.0", "npm@11.4.0"}, "Node.js 26.1.0, the current LTS: nothing names a version; installed in "},
		"a wide range":             {nil, []build.Tool{node(">=18", "engines.node in package.json")}, []string{"node@26.1.0", "npm@11.4.0"}, "from engines.node in package.json (>=18)"},
		"a line's name":            {nil, []build.Tool{node("lts/hydrogen", ".nvmrc")}, []string{"node@18.20.8", "npm@10.9.4"}, "from .nvmrc (lts/hydrogen)"},
		"the newest":               {nil, []build.Tool{node("node", ".nvmrc")}, []string{"node@27.0.0", "npm@12.1.0"}, "Node.js 27.0.0, from .nvmrc (node)"},
		"newer than the machine's": {map[string]string{"node": "v20.11.0"}, []build.Tool{node("node", ".nvmrc")}, []string{"node@27.0.0", "npm@12.1.0"}, "Node.js 27.0.0, from .nvmrc (node)"},
		"no line's range":          {nil, []build.Tool{node("25 || 27", ".nvmrc")}, []string{"node@27.0.0", "npm@12.1.0"}, ""},
		"the machine's fits":       {map[string]string{"node": "v20.11.0"}, []build.Tool{node(">=18", ".nvmrc")}, []string{"node@20.11.0*"}, "Node.js 20.11.0 of this machine, from .nvmrc (>=18)."},
		"the machine's is old":     {map[string]string{"node": "v20.11.0"}, []build.Tool{{Name: "node"}}, []string{"node@26.1.0", "npm@11.4.0"}, "the current LTS"},
		"the machine's is LTS":     {map[string]string{"node": "v26.0.1"}, []build.Tool{{Name: "node"}}, []string{"node@26.0.1*"}, "Node.js 26.0.1 of this machine, the current LTS: nothing names a version."},
		"a pinned manager":         {nil, []build.Tool{node("20", ".nvmrc"), tool(t, "pnpm", "10.1.0", "packageManager in package.json")}, []string{"node@20.19.1", "npm@10.9.4", "pnpm@10.1.0"}, "pnpm 10.1.0, from packageManager in package.json; installed in "},
		"it works with Node":       {nil, []build.Tool{node("20", ".nvmrc"), {Name: "pnpm"}}, []string{"node@20.19.1", "npm@10.9.4", "pnpm@10.1.0"}, "pnpm 10.1.0, the newest: nothing names a version"},
		"old Yarn":                 {nil, []build.Tool{tool(t, "yarn", "1", "the format of yarn.lock")}, []string{"yarn@1.22.22"}, "Yarn 1.22.22, from the format of yarn.lock (1)"},
		"new Yarn":                 {nil, []build.Tool{tool(t, "yarn", "^4", "devEngines")}, []string{"yarn@4.9.1"}, ""},
		"files disagree": {nil, []build.Tool{{Name: "node", Ask: node("22", ".nvmrc").Ask, Others: []build.Ask{node(">=24", "engines.node in package.json").Ask, node("22.x", ".node-version").Ask}}},
			[]string{"node@22.21.1", "npm@10.9.4"}, "engines.node in package.json asks for Node.js >=24, which 22.21.1 is not; .nvmrc decides."},
		"only the machine's":     {map[string]string{"python3": "Python 3.11.2"}, []build.Tool{tool(t, "python", "3.11", ".python-version")}, []string{"python@3.11.2*"}, "Python 3.11.2 of this machine, from .python-version (3.11)."},
		"Hugo's own form":        {map[string]string{"hugo": "hugo v0.131.0-dirty+extended linux/amd64"}, []build.Tool{{Name: "hugo"}}, []string{"hugo@0.131.0*"}, "Hugo 0.131.0 of this machine: nothing names a version."},
		"Go's own form":          {map[string]string{"go": "go version go1.26.0 linux/amd64"}, []build.Tool{tool(t, "go", "1.26", ".go-version")}, []string{"go@1.26.0*"}, ""},
		"none and nothing asked": {nil, []build.Tool{{Name: "zola"}}, nil, "Zola is not on this machine, and Troy can install it only with mise."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			for program, says := range c.machine {
				w.has(t, program, says)
			}
			got, log, err := w.prepare(t, c.tools...)
			if err != nil || !slices.Equal(got, c.want) || !strings.Contains(log, c.says) {
				t.Errorf("the tools are %q, %v, want %q; the log, which should have %q:\n%s", got, err, c.want, c.says, log)
			}
		})
	}
}

// TestNothingFits asks for what can't be had. The error names the file, the
// value and what there is.
func TestNothingFits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tool build.Tool
		down bool
		mode string
		kind troy.ErrorKind
		says []string
	}{
		"no such version":  {tool(t, "node", "22.99.0", ".nvmrc"), false, "", troy.Invalid, []string{".nvmrc asks for Node.js 22.99.0, which does not exist", "available versions: 22.21.1, 22.20.0; choose one"}},
		"no such major":    {tool(t, "node", "99", ".nvmrc"), false, "", troy.Invalid, []string{"Node.js 99", "available versions: 27.0.0, 26.1.0, 25.9.0"}},
		"an empty range":   {tool(t, "node", ">23 <25", "engines.node in package.json"), false, "", troy.Invalid, []string{"engines.node in package.json asks for Node.js >23 <25"}},
		"offline":          {tool(t, "node", "22", ".nvmrc"), true, "", troy.Unavailable, []string{".nvmrc asks for Node.js 22, which is not on this machine and can't be installed: the registry answered 503", "available versions: 20.11.0;"}},
		"no installations": {tool(t, "node", "22", ".nvmrc"), false, "machine", troy.Invalid, []string{"TROY_BUILD_TOOLS=machine", "available versions: 20.11.0;", "troyd tools install"}},
		"none":             {tool(t, "zola", "0.19", ".zola-version"), false, "", troy.Invalid, []string{".zola-version asks for Zola 0.19, which Troy can install only with mise; no version is available; install mise on this machine, or add"}},
		"none to install":  {tool(t, "hugo", "0.19", ".hugo-version"), false, "machine", troy.Invalid, []string{"no version is available; install mise"}},
		"none offline":     {tool(t, "bun", "1", ".bun-version"), true, "", troy.Unavailable, []string{"no version is available; try again when the npm registry can be reached"}},
		"none here":        {tool(t, "bun", "1", ".bun-version"), false, "machine", troy.Invalid, []string{"no version is available; run \"troyd tools install\" on the server"}},
		"the machine's":    {tool(t, "ruby", "3.2", ".ruby-version"), false, "", troy.Invalid, []string{".ruby-version asks for Ruby 3.2, which Troy can install only with mise; available versions: 3.1.2; ask for one of them, install mise on this machine, or add", "TROY_BUILD_PATH"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *Config) { cfg.Install = c.mode != "machine" })
			w.has(t, "node", "v20.11.0")
			w.has(t, "ruby", "ruby 3.1.2p20 (2022-04-12) [x86_64-linux-gnu]")
			w.set(func() { w.down = c.down })
			_, _, err := w.prepare(t, c.tool)
			if troy.KindOf(err) != c.kind {
				t.Fatalf("%v, want %s", err, c.kind)
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not contain %q: %v", want, err)
				}
			}
		})
	}
}

// TestOffline uses what is there when the registry fails, before and after it
// sent its list.
func TestOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.has(t, "node", "v20.11.0")
	w.set(func() { w.down = true })
	got, log, err := w.prepare(t, build.Tool{Name: "node"})
	if err != nil || !slices.Equal(got, []string{"node@20.11.0*"}) || !strings.Contains(log, "a newer one can't be installed: the registry answered 503") {
		t.Fatalf("%q, %v:\n%s", got, err, log)
	}
	got, log, err = w.prepare(t, tool(t, "node", "node", ".nvmrc"))
	if err != nil || !slices.Equal(got, []string{"node@20.11.0*"}) || !strings.Contains(log, "from .nvmrc (node); a newer one can't be installed: the registry answered 503") {
		t.Fatalf("the newest: %q, %v:\n%s", got, err, log)
	}
	w.set(func() { w.down = false })
	if got, _, err = w.prepare(t, tool(t, "node", "22.20.0", ".nvmrc")); err != nil || got[0] != "node@22.20.0" {
		t.Fatalf("%q, %v", got, err)
	}
	// Without npm's package, the machine's has to do.
	if err := w.store.Remove(t.Context(), "npm", "10.9.4"); err != nil {
		t.Fatal(err)
	}
	w.has(t, "npm", "9.1.0")
	w.set(func() { w.down = true })
	got, log, err = w.prepare(t, tool(t, "node", "22.20.0", ".nvmrc"))
	if err != nil || !slices.Equal(got, []string{"node@22.20.0", "npm@9.1.0*"}) || !strings.Contains(log, "npm 9.1.0 of this machine: nothing names a version.") {
		t.Fatalf("%q, %v:\n%s", got, err, log)
	}
	// The newest of those that are there, stored or of the machine.
	if got, log, err = w.prepare(t, tool(t, "node", "latest", ".nvmrc")); err != nil || got[0] != "node@22.20.0" {
		t.Fatalf("the newest: %q, %v:\n%s", got, err, log)
	}
	// The list is stored, the archive of the newest can't be had.
	w.set(func() { w.down = true })
	got, log, err = w.prepare(t, tool(t, "node", "22", ".nvmrc"))
	if err != nil || got[0] != "node@22.20.0" || !strings.Contains(log, "a newer one can't be installed") {
		t.Fatalf("%q, %v:\n%s", got, err, log)
	}
}

// TestInstalledOnce has builds ask for the same tool at once, and again.
func TestInstalledOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	other, err := Open(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	w.set(func() { w.hold = hold })
	var builds sync.WaitGroup
	for i := range 8 {
		builds.Go(func() {
			store := []*Store{w.store, other}[i%2]
			set, err := store.Prepare(t.Context(), []build.Tool{tool(t, "yarn", "1.22.22", "packageManager")}, nil, func(string) {})
			if err != nil {
				t.Error(err)
				return
			}
			set.Close()
		})
	}
	close(hold)
	builds.Wait()
	if n := w.count("1.22.22.tgz"); n != 1 {
		t.Errorf("the archive was fetched %d times", n)
	}
	before := w.count("")
	if got, _, err := w.prepare(t, tool(t, "yarn", "1.22.22", "packageManager"), tool(t, "yarn", "1", "yarn.lock")); err != nil || len(got) != 2 {
		t.Errorf("%q, %v", got, err)
	}
	if after := w.count(""); after != before {
		t.Errorf("%d requests for what is there", after-before)
	}
}

// TestListIsFetchedDaily publishes a version after the list was stored.
func TestListIsFetchedDaily(t *testing.T) {
	t.Parallel()
	now := at
	w := newWorld(t, func(cfg *Config) { cfg.now = func() time.Time { return now } })
	ask := func(want string) {
		t.Helper()
		if got, _, err := w.prepare(t, tool(t, "node", "22", ".nvmrc")); err != nil || got[0] != want {
			t.Errorf("%q, %v, want %s", got, err, want)
		}
	}
	ask("node@22.21.1")
	w.add(t, w.node, "22.22.0", map[string]string{"node": "bin/node"})
	ask("node@22.21.1")
	if got, _, err := w.prepare(t, tool(t, "node", "22.22.0", ".nvmrc")); err != nil || got[0] != "node@22.22.0" {
		t.Errorf("a version that is newer than the list: %q, %v", got, err)
	}
	w.add(t, w.node, "22.23.0", map[string]string{"node": "bin/node"})
	now = now.Add(indexValid)
	ask("node@22.23.0")
}

// TestListIsParsedOnce changes a stored list in ways that a process can and can't
// notice.
func TestListIsParsedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *Config) { cfg.now = func() time.Time { return at } })
	newest := func() string {
		t.Helper()
		all, err := w.store.list(t.Context(), w.store.sources("node")[0], false)
		if err != nil || len(all) == 0 {
			t.Fatalf("%d releases, %v", len(all), err)
		}
		return all[len(all)-1].Version
	}
	was := newest() // fetched
	file := filepath.Join(w.cfg.Dir, "index", w.node+".json")
	newest() // parsed
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("9", len(was)-4) + ".9.9"
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte(`"`+was+`"`), []byte(`"`+other+`"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := newest(); got != was {
		t.Errorf("the newest is %s; a list of the same time was parsed again", got)
	}
	later := info.ModTime().Add(time.Second)
	if err := os.Chtimes(file, later, later); err != nil {
		t.Fatal(err)
	}
	if got := newest(); got != other {
		t.Errorf("the newest is %s, want %s, which another process stored", got, other)
	}
}

// TestWrongChecksum has the registry send other packages than it announces.
func TestWrongChecksum(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*fakePackage)
		says   string
	}{
		"another content":   {func(p *fakePackage) { p.integrity = integrity([]byte("another")) }, "yarn@1.22.22 has the wrong checksum and was discarded"},
		"a truncated one":   {func(p *fakePackage) { p.archive = p.archive[:len(p.archive)-8] }, "has the wrong checksum"},
		"no checksum":       {func(p *fakePackage) { p.integrity = "" }, "can't be verified"},
		"a weak one":        {func(p *fakePackage) { p.integrity = "sha1-" + strings.Repeat("A", 28) }, "can't be verified"},
		"another host":      {func(p *fakePackage) { p.tarball = "https://packages.example.com/yarn.tgz" }, "names another host"},
		"a program outside": {func(p *fakePackage) { p.bin = map[string]string{"yarn": "../../../etc/passwd"} }, "no usable program"},
		"no program":        {func(p *fakePackage) { p.bin = map[string]string{"other": "bin/yarn.js"} }, "has no program yarn"},
		"not an archive":    {func(p *fakePackage) { p.archive = []byte("text"); p.integrity = integrity(p.archive) }, "unpack yarn@1.22.22"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			p := w.packages["yarn"]["1.22.22"]
			c.change(&p)
			w.put("yarn", "1.22.22", p)
			_, _, err := w.prepare(t, tool(t, "yarn", "1.22.22", "packageManager"))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %q", err, c.says)
			}
			w.nothingLeft(t)
		})
	}
}

// nothingLeft checks that the store has no tool and no part of one.
func (w *world) nothingLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"tmp/*", "yarn/*", "node/*", "npm/*"} {
		if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	}
}

// TestDigestOfPackageManager compares corepack's digests, which are those of the
// package or, for Yarn, of its program.
func TestDigestOfPackageManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	of := func(data []byte) string {
		sum := sha512.Sum512(data)
		return "sha512." + hex.EncodeToString(sum[:])
	}
	pnpm := tool(t, "pnpm", "9.15.9", "packageManager in package.json")
	yarn := tool(t, "yarn", "4.9.1", "packageManager in package.json")
	for name, c := range map[string]struct {
		tool   build.Tool
		digest string
		says   string
	}{
		"of the package":  {pnpm, of(w.packages["pnpm"]["9.15.9"].archive), ""},
		"of the program":  {yarn, of([]byte("#!/bin/sh\necho yarn 4.9.1\n")), ""},
		"another":         {tool(t, "pnpm", "10.1.0", "packageManager"), of([]byte("another")), "the wrong checksum"},
		"unknown":         {tool(t, "pnpm", "10.1.0", "packageManager"), "md5.00", "expected an algorithm and hex digits"},
		"not hexadecimal": {tool(t, "pnpm", "10.1.0", "packageManager"), "sha512.zz", "expected an algorithm and hex digits"},
	} {
		c.tool.Digest = c.digest
		_, _, err := w.prepare(t, c.tool)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	// A tool that was installed without the digest is verified by it too.
	if _, _, err := w.prepare(t, tool(t, "pnpm", "10.1.0", "pnpm-lock.yaml")); err != nil {
		t.Fatal(err)
	}
	bad := tool(t, "pnpm", "10.1.0", "packageManager")
	bad.Digest = of([]byte("another"))
	if _, _, err := w.prepare(t, bad); err == nil {
		t.Error("an installed tool was used although packageManager has another digest")
	}
}

// TestSourcesCoverPlatforms names packages for each tool that Troy installs.
func TestSourcesCoverPlatforms(t *testing.T) {
	t.Parallel()
	if platform() == "" {
		t.Skip("no packages are built for this machine")
	}
	w := newWorld(t, nil)
	installable := map[string]bool{}
	for _, name := range build.ToolNames() {
		installable[name] = w.store.sources(name) != nil
	}
	want := map[string]bool{"node": true, "npm": true, "pnpm": true, "yarn": true, "bun": true, "deno": true, "python": false, "ruby": false, "go": true, "hugo": false, "zola": false}
	if !maps.Equal(installable, want) {
		t.Errorf("Troy installs %v", installable)
	}
}

// TestInterrupted ends a build while its tool is downloaded.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.set(func() { w.hold = make(chan struct{}) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := w.store.Prepare(ctx, []build.Tool{tool(t, "yarn", "1.22.22", "a")}, nil, func(string) {})
		done <- err
	}()
	for w.count(".tgz") == 0 {
		if ctx.Err() != nil {
			t.Fatal("no archive was fetched")
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the build got its tool")
	}
	w.nothingLeft(t)
	if _, _, err := w.store.use(t.Context(), "yarn", "1.22.22"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("use: %v", err)
	}
}
