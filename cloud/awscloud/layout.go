package awscloud

import (
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// layout says which keys the pages of a sealed tree have. Files that are sent
// have one each (addresses.key).
type layout int

const (
	// twoPerPage: the name of the file, and the canonical key if no other file
	// has it. The trees of versions before onePerPage have this layout.
	twoPerPage layout = iota
	// onePerPage: the canonical key. The viewer-request function requests it
	// for the name of the file too, since the pointer says so.
	onePerPage
	// fileNames: the name of the file.
	fileNames
)

// layoutOf returns the layout for a tree's files and rules. Publishing a tree
// with onePerPage copies no page.
func layoutOf(files []site.File, own *addresses, plan rules.FunctionPlan) layout {
	if plan.FileNames {
		return fileNames
	}
	pages := false
	for _, f := range files {
		if canonicalKey(f.Path) == "" {
			continue
		}
		pages = true
		if own.key(f.Path) == fileKey(f.Path) {
			return twoPerPage // about.html and about/index.html
		}
	}
	for _, o := range plan.Objects {
		// The key of its redirect is the file name of a page.
		if canonicalKey(rules.FunctionKey(o.Path)) != "" {
			return twoPerPage
		}
	}
	if !pages {
		return twoPerPage // which has the same keys, and needs no mark
	}
	return onePerPage
}

// keysOf returns a function that returns a key under which a sealed tree with
// this manifest has a file, in whatever layout.
func keysOf(m site.Manifest) (func(p string) string, error) {
	if m.Rules != nil {
		r, err := rules.Decode(m.Rules)
		if err != nil {
			return nil, err
		}
		if clean := r.Site.CleanURLs; clean != nil && !*clean {
			return fileKey, nil
		}
	}
	var own *addresses
	return func(p string) string {
		if canonicalKey(p) == "" {
			return fileKey(p)
		}
		if own == nil {
			own = addressesOf(m)
		}
		return own.key(p)
	}, nil
}

// key returns the key at which the functions look for a page.
func (s served) key(p string) string {
	if key := canonicalKey(p); s.Pages == 1 && key != "" {
		return key
	}
	return fileKey(p)
}
