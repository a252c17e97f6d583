package toolchain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// request is what one tool of a build is chosen by.
type request struct {
	build.Tool
	// node is the chosen Node.js, with which the tool has to work; nil is none.
	node *semver.Version
	// folders are the machine's folders with programs; nil leaves the machine's
	// programs out.
	folders []string
	// chosen, if not nil, is called with each version that is chosen, before it is
	// installed.
	chosen func(candidate)
}

// asked reports whether something names the version.
func (r request) asked() bool { return r.By != "" }

// got is a tool that a build gets. Its version is nil if the build may do without
// the tool.
type got struct {
	request
	candidate
	ready   Ready
	record  record // of a tool in the store, which is in use until release is called
	release func()

	took      time.Duration // of the installation
	installed bool
	missing   error // why a better version could not be had
}

// maxTries is how often get chooses again because the store changed meanwhile
// or the registry failed.
const maxTries = 4

// get chooses a tool, installs it if necessary and uses it. It chooses none for a
// build that may do without.
func (s *Store) get(ctx context.Context, r request) (got, error) {
	g := got{request: r}
	var err error
	for try := range maxTries {
		// The second time the list is fetched again: the version may be newer
		// than the stored list.
		var all []candidate
		all, err = s.candidates(ctx, r, try > 0 && g.missing == nil)
		if ctx.Err() != nil {
			return got{}, ctx.Err()
		}
		if err != nil {
			g.missing = err
		}
		if g.missing != nil {
			all = slices.DeleteFunc(all, candidate.remote)
		}
		best := s.best(r, all, g.missing)
		if best < 0 && try == 0 && g.missing == nil && s.fetch && s.sources(r.Name) != nil {
			continue
		}
		if best < 0 && s.optional(r, all, g.missing) {
			g.candidate = candidate{}
			return g, nil
		}
		if best < 0 {
			return got{}, s.nothing(r, all, g.missing)
		}
		g.candidate = all[best]
		if r.chosen != nil {
			r.chosen(g.candidate)
		}
		if g.remote() {
			begun := time.Now()
			g.installed, err = s.install(ctx, r.Name, g.candidate, r.Digest)
			if _, ok := errors.AsType[*unreachable](err); ok && ctx.Err() == nil {
				g.missing = err
				continue // with what is there
			}
			if err != nil {
				return got{}, err
			}
			g.took = time.Since(begun)
		}
		err = s.take(ctx, &g)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) {
			continue // it was removed meanwhile
		}
		break
	}
	if err != nil {
		return got{}, err
	}
	return g, nil
}

// optional reports whether a build may do without a tool of which no version
// fits.
func (s *Store) optional(r request, all []candidate, missing error) bool {
	if r.asked() {
		return false
	}
	sources := s.sources(r.Name)
	return len(all) == 0 && sources == nil || !s.fetch || missing != nil && sources[0].origin != npmRegistry
}

// take makes a chosen tool ready.
func (s *Store) take(ctx context.Context, g *got) (err error) {
	g.ready = Ready{Name: g.Name, Version: g.version.String(), Folder: g.folder}
	if g.folder == "" {
		g.record, g.release, err = s.use(ctx, g.Name, g.ready.Version)
		g.ready.Dir, g.ready.Bin = s.path(g.Name, g.ready.Version), cmp.Or(g.record.Bin, "bin")
	}
	return err
}

// remote reports whether the candidate has to be installed first.
func (c candidate) remote() bool { return c.folder == "" && !c.stored }

// candidates returns the versions of a tool that a build could get, of the
// machine first. It asks the registry only if it has to. The error says why
// those of the registry may be missing.
func (s *Store) candidates(ctx context.Context, r request, fresh bool) (all []candidate, err error) {
	all = s.onMachine(ctx, r.Name, r.folders)
	if slices.ContainsFunc(all, func(c candidate) bool { return s.machineFits(r, c) }) {
		return all, nil
	}
	stored := map[string]bool{}
	for _, v := range s.versions(r.Name) {
		if r.Digest != "" {
			if rec, err := s.check(r.Name, v.String()); err != nil || rec.Digest != r.Digest {
				continue
			}
		}
		stored[v.String()] = true
		all = append(all, candidate{version: v, stored: true})
	}
	if exact := r.Range.Exact(); exact != nil && stored[exact.String()] || !s.fetch {
		return all, nil
	}
	found := false
	for _, from := range s.sources(r.Name) {
		releases, listErr := s.list(ctx, from, fresh)
		if listErr != nil {
			err = listErr
		} else {
			found = true
		}
		if exact := r.Range.Exact(); exact != nil && from.origin == goModules && !slices.ContainsFunc(releases, func(r release) bool { return r.Version == exact.String() }) {
			if rel, infoErr := s.modules.unlisted(ctx, exact.String()); infoErr == nil {
				releases = append(slices.Clone(releases), rel)
			}
		}
		for _, rel := range releases {
			v, parseErr := semver.StrictNewVersion(rel.Version)
			if parseErr != nil || !from.has(v) || stored[v.String()] {
				continue
			}
			if r.Range.Exact() != nil || worksWith(rel, r.node) {
				all = append(all, candidate{version: v, rel: rel, from: from})
			}
		}
	}
	if found {
		err = nil // a mirror may lack one of the packages
	}
	return all, err
}

// machineFits reports whether a program of the machine is taken before others.
// Where nothing names a version of Node.js, it has to be of the current line.
func (s *Store) machineFits(r request, c candidate) bool {
	if c.folder == "" || !r.Range.Allows(c.version, s.now()) {
		return false
	}
	if r.Range.Newest() {
		return false // unless it is the newest that can be had
	}
	return r.Name != "node" || r.asked() || build.DefaultNode().Allows(c.version, s.now())
}

// worksWith reports whether a release works with a version of Node.js.
func worksWith(rel release, node *semver.Version) bool {
	if node == nil || rel.Node == "" {
		return true
	}
	r, ok := build.ParseRange("npm", rel.Node)
	return !ok || r.Allows(node, time.Time{})
}

// best returns the index of the candidate to use, or -1: the machine's if it
// fits, else the best version. A program of the machine that is not of the
// current line is used only if the registry can't be reached.
func (s *Store) best(r request, all []candidate, missing error) int {
	if i := slices.IndexFunc(all, func(c candidate) bool { return s.machineFits(r, c) }); i >= 0 {
		return i
	}
	pick := func(use func(candidate) bool) int {
		var versions []*semver.Version
		var indices []int
		for i, c := range all {
			if use(c) {
				versions, indices = append(versions, c.version), append(indices, i)
			}
		}
		if best := r.Range.Best(r.Name, versions, s.now()); best >= 0 {
			return indices[best]
		}
		return -1
	}
	if r.Range.Newest() && (!s.fetch || missing != nil || len(s.sources(r.Name)) == 0) {
		return pick(func(candidate) bool { return true })
	}
	if i := pick(func(c candidate) bool { return c.folder == "" }); i >= 0 || r.asked() {
		return i
	}
	if s.fetch && missing == nil && len(s.sources(r.Name)) > 0 {
		return -1
	}
	return pick(func(c candidate) bool { return c.folder != "" })
}

// sentence says which version was chosen and why.
func (g got) sentence() string {
	text := g.Label() + " " + g.version.String()
	if g.folder != "" {
		text += " of this machine"
	}
	switch {
	case g.asked() && strings.TrimLeft(g.Text, "v=") == g.version.String():
		text += ", from " + g.By
	case g.asked():
		text += ", from " + g.By + " (" + g.Text + ")"
	case g.Name == "npm" && g.folder == "":
		text += ", which comes with Node.js " + fmt.Sprint(g.node.Major())
	case g.Name == "node" && build.DefaultNode().Allows(g.version, time.Now()):
		text += ", the current LTS: nothing names a version"
	case g.missing == nil && g.folder == "":
		text += ", the newest: nothing names a version"
	default:
		text += ": nothing names a version"
	}
	if g.missing != nil {
		text += "; a newer one can't be installed: " + g.missing.Error()
	}
	if g.installed {
		text += fmt.Sprintf("; installed in %.1f s", g.took.Seconds())
	}
	return text + "."
}

// nothing returns the error for a tool of which no version fits. missing is why
// the registry's versions are unknown or can't be had, if so.
func (s *Store) nothing(r request, all []candidate, missing error) error {
	by, wanted := capital(r.By), r.Label()+" "+r.Text
	if !r.asked() {
		by, wanted = "The build", r.Label()
	}
	if len(s.sources(r.Name)) == 0 {
		can, next, cure := "can't install", "ask for one of them, or ", ""
		if miseNames()[r.Name] != "" && s.mise.program == "" {
			can, next, cure = "can install only with mise", "ask for one of them, ", "install mise on this machine, or "
		}
		return troy.Errorf(troy.Invalid, "%s asks for %s, which Troy %s; %s%sadd the folder of its program to TROY_BUILD_PATH", by, wanted, can, there(all, next), cure)
	}
	if !s.fetch {
		return troy.Errorf(troy.Invalid, "%s asks for %s, and builds here use only what is installed (TROY_BUILD_TOOLS=machine); %srun \"troyd tools install\" on the server", by, wanted, there(all, "ask for one of them, or "))
	}
	if missing != nil {
		return troy.Errorf(troy.Unavailable, "%s asks for %s, which is not on this machine and can't be installed: %w; %stry again when %s can be reached", by, wanted, missing, there(all, "ask for one of them, or "), s.sources(r.Name)[0].origin)
	}
	near := slices.Clone(all)
	if major := majorOf(r.Range); major >= 0 {
		near = slices.DeleteFunc(near, func(c candidate) bool { return int(c.version.Major()) != major })
	}
	if len(near) == 0 {
		near = all
	}
	return troy.Errorf(troy.Invalid, "%s asks for %s, which does not exist; %s", by, wanted, strings.TrimSuffix(there(near, "choose one of them"), "; "))
}

// majorOf returns the major version of an exact version, or -1.
func majorOf(r build.Range) int {
	if v := r.Exact(); v != nil {
		return int(v.Major())
	}
	return -1
}

// maxNamed is how many versions an error names.
const maxNamed = 6

// there lists versions, the newest first, and says what to do with them, with a
// semicolon between.
func there(all []candidate, what string) string {
	var versions []*semver.Version
	for _, c := range all {
		if c.version.Prerelease() == "" && !slices.ContainsFunc(versions, c.version.Equal) {
			versions = append(versions, c.version)
		}
	}
	slices.SortFunc(versions, func(a, b *semver.Version) int { return b.Compare(a) })
	var words []string
	for i, v := range versions {
		if i == maxNamed {
			words = append(words, "…")
			break
		}
		words = append(words, v.String())
	}
	if len(words) == 0 {
		return "no version is available; "
	}
	return "available versions: " + strings.Join(words, ", ") + "; " + what
}

// capital returns a sentence with a capital letter, unless it begins with a
// file's name or a key.
func capital(text string) string {
	if rest, found := strings.CutPrefix(text, "the "); found {
		return "The " + rest
	}
	return text
}

// Install installs the best version of a tool, such as "node@22" or "pnpm", and
// returns it. It is a *troy.Error if there is none.
func (s *Store) Install(ctx context.Context, text string) (Tool, bool, error) {
	name, version, _ := strings.Cut(text, "@")
	if miseNames()[name] != "" && s.mise.program == "" {
		return Tool{}, false, troy.Errorf(troy.Invalid, "%s can be installed only with mise, which is not in the PATH of this process; install it, for example by \"npm install -g @jdxcode/mise\"", build.ToolLabel(name))
	}
	if !slices.Contains(build.ToolNames(), name) || s.sources(name) == nil {
		return Tool{}, false, troy.Errorf(troy.Invalid, "%.80q is not a tool that Troy can install here; expected node, npm, pnpm, yarn, bun, deno, go, python, ruby, hugo or zola, and a version, like node@22", text)
	}
	wanted, ok := build.ParseRange(name, version)
	if !ok {
		return Tool{}, false, troy.Errorf(troy.Invalid, "%.80q is not a version; write one like node@22, node@lts/jod or pnpm@^9.1", version)
	}
	g, err := s.get(ctx, request{Tool: build.Tool{Name: name, Ask: build.Ask{Text: version, By: "the command", Range: wanted}}})
	if err != nil {
		return Tool{}, false, err
	}
	set := &Set{}
	set.add(g)
	s.finish(ctx, set)
	set.Close()
	r, err := s.check(name, g.ready.Version)
	return r.Tool, g.installed, err
}
