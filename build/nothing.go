package build

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/troy-iaas/troy"
)

// The limits of sitesBelow.
const (
	mostBelow      = 300
	mostSitesBelow = 5
)

// nothing returns the error about a root folder in which there is nothing to
// build. It names the sites in the folders below, and the files of other
// platforms that can't be read.
func nothing(fsys fs.FS, root string, unread []string) error {
	text := fmt.Sprintf("found nothing to build in %q: expected a package.json with a build script, a known generator, or an index.html", root)
	for _, note := range unread {
		text += "; " + strings.TrimSuffix(note, ".")
	}
	below := sitesBelow(fsys, root)
	const how = "under [build] in troy.toml, or as the root folder in the pipeline's settings"
	switch len(below) {
	case 0:
		return troy.Errorf(troy.Invalid, "%s; set the build command and the output folder in troy.toml or in the pipeline's settings", text)
	case 1:
		return troy.Errorf(troy.Invalid, "%s; there is a site in %q (%s): set root = %q %s", text, below[0].dir, below[0].generator, below[0].dir, how)
	}
	names := make([]string, len(below))
	for i, s := range below {
		names[i] = fmt.Sprintf("%q (%s)", s.dir, s.generator)
	}
	return troy.Errorf(troy.Invalid, "%s; there are sites in %s: choose one with root = %q %s", text, strings.Join(names, ", "), below[0].dir, how)
}

// sitesBelow returns the first sites in the folders below a root folder and in
// the folders of these.
func sitesBelow(fsys fs.FS, root string) []member {
	var found []member
	seen := 0
	level := []string{root}
	for range 2 {
		var next []string
		for _, above := range level {
			entries, err := fs.ReadDir(fsys, above)
			if err != nil {
				continue
			}
			for _, entry := range entries {
				if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules" {
					continue
				}
				if seen++; seen > mostBelow || len(found) == mostSitesBelow {
					return found
				}
				dir := path.Join(above, entry.Name())
				switch d, err := detect(fsys, dir); {
				case err != nil || !d.site || d.catalogue:
					next = append(next, dir)
				case d.generator != "":
					found = append(found, member{dir, d.generator})
				case d.plain:
					found = append(found, member{dir, "plain HTML"})
				default:
					found = append(found, member{dir, "scripts.build in package.json"})
				}
			}
		}
		level = next
	}
	return found
}
