package build

import (
	"io/fs"
	"path"
	"regexp"
)

// callsPip matches a command that calls pip.
var callsPip = regexp.MustCompile(`\bpip3?\b`)

// findPython finds the list of packages for pip. If no other manager has a
// lockfile, that list is the key of the dependency cache.
func (p *Plan) findPython(fsys fs.FS) {
	if p.Install+p.Build+p.Test == "" {
		return
	}
	p.Python = callsPip.MatchString(p.Install + "\n" + p.Build + "\n" + p.Test)
	for _, dir := range []string{p.Root, "."} {
		for _, name := range []string{"requirements.txt", "pyproject.toml"} {
			file := path.Join(dir, name)
			if !isFile(fsys, file) {
				continue
			}
			p.Python = true
			if p.Lockfile == "" && p.Manager == "" {
				p.Manager, p.Lockfile = "pip", file
			}
		}
	}
}
