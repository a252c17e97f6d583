package toolchain

import (
	"path/filepath"
	"runtime"

	"github.com/Masterminds/semver/v3"
)

// source is a package that contains a tool.
type source struct {
	origin
	name string
	// from and below bound its versions, if they are not nil.
	from, below *semver.Version
	// programs are the paths of the tool's programs in the package. If it is
	// nil, the package's own list counts.
	programs map[string]string
}

// origin is where packages come from.
type origin int

const (
	npmRegistry origin = iota
	goModules
	viaMise
)

func (o origin) String() string {
	return [...]string{"the npm registry", "the Go module proxy", "the publisher"}[o]
}

func (p source) has(v *semver.Version) bool {
	return (p.from == nil || !v.LessThan(p.from)) && (p.below == nil || v.LessThan(p.below))
}

// platform returns the machine's kind in the names of packages, such as
// linux-x64, or "" if no packages are built for it.
func platform() string {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if arch == "" || runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		return ""
	}
	// The packages need the GNU C library.
	if loader, err := filepath.Glob("/lib*/ld-linux-*"); runtime.GOOS == "linux" && (err != nil || len(loader) == 0) {
		return ""
	}
	return runtime.GOOS + "-" + arch
}

// sources returns the packages that contain a tool, or nil if Troy can't
// install it.
func (s *Store) sources(tool string) []source {
	if name := miseNames()[tool]; name != "" && s.mise.program != "" && platform() != "" {
		return []source{{origin: viaMise, name: name}}
	}
	if tool == "go" && goPlatform() != "" {
		return []source{{origin: goModules, name: goModule, programs: map[string]string{"go": "bin/go", "gofmt": "bin/gofmt"}}}
	}
	at := platform()
	if at == "" {
		return nil
	}
	switch tool {
	case "node":
		return []source{{name: "node-" + at, programs: map[string]string{"node": "bin/node"}}}
	case "npm":
		return []source{{name: "npm"}}
	case "pnpm":
		// Since version 12 the program is in a package of its own for each
		// platform.
		split := semver.New(12, 0, 0, "", "")
		program := map[string]string{"pnpm": "pnpm"}
		return []source{{name: "pnpm", below: split}, {name: "@pnpm/exe." + at, from: split, programs: program}}
	case "yarn":
		// Since version 2, Yarn has another name in the registry
		// (yarnpkg.com/getting-started/migration).
		split := semver.New(2, 0, 0, "", "")
		return []source{{name: "yarn", below: split}, {name: "@yarnpkg/cli-dist", from: split}}
	case "bun":
		name := at
		if runtime.GOARCH == "arm64" {
			name = runtime.GOOS + "-aarch64"
		}
		return []source{{name: "@oven/bun-" + name, programs: map[string]string{"bun": "bin/bun", "bunx": "bin/bun"}}}
	case "deno":
		name := at
		if runtime.GOOS == "linux" {
			name += "-glibc"
		}
		return []source{{name: "@deno/" + name, programs: map[string]string{"deno": "deno"}}}
	}
	return nil
}

// Program is the name of a tool's main program.
func Program(tool string) string {
	if tool == "python" {
		return "python3"
	}
	return tool
}

// npmOf returns the range of npm that comes with a version of Node.js
// (nodejs.org/dist/index.json), or "" if it is not known.
func npmOf(node *semver.Version) string {
	return map[uint64]string{14: "6", 16: "8", 18: "10", 20: "10", 22: "10", 24: "11", 26: "11"}[node.Major()]
}
