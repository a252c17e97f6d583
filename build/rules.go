package build

import (
	"errors"
	"io/fs"
	"path"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site/rules"
)

// rulesIn returns the parts of the repository's configuration files that
// contain rules of the site: of each name, the file in the root folder or else
// in the repository's root.
func rulesIn(fsys fs.FS, root string) ([]rules.ConfigFile, error) {
	dirs := []string{root}
	if root != "." {
		dirs = append(dirs, ".")
	}
	var found []rules.ConfigFile
	for _, name := range rules.ConfigNames() {
		for _, dir := range dirs {
			data, err := readFile(fsys, path.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			f, ok, err := rules.NewConfig(name, data)
			if err != nil {
				return nil, troy.Errorf(troy.KindOf(err), "%w", err)
			}
			if ok {
				found = append(found, f)
			}
			break
		}
	}
	return found, nil
}
