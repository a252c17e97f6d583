package build

import (
	"io/fs"
	"path"
	"strings"
)

// CacheKey returns the package manager and the file in the repository that name
// the dependency cache: the lockfile, or else the list of packages. Without one
// both are empty, and the build needs no cache.
func (p Plan) CacheKey(repo fs.FS) (manager, file string) {
	if p.Lockfile != "" {
		return p.Manager, p.Lockfile
	}
	for _, list := range []struct{ manager, file string }{
		{p.Manager, "package.json"}, {"go", "go.sum"}, {"go", "go.mod"}, {"hugo", "hugo.toml"}, {"hugo", "hugo.yaml"}, {"hugo", "config.toml"},
	} {
		if list.manager == "" || list.manager == "hugo" && p.Generator != "Hugo" {
			continue
		}
		name := path.Join(p.Root, list.file)
		if info, err := fs.Stat(repo, name); err == nil && info.Mode().IsRegular() {
			return list.manager, name
		}
	}
	return "", ""
}

// CacheVariables returns the variables that make package managers keep their
// downloads in the dependency cache, with folders relative to it.
func (p Plan) CacheVariables() map[string]string {
	all := map[string]string{
		"npm_config_cache":      "npm",
		"YARN_CACHE_FOLDER":     "yarn",
		"YARN_GLOBAL_FOLDER":    "berry",
		"BUN_INSTALL_CACHE_DIR": "bun",
		"BUNDLE_PATH":           "bundle",
		"PIP_CACHE_DIR":         "pip",
		"UV_CACHE_DIR":          "uv",
		"GOMODCACHE":            "go/modules",
		"GOCACHE":               "go/objects",
		"HUGO_CACHEDIR":         "hugo",
		"DENO_DIR":              "deno",
	}
	if p.Manager == "pnpm" {
		// npm warns about settings that it does not know. Since version 11, pnpm
		// reads other variables, and its cache has what it verified.
		all["npm_config_store_dir"], all["pnpm_config_store_dir"] = "pnpm", "pnpm"
		all["pnpm_config_cache_dir"] = "pnpm-cache"
	}
	return all
}

// CachedFolder is a folder of the repository in which the generator keeps what
// makes the next build faster.
type CachedFolder struct {
	// Folder is relative to the root folder, Inside to the repository.
	Folder, Inside string
	// Name is its name in the dependency cache, which no other folder has.
	Name string
	// Published reports whether it may be part of the site: then the cache does
	// not keep it.
	Published bool
}

// CachedFolders returns the folders that the dependency cache keeps.
func (p Plan) CachedFolders() []CachedFolder {
	var all []CachedFolder
	for _, folder := range p.Caches() {
		inside := path.Join(p.Root, folder)
		name := strings.NewReplacer("%", "%25", "/", "%2f").Replace(inside)
		all = append(all, CachedFolder{Folder: folder, Inside: inside, Name: name, Published: p.publishes(inside)})
	}
	return all
}

// publishes reports whether a folder may be part of the site.
func (p Plan) publishes(inside string) bool {
	for _, output := range p.Outputs {
		output = path.Join(p.Root, output)
		if output == "." || inside == output || strings.HasPrefix(inside, output+"/") {
			return !strings.HasPrefix(inside, ".")
		}
	}
	return false
}
