package build

import (
	"io/fs"
	"path"
	"regexp"
)

// callsPip is a command that installs with pip.
var callsPip = regexp.MustCompile(`\bpip3?\b`)

// findPython looks for what pip installs. Where no other manager has a
// lockfile, its list names the dependency cache.
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
