package build

import (
	"io/fs"
	"path"
	"regexp"
)

var (
	// buildAlone matches a script that does nothing but build with Next.js or
	// React Router. Others may make files of what it builds.
	buildAlone = regexp.MustCompile(`^(?:(?:cross-env|[A-Z_][A-Z0-9_]*=\S*)\s+)*(?:next|react-router) build(?:\s+--?[a-z][a-z-]*(?:=\S+)?)*$`)
	// mayExport matches what may make Next.js write files: the value of output,
	// or settings that are elsewhere.
	mayExport = regexp.MustCompile("[\"'`]export[\"'`]|\\.\\.\\.|(?:\\bfrom|\\bimport|\\bimport\\(|\\brequire\\()\\s*[\"'`]\\.")
	// quasarSSR matches Quasar's command for a server.
	quasarSSR = regexp.MustCompile(`\bquasar build\b.*\s(?:-m|--mode)[ =]ssr\b`)
	// mayPrerender matches the same of React Router.
	mayPrerender = regexp.MustCompile("prerender|\\bssr\\s*(?:[^:\\s]|:\\s*[^t\\s])|\\.\\.\\.|(?:\\bfrom|\\bimport|\\bimport\\(|\\brequire\\()\\s*[\"'`]\\.")
)

// serves returns the sign that a framework whose default is a server builds one,
// or "". Its configuration is only searched, so whatever may make it write files
// counts as if it did.
func (f Framework) serves(fsys fs.FS, root string, m manifest, script string) (string, error) {
	var may *regexp.Regexp
	var lacks string
	switch f.Name {
	case "Next.js":
		may, lacks = mayExport, `no output: "export"`
	case "Quasar":
		if quasarSSR.MatchString(script) {
			return "the mode ssr in the script", nil
		}
		return "", nil
	case "React Router":
		may, lacks = mayPrerender, "neither ssr: false nor prerender"
	default:
		return "", nil
	}
	if script != "" && !buildAlone.MatchString(script) || m.Scripts["postbuild"] != "" {
		return "", nil
	}
	name := f.Config[0]
	for _, ext := range scripts {
		file := path.Join(root, name+ext)
		if !isFile(fsys, file) {
			continue
		}
		data, err := readFile(fsys, file)
		if err != nil {
			return "", err
		}
		if may.Match(data) {
			return "", nil
		}
		name += ext
		break
	}
	return lacks + " in " + path.Join(root, name), nil
}
