package toolchain

import (
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
}

// asked reports whether something names the version.
func (r request) asked() bool { return r.By != "" }

// Prepare chooses the tools of a build, installs those that are missing, and
// says for each which version it is and what decided it. folders are those of
// the machine that builds search for programs. The caller closes the set when
// the build has ended. An error that is the repository's fault, or that names
// what is missing, is a *troy.Error.
func (s *Store) Prepare(ctx context.Context, tools []build.Tool, folders []string, say func(sentence string)) (*Set, error) {
	set := &Set{}
	if err := s.prepareAll(ctx, set, tools, folders, say); err != nil {
		set.Close()
		return nil, err
	}
	return set, nil
}

func (s *Store) prepareAll(ctx context.Context, set *Set, tools []build.Tool, folders []string, say func(sentence string)) error {
	var node candidate
	for _, tool := range withNpm(tools) {
		r := request{Tool: tool, folders: folders}
		switch tool.Name {
		case "npm", "pnpm", "yarn":
			r.node = node.version
		}
		if tool.Name == "npm" && !r.asked() {
			if node.version == nil || node.folder != "" {
				continue // the npm beside the machine's Node.js
			}
			// The machine's npm belongs to the machine's Node.js.
			r.Range, _ = build.ParseRange("npm", npmOf(node.version))
			r.folders = nil
		}
		c, how, err := s.get(ctx, r, set)
		if err != nil && tool.Name == "npm" && !r.asked() && len(s.onMachine(ctx, "npm", folders)) > 0 {
			r.Range, r.folders = build.Range{}, folders
			c, how, err = s.get(ctx, r, set)
		}
		if err != nil {
			return err
		}
		if c.version == nil {
			switch {
			case how.missing != nil:
				say(fmt.Sprintf("%s is not on this machine and can't be installed: %s.", tool.Label(), how.missing))
			case miseNames()[tool.Name] != "" && s.mise.program == "":
				say(tool.Label() + " is not on this machine, and Troy can install it only with mise.")
			}
			continue // the build may do without
		}
		if tool.Name == "node" {
			node = c
		}
		say(r.sentence(c, how))
		for _, other := range tool.Others {
			if !other.Range.Allows(c.version, s.now()) {
				text := fmt.Sprintf("%s asks for %s %s, which %s is not; %s decides", capital(other.By), tool.Label(), other.Text, c.version, tool.By)
				if tool.Name == "go" && strings.Contains(other.By, "go.mod") {
					text += ", but the go command gets the version of go.mod unless GOTOOLCHAIN is local"
				}
				say(text + ".")
			}
		}
	}
	return nil
}

// withNpm adds npm, which the packages of Node.js do not contain.
func withNpm(tools []build.Tool) []build.Tool {
	node := slices.IndexFunc(tools, func(t build.Tool) bool { return t.Name == "node" })
	if node < 0 || slices.ContainsFunc(tools, func(t build.Tool) bool { return t.Name == "npm" }) {
		return tools
	}
	return slices.Insert(slices.Clone(tools), node+1, build.Tool{Name: "npm"})
}

// got says how a tool came to be chosen.
type got struct {
	took      time.Duration // of the installation
	installed bool
	missing   error // why a better version could not be had
}

// maxTries is how often get chooses again because the store changed meanwhile
// or the registry failed.
const maxTries = 4

// get chooses a tool, installs it if necessary and adds it to the set. It
// chooses none for a build that may do without.
func (s *Store) get(ctx context.Context, r request, set *Set) (c candidate, how got, err error) {
	var all []candidate
	for try := range maxTries {
		// The second time the list is fetched again: the version may be newer
		// than the stored list.
		all, err = s.candidates(ctx, r, try > 0 && how.missing == nil)
		if ctx.Err() != nil {
			return c, how, ctx.Err()
		}
		if err != nil {
			how.missing = err
		}
		if how.missing != nil {
			all = slices.DeleteFunc(all, candidate.remote)
		}
		best := s.best(r, all, how.missing)
		if best < 0 && try == 0 && how.missing == nil && s.fetch && s.sources(r.Name) != nil {
			continue
		}
		if best < 0 && !r.asked() && len(all) == 0 && s.sources(r.Name) == nil {
			return candidate{}, how, nil
		}
		if best < 0 && !r.asked() && (!s.fetch || how.missing != nil && s.sources(r.Name)[0].origin != npmRegistry) {
			return candidate{}, how, nil
		}
		if best < 0 {
			return c, how, s.nothing(r, all, how.missing)
		}
		c = all[best]
		if c.remote() {
			begun := time.Now()
			how.installed, err = s.install(ctx, r.Name, c, r.Digest)
			if _, ok := errors.AsType[*unreachable](err); ok && ctx.Err() == nil {
				how.missing = err
				continue // with what is there
			}
			if err != nil {
				return c, how, err
			}
			how.took = time.Since(begun)
		}
		err = set.add(ctx, s, r.Name, c)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) {
			continue // it was removed meanwhile
		}
		break
	}
	if err == nil && how.installed {
		if err := s.trim(ctx, r.Name, c.version.String()); err != nil {
			s.log.Warn("trimming the store of tools failed", "error", err)
		}
	}
	return c, how, err
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
func (r request) sentence(c candidate, how got) string {
	text := r.Label() + " " + c.version.String()
	if c.folder != "" {
		text += " of this machine"
	}
	switch {
	case r.asked() && strings.TrimLeft(r.Text, "v=") == c.version.String():
		text += ", from " + r.By
	case r.asked():
		text += ", from " + r.By + " (" + r.Text + ")"
	case r.Name == "npm" && c.folder == "":
		text += ", which comes with Node.js " + fmt.Sprint(r.node.Major())
	case r.Name == "node" && build.DefaultNode().Allows(c.version, time.Now()):
		text += ", the current LTS: nothing names a version"
	case how.missing == nil && c.folder == "":
		text += ", the newest: nothing names a version"
	default:
		text += ": nothing names a version"
	}
	if how.missing != nil {
		text += "; a newer one can't be installed: " + how.missing.Error()
	}
	if how.installed {
		text += fmt.Sprintf("; installed in %.1f s", how.took.Seconds())
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
	set := &Set{}
	defer set.Close()
	r := request{Tool: build.Tool{Name: name, Ask: build.Ask{Text: version, By: "the command", Range: wanted}}}
	c, how, err := s.get(ctx, r, set)
	if err != nil {
		return Tool{}, false, err
	}
	record, err := s.check(name, c.version.String())
	return record.Tool, how.installed, err
}
