package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// indexName is the page that is served for a folder.
const indexName = "index.html"

// Output is the folder of a build to publish.
type Output struct {
	// Folder is relative to the repository's root.
	Folder string
	// Source reports that the folder is the one in which the commands ran, or a
	// parent of it, so that the repository's tool files are among the pages.
	Source bool
	// Warnings are sentences about parts that will not work as a site. They are
	// shown in the log and with the deployment.
	Warnings []string
	// AllowSecrets is copied from the plan.
	AllowSecrets []string
}

// candidate is a folder that may be the output.
type candidate struct {
	folder  string
	pattern int  // the index of its pattern in the plan's outputs
	index   bool // it has an index.html
	fresh   bool // the build wrote the index.html
	written bool // the build wrote a file in it
}

// FindOutput returns the folder in which a build left the site.
//
// A configured folder is accepted, with a warning if it has no index.html or
// contains server code. Any other folder must have an index.html, must have
// been written by the build (if one ran) and must not contain server code.
// Otherwise the error is Invalid and says, in a sentence for the log, what was
// found and what to do. FindOutput does not check whether the folder is empty.
func (p Plan) FindOutput(ctx context.Context, fsys fs.FS, written Written) (Output, error) {
	if p.OutputSaid {
		return p.namedOutput(ctx, fsys, written)
	}
	all, linked, err := p.candidates(ctx, fsys, written)
	if err != nil {
		return Output{}, err
	}
	if len(all) == 0 && linked != nil {
		return Output{}, linked
	}
	folder, err := p.choose(all, written)
	if err != nil {
		return Output{}, err
	}
	if folder == "" {
		return Output{}, p.noOutput(ctx, fsys, all, written)
	}
	evidence, err := p.serverCode(ctx, fsys, folder)
	if err != nil {
		return Output{}, err
	}
	if evidence != "" {
		return Output{}, troy.Errorf(troy.Invalid, "the folder %q contains server code (%s), which would be published instead of run; %s", folder, evidence, p.advice(folder))
	}
	return p.output(folder), nil
}

func (p Plan) output(folder string) Output {
	return Output{Folder: folder, Source: within(p.Root, folder), AllowSecrets: p.AllowSecrets}
}

// NotOfSite returns .gitignore rules for the files that a repository keeps in
// its top folder for tools. They are not part of a site that is the repository
// itself.
func NotOfSite() []string {
	names := strings.Fields(`
		package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml pnpm-workspace.yaml bun.lock bun.lockb
		bunfig.toml bower.json lerna.json nx.json turbo.json deno.json deno.jsonc deno.lock jsr.json tsconfig.json tsconfig.*.json
		jsconfig.json biome.json biome.jsonc
		*.config.js *.config.cjs *.config.mjs *.config.ts *.config.cts *.config.mts gulpfile.* Gruntfile.*
		Gemfile Gemfile.lock *.gemspec Rakefile
		requirements.txt requirements-*.txt pyproject.toml setup.py setup.cfg poetry.lock uv.lock Pipfile Pipfile.lock tox.ini
		runtime.txt go.mod go.sum go.work go.work.sum Cargo.toml Cargo.lock composer.json composer.lock mix.exs mix.lock
		troy.toml netlify.toml vercel.json now.json wrangler.toml wrangler.json wrangler.jsonc firebase.json fly.toml render.yaml
		staticwebapp.config.json amplify.yml buildspec.yml app.yaml Procfile
		Makefile GNUmakefile makefile Justfile justfile Taskfile.yml Taskfile.yaml
		Dockerfile Dockerfile.* *.dockerfile Containerfile compose.yml compose.yaml docker-compose.* Vagrantfile Jenkinsfile
		bitbucket-pipelines.yml azure-pipelines.yml cloudbuild.yaml renovate.json codecov.yml flake.nix flake.lock
		netlify/functions/ netlify/edge-functions/`)
	for i, name := range names {
		names[i] = "/" + name
	}
	return names
}

// OutputMissing reports whether a folder is configured that does not exist after
// the build. FindOutput then says which folders the build wrote to.
func (p Plan) OutputMissing(fsys fs.FS) bool {
	return p.OutputSaid && !isFolder(fsys, path.Join(p.Root, p.Outputs[0]))
}

// wroteTo returns where the build wrote, as a clause.
func (p Plan) wroteTo(written Written) string {
	if top := written.top(p.Root); len(top) > 0 {
		return "it wrote to " + listed(top)
	}
	return "it did not write to any folder"
}

func (p Plan) namedOutput(ctx context.Context, fsys fs.FS, written Written) (Output, error) {
	name := path.Join(p.Root, p.Outputs[0])
	folders, linked := onlyFolders(fsys, []string{name})
	if linked != nil {
		return Output{}, linked
	}
	if len(folders) == 0 {
		if written.folders == nil { // nothing ran
			return Output{}, troy.Errorf(troy.Invalid, "the output folder %q is missing after the build", name)
		}
		return Output{}, troy.Errorf(troy.Invalid, "the output folder %q is missing after the build; %s; correct the command or the name of the folder", name, p.wroteTo(written))
	}
	out := p.output(name)
	if !isFile(fsys, path.Join(name, indexName)) {
		out.Warnings = append(out.Warnings, fmt.Sprintf("The output folder %q has no index.html, so the site has no home page.", name))
	}
	evidence, err := p.serverCode(ctx, fsys, name)
	if err != nil {
		return Output{}, err
	}
	if evidence != "" {
		out.Warnings = append(out.Warnings, fmt.Sprintf("The output folder %q contains server code (%s). Troy does not run it, and it is public.", name, evidence))
	}
	return out, nil
}

// candidates returns the folders that may be the output. linked is an error
// about the first folder that was skipped because it is behind a link.
func (p Plan) candidates(ctx context.Context, fsys fs.FS, written Written) (all []candidate, linked, err error) {
	for i, pattern := range p.Outputs {
		folders, behind, err := p.folders(ctx, fsys, pattern)
		if err != nil {
			return nil, nil, err
		}
		if linked == nil {
			linked = behind
		}
		for _, folder := range folders {
			if ctx.Err() != nil {
				return nil, nil, context.Cause(ctx)
			}
			c := candidate{folder: folder, pattern: i, index: isFile(fsys, path.Join(folder, indexName))}
			c.fresh = c.index && (p.Build == "" || written.sites[folder])
			c.written = p.Build == "" || written.below(folder)
			all = append(all, c)
		}
	}
	return all, linked, nil
}

// choose returns the folder to publish, or "". A fresh index.html takes
// precedence over one from the repository, which may be a template. A folder
// with an old index.html and other fresh files counts only if no other folder
// looks like a site.
func (p Plan) choose(all []candidate, written Written) (string, error) {
	if folder, err := p.first(all, func(c candidate) bool { return c.fresh }); folder != "" || err != nil {
		return folder, err
	}
	if len(written.elsewhere(all)) > 0 {
		return "", nil
	}
	return p.first(all, func(c candidate) bool { return c.index && c.written })
}

// first returns the only wanted folder of the likeliest output. The usual
// folders are equally likely.
func (p Plan) first(all []candidate, wanted func(candidate) bool) (string, error) {
	var found []candidate
	for _, c := range all {
		if wanted(c) && (len(found) == 0 || found[0].pattern == c.pattern || p.Generator == "" && c.folder != p.Root) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0].folder, nil
	}
	return "", troy.Errorf(troy.Invalid, "the build made %d sites (%s); %s", len(found), listed(folderNames(found)), nameIt)
}

const nameIt = "set the output folder in troy.toml or in the pipeline's settings"

// mostSearched is the maximum number of folders without a page that are
// searched for server code, which only makes the error clearer.
const mostSearched = 8

// noOutput explains why none of the candidates can be published.
func (p Plan) noOutput(ctx context.Context, fsys fs.FS, all []candidate, written Written) error {
	pageless := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !c.written || c.index })
	for _, c := range pageless[:min(len(pageless), mostSearched)] {
		evidence, err := p.serverCode(ctx, fsys, c.folder)
		if err != nil {
			return err
		}
		if evidence != "" {
			advice := p.advice("")
			if advice == nameIt {
				advice = "Troy runs no servers; build pages, and if they are in another folder, " + nameIt
			}
			return troy.Errorf(troy.Invalid, "the folder %q is not a site: it contains server code (%s) and no index.html; %s", c.folder, evidence, advice)
		}
	}
	if other := written.elsewhere(all); len(other) > 0 {
		return troy.Errorf(troy.Invalid, "the build wrote a site to %s, which is not a known output folder; %s", listed(other), nameIt)
	}
	if len(pageless) > 0 {
		return troy.Errorf(troy.Invalid, "the folder %q is not a site: it has no index.html; %s", pageless[0].folder, p.advice(pageless[0].folder))
	}
	wanted := make([]string, len(p.Outputs))
	for i, o := range p.Outputs {
		wanted[i] = path.Join(p.Root, o)
	}
	wrote := p.wroteTo(written)
	if len(all) > 0 {
		return troy.Errorf(troy.Invalid, "the build did not write to %s, which comes from the repository; %s; %s", listed(folderNames(all)), wrote, p.advice(""))
	}
	where := fmt.Sprintf("the output folder %q is missing", wanted[0])
	if len(wanted) > 1 {
		where = fmt.Sprintf("the output folder is missing: none of %s exists", strings.Join(wanted, ", "))
	}
	return troy.Errorf(troy.Invalid, "%s after the build; %s; %s", where, wrote, p.advice(""))
}

// advice returns the remedy for a build without a site. folder is the folder to
// publish if it is configured, or empty.
func (p Plan) advice(folder string) string {
	if f, ok := framework(p.Generator); ok && f.Static != "" {
		return f.advice()
	}
	if folder == "" {
		return nameIt
	}
	return "to publish it anyway, " + nameIt
}

func folderNames(all []candidate) []string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.folder
	}
	return names
}

// listed formats names for a sentence. It abbreviates a long list.
func listed(names []string) string {
	const shown = 6
	more := ""
	if len(names) > shown {
		more = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ") + more
}

// folders returns the folders that match a pattern. A folder behind a link
// counts as missing, because a published folder must be where it appears to be;
// linked is an error about the first of those.
func (p Plan) folders(ctx context.Context, fsys fs.FS, pattern string) (folders []string, linked, err error) {
	name := path.Join(p.Root, pattern)
	// Only the pattern may contain wildcards; the root folder may have any
	// name.
	matches := []string{name}
	if strings.Contains(pattern, "*") {
		parent, rest, _ := strings.Cut(pattern, "*")
		dir := path.Join(p.Root, parent)
		inside, err := names(ctx, fsys, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, nil // the build created nothing there
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err != nil:
			return nil, nil, troy.Errorf(troy.Invalid, "the output folder %q can't be read: %w", dir, err)
		}
		matches = matches[:0]
		for _, name := range inside {
			matches = append(matches, path.Join(dir, name, rest))
		}
	}
	folders, linked = onlyFolders(fsys, matches)
	return folders, linked, nil
}

// onlyFolders returns the names that are folders and not behind a link, and an
// error about the first one behind a link.
func onlyFolders(fsys fs.FS, names []string) (folders []string, linked error) {
	for _, name := range names {
		if !isFolder(fsys, name) {
			continue
		}
		link := linkAbove(fsys, name)
		if link == "" {
			folders = append(folders, name)
		} else if linked == nil {
			linked = troy.Errorf(troy.Invalid, "the output folder %q is behind the symbolic link %q; make it a real folder", name, link)
		}
	}
	return folders, linked
}

// linkAbove returns the prefix of a path that is a link, or "".
func linkAbove(fsys fs.FS, name string) string {
	for part := name; part != "."; part = path.Dir(part) {
		info, err := fs.Lstat(fsys, part)
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return part
		}
	}
	return ""
}

// names returns the names in a folder. A build may have left any number of
// them.
func names(ctx context.Context, fsys fs.FS, dir string) ([]string, error) {
	f, err := fsys.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	folder, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, errors.New("it is not a folder")
	}
	var all []string
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		entries, err := folder.ReadDir(256)
		for _, entry := range entries {
			all = append(all, entry.Name())
		}
		switch {
		case errors.Is(err, io.EOF):
			slices.Sort(all)
			return all, nil
		case err != nil:
			return nil, err
		case len(all) > mostNames:
			return nil, fmt.Errorf("it has more than %d entries", mostNames)
		}
	}
}

// mostNames is the maximum number of entries of a folder that is matched with a
// wildcard. A generator creates one folder there for each site or language.
const mostNames = 10_000
