// Package build decides what is to be run for a commit: it reads troy.toml,
// netlify.toml and what else a repository shows, beside the pipeline's
// settings, and says which commands are its phases, where they run and where
// the site will be. It also unpacks a commit's source. The builders of package
// cloud's adapters call it; nothing here runs anything.
package build

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/troy-iaas/troy"
)

// Settings is what a pipeline says about its builds. A field that is empty
// says nothing, and is then decided by the repository.
type Settings struct {
	// Root is the folder that the commands run in, from the repository's
	// root: "apps/web".
	Root string
	// Output is the folder that is published, from Root: "dist".
	Output string
	// Install, Build and Test are shell commands. Test has no default.
	Install, Build, Test string
}

// Plan is what is run for one commit.
type Plan struct {
	// Root is the folder of the commands, "." or relative to the repository's
	// root.
	Root string
	// InstallRoot is the folder of the install command: Root, or the one above
	// it that has the lockfile of a workspace.
	InstallRoot string
	// Install, Build and Test are shell commands. A phase whose command is
	// empty is left out.
	Install, Build, Test string
	// Outputs are the places where the site may be after the build, from
	// Root, the likeliest first. They may have wildcards (path.Match).
	Outputs []string
	// OutputSaid tells that a file of the repository or the settings name the
	// output folder. Otherwise Outputs are the generator's habit.
	OutputSaid bool
	// AllowSecrets are paths in the output folder whose files are published
	// even if they look like secrets.
	AllowSecrets []string
	// Environment holds the variables that the repository sets. A pipeline's
	// own variables go before them.
	Environment map[string]string
	// Node is the version of Node.js that the repository asks for, as it
	// writes it ("20", "v22.1.0", "lts/*"), or empty.
	Node string
	// Manager is the package manager: npm, pnpm, yarn, bun, or empty.
	// ManagerVersion is the one that package.json pins, or empty.
	Manager, ManagerVersion string
	// Python tells that the commands may install with pip.
	Python bool
	// Lockfile is the manager's lockfile from the repository's root, or empty.
	Lockfile string
	// Workspace is the folder above Root whose workspace Root is a member of,
	// or empty. A change anywhere in it may change the site.
	Workspace string
	// Generator is the program that makes the site, by its name, or empty.
	Generator string
	// Why says in a sentence what is run and which rule decided it.
	Why string
	// Notes are sentences for the log about what the repository asks for and
	// Troy does not do.
	Notes []string
}

// readCap bounds each file that is looked at to decide.
const readCap = 4 << 20

// choice is a value and who decided it.
type choice struct {
	value, by string
	said      bool
}

// or returns c, or the other one when nobody decided c.
func (c choice) or(other choice) choice {
	if c.said {
		return c
	}
	return other
}

func chosen(value, by string) choice {
	return choice{value: value, by: by, said: value != ""}
}

// Decide says what is to be run for the repository in fsys. A key of
// troy.toml goes first; without a troy.toml, one of netlify.toml's [build];
// then the pipeline's settings; then what lockfiles, package.json and the
// generators' habits tell. fsys has to keep links inside itself, as
// os.Root.FS does. The error is a *troy.Error of kind Invalid, with the key
// that is wrong as its Field where it is a key.
func Decide(fsys fs.FS, s Settings) (Plan, error) {
	root, e := cleanFolder(s.Root)
	if e != nil {
		return Plan{}, e.At("root")
	}
	output, e := cleanFolder(s.Output)
	if e != nil {
		return Plan{}, e.At("output")
	}
	file, err := readConfig(fsys, root)
	if err != nil {
		return Plan{}, err
	}
	const settings = "the pipeline's settings"
	by := settings
	if file.root.said {
		root, by = file.root.value, file.root.by
	}
	if !isFolder(fsys, root) {
		return Plan{}, troy.Errorf(troy.Invalid, "the root folder %q (%s) is not in the repository", root, by)
	}
	install := file.install.or(chosen(command(s.Install), settings))
	build := file.command.or(chosen(command(s.Build), settings))
	test := file.test.or(chosen(command(s.Test), settings))
	out := file.output
	if !out.said && s.Output != "" {
		out = chosen(output, settings)
	}

	found, err := detect(fsys, root)
	if err != nil {
		return Plan{}, err
	}
	if !build.said && !out.said && !found.site {
		return Plan{}, troy.Errorf(troy.Invalid, "nothing says what to build: there is no package.json with a build script, no known generator and no index.html in %q; name the build command and the output folder in troy.toml or in the pipeline's settings", root)
	}
	p := Plan{
		Root: root, InstallRoot: found.installRoot, Test: test.value, Environment: file.environment,
		Node: found.node, Manager: found.manager, ManagerVersion: found.managerVersion, Lockfile: found.lockfile,
		Workspace: found.workspace, Generator: found.generator, Notes: file.notes, AllowSecrets: file.allowSecrets,
	}
	if v := file.environment["NODE_VERSION"]; v != "" {
		p.Node = v
	}
	build = build.or(found.build)
	switch {
	case install.said:
		p.InstallRoot = root
	case build.value != "" || test.value != "":
		install = found.install
	}
	p.Install, p.Build = install.value, build.value
	p.findPython(fsys)
	p.Outputs, p.OutputSaid = found.outputs, out.said
	outputBy := found.outputBy
	if found.plain && p.Build != "" {
		// The command makes the site, or changes the one that is there.
		p.Outputs, outputBy = append(usualOutputs(), "."), "the usual places"
	}
	if out.said {
		p.Outputs, outputBy = []string{out.value}, out.by
	}
	p.Why = p.sentence(install.by, build.by, test.by, outputBy)
	return p, nil
}

func (p Plan) sentence(install, command, test, output string) string {
	var parts []string
	add := func(verb, what, by string) {
		if what != "" {
			parts = append(parts, fmt.Sprintf("%s %q (%s)", verb, what, by))
		}
	}
	add("install with", p.Install, install)
	add("build with", p.Build, command)
	add("test with", p.Test, test)
	add("publish", strings.Join(p.Outputs, " or "), output)
	where := ""
	if p.Root != "." {
		where = fmt.Sprintf("in %q ", p.Root)
	}
	return "What is run: " + where + strings.Join(parts, ", ") + "."
}

// cleanFolder returns a folder inside the repository in its clean form; empty
// is ".".
func cleanFolder(p string) (string, *troy.Error) {
	if p == "" {
		return ".", nil
	}
	clean := path.Clean(p)
	if strings.HasPrefix(p, "/") || strings.Contains(p, "\\") || strings.ContainsFunc(p, isControl) || !fs.ValidPath(clean) || len(p) > 1024 {
		return "", troy.Errorf(troy.Invalid, "%q is not a folder inside the repository: it has to be relative, with / between folders, and may not lead out of it", p)
	}
	return clean, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// variableName is what a shell takes for a variable's name (POSIX.1-2017,
// Base Definitions 8.1).
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Bounds of a build's variables.
const (
	maxVariables     = 500
	maxVariableBytes = 64 << 10
	// Linux hands a program a quarter of the stack's limit at most, 2 MiB, for
	// arguments and environment together (execve(2)).
	maxEnvironmentBytes = 1 << 20
)

// CheckVariables reports what keeps variables from being a build's
// environment, as a *troy.Error of kind Invalid that names the variable and
// never shows its value. troy.BuildVariables are allowed here: the environment
// has Troy's own values of them.
func CheckVariables(vars map[string]string) error {
	if err := checkVariables(vars); err != nil {
		return err
	}
	return nil
}

func checkVariables(vars map[string]string) *troy.Error {
	if len(vars) > maxVariables {
		return troy.Errorf(troy.Invalid, "there are %d variables; at most %d are allowed", len(vars), maxVariables)
	}
	total := 0
	for name, value := range vars {
		total += len(name) + len(value) + 2
		switch {
		case len(name) > 256 || !variableName.MatchString(name):
			return troy.Errorf(troy.Invalid, "%.256q can't be a variable's name: letters, digits and _ only, no digit first", name)
		case len(value) > maxVariableBytes:
			return troy.Errorf(troy.Invalid, "the variable %s has %d bytes; at most %d are allowed", name, len(value), maxVariableBytes)
		case strings.ContainsRune(value, 0):
			return troy.Errorf(troy.Invalid, "the variable %s has a NUL byte", name)
		}
	}
	if total > maxEnvironmentBytes {
		return troy.Errorf(troy.Invalid, "the variables have %d bytes together; at most %d are allowed", total, maxEnvironmentBytes)
	}
	return nil
}
