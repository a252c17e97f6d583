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

// FindOutput returns the folder, relative to the repository's root, where a
// build left the site: the first of the plan's outputs that is there with an
// index.html, else the first that is there with anything. That none is there,
// or that a wildcard fits several is a *troy.Error of kind Invalid, in a
// sentence for the log. Whoever opens the folder sees whether it is empty.
func (p Plan) FindOutput(ctx context.Context, fsys fs.FS) (string, error) {
	var there []string
	for _, pattern := range p.Outputs {
		folders, err := p.folders(ctx, fsys, pattern)
		if err != nil {
			return "", err
		}
		var sites []string
		for _, folder := range folders {
			if p.OutputSaid || isFile(fsys, path.Join(folder, "index.html")) {
				sites = append(sites, folder)
			}
		}
		if len(sites) > 1 {
			return "", troy.Errorf(troy.Invalid, "the build made %d sites (%s); name the output folder in troy.toml or in the pipeline's settings", len(sites), strings.Join(sites, ", "))
		}
		if len(sites) == 1 {
			return sites[0], nil
		}
		there = append(there, folders...)
	}
	if len(there) > 0 {
		return there[0], nil
	}
	wanted := make([]string, len(p.Outputs))
	for i, o := range p.Outputs {
		wanted[i] = path.Join(p.Root, o)
	}
	if len(wanted) == 1 {
		return "", troy.Errorf(troy.Invalid, "the output folder %q is missing after the build", wanted[0])
	}
	return "", troy.Errorf(troy.Invalid, "the output folder is missing after the build: none of %s is there", strings.Join(wanted, ", "))
}

// folders are those that a pattern names. A folder that is a link counts as
// missing, for what is published has to lie where it seems to lie.
func (p Plan) folders(ctx context.Context, fsys fs.FS, pattern string) ([]string, error) {
	name := path.Join(p.Root, pattern)
	if p.OutputSaid {
		return onlyFolders(fsys, []string{name})
	}
	// What an earlier part of the path has of special characters is no
	// pattern, but the root folder may be called anything.
	matches := []string{name}
	if strings.Contains(pattern, "*") {
		parent, rest, _ := strings.Cut(pattern, "*")
		dir := path.Join(p.Root, parent)
		inside, err := names(ctx, fsys, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil // nothing was built there
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, troy.Errorf(troy.Invalid, "the output folder %q can't be read: %w", dir, err)
		}
		matches = matches[:0]
		for _, name := range inside {
			matches = append(matches, path.Join(dir, name, rest))
		}
	}
	return onlyFolders(fsys, matches)
}

func onlyFolders(fsys fs.FS, names []string) ([]string, error) {
	names = slices.DeleteFunc(names, func(name string) bool { return !isFolder(fsys, name) })
	for _, name := range names {
		for part := name; part != "."; part = path.Dir(part) {
			info, err := fs.Lstat(fsys, part)
			if err != nil || info.Mode()&fs.ModeSymlink != 0 {
				return nil, troy.Errorf(troy.Invalid, "the output folder %q is behind the symbolic link %q; make it a real folder", name, part)
			}
		}
	}
	return names, nil
}

// names lists a folder. A build may have left any number of names in it.
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

// mostNames is how many entries a folder may have that a wildcard is matched
// with: a generator makes one folder there for each site or language.
const mostNames = 10_000
