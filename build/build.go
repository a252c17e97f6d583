// Package build decides how to build a commit. It reads the pipeline's
// settings, troy.toml, netlify.toml and other files of the repository, and
// returns the commands, the folder in which they run and the location of the
// site. It also unpacks a commit's source. The builders in package cloud's
// adapters call it; the package itself runs nothing.
package build

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site/rules"
)

// Settings are a pipeline's settings for its builds. The repository decides
// about empty fields.
type Settings struct {
	// Root is the folder in which the commands run, relative to the
	// repository's root: "apps/web".
	Root string
	// Output is the folder to publish, relative to Root: "dist".
	Output string
	// Install, Build and Test are shell commands. Test has no default.
	Install, Build, Test string
	// Contexts are the contexts of netlify.toml that count, the strongest last.
	// The default is production.
	Contexts []string
}

// Plan is the plan for building one commit.
type Plan struct {
	// Root is the folder in which the commands run: "." or a path relative to
	// the repository's root.
	Root string
	// InstallRoot is the folder in which the install command runs: Root, or the
	// parent folder that has the lockfile of a workspace.
	InstallRoot string
	// Install, Build and Test are shell commands. An empty command means that
	// the phase is skipped.
	Install, Build, Test string
	// Outputs are the possible locations of the site after the build, relative
	// to Root, the likeliest first. They may contain wildcards (path.Match).
	Outputs []string
	// OutputSaid reports that the repository or the settings name the output
	// folder. Otherwise Outputs are the generator's defaults.
	OutputSaid bool
	// AllowSecrets are paths in the output folder of files that are published
	// even if they look like secrets.
	AllowSecrets []string
	// Environment holds the variables that the repository sets. A pipeline's
	// own variables override them.
	Environment map[string]string
	// Tools are the programs that the commands use and whose version Troy knows
	// how to choose.
	Tools []Tool
	// Manager is the package manager: npm, pnpm, yarn, bun, or empty.
	// ManagerVersion is the version pinned in package.json, or empty.
	Manager, ManagerVersion string
	// Python reports that the commands may install packages with pip.
	Python bool
	// Lockfile is the manager's lockfile, relative to the repository's root, or
	// empty.
	Lockfile string
	// Workspace is the folder above Root of the workspace that contains Root,
	// or empty. A change anywhere in it may change the site, except in
	// Unwatched: the folders of packages that the site does not use (see
	// unwatched).
	Workspace string
	Unwatched []string
	// SettingsRoot is the root folder of the settings, as it was given.
	SettingsRoot string
	// Generator is the name of the program that generates the site, or empty.
	Generator string
	// Why is a sentence that lists the commands and the rule that chose each.
	Why string
	// Notes are sentences for the log about settings in the repository that
	// Troy does not support.
	Notes []string
	// Files has the name of the configuration file that decides a field, for
	// each of "install", "build", "test" and "output" that one decides. Settings
	// have no effect on these.
	Files map[string]string
	// Config are the parts of configuration files that contain the site's
	// rules.
	Config []rules.ConfigFile
	// Contexts are the tables of netlify.toml with settings for previews, such
	// as "[context.deploy-preview]".
	Contexts []string
	// SPA reports that one page of the site answers all addresses by default.
	SPA bool
}

// readCap is the maximum size in bytes of each file that Decide reads.
const readCap = 4 << 20

// choice is a value and its origin.
type choice struct {
	value, by string
	said      bool
}

// or returns c, or other if c is not set.
func (c choice) or(other choice) choice {
	if c.said {
		return c
	}
	return other
}

func chosen(value, by string) choice {
	return choice{value: value, by: by, said: value != ""}
}

// Decide returns the plan for the repository in fsys. The keys of troy.toml
// come first; without a troy.toml, those of netlify.toml's [build]; then the
// pipeline's settings; then the files of other platforms; then lockfiles,
// package.json and the frameworks' defaults. fsys must keep links inside itself, as os.Root.FS does. The error
// is Invalid; its Field is the wrong key, if there is one.
func Decide(fsys fs.FS, s Settings) (Plan, error) {
	root, e := cleanFolder(s.Root)
	if e != nil {
		return Plan{}, e.At("root")
	}
	output, e := cleanFolder(s.Output)
	if e != nil {
		return Plan{}, e.At("output")
	}
	file, err := readConfig(fsys, root, s.Contexts)
	if err != nil {
		return Plan{}, err
	}
	const settings = "the pipeline's settings"
	by := settings
	if file.root.said {
		root, by = file.root.value, file.root.by
	}
	if !isFolder(fsys, root) {
		return Plan{}, troy.Errorf(troy.Invalid, "the root folder %q (%s) does not exist in the repository", root, by)
	}
	install := file.install.or(chosen(command(s.Install), settings))
	build := file.command.or(chosen(command(s.Build), settings))
	test := file.test.or(chosen(command(s.Test), settings))
	out := file.output
	if !out.said && s.Output != "" {
		out = chosen(output, settings)
	}
	others, err := readBrought(fsys, root)
	if err != nil {
		return Plan{}, err
	}
	install, build = install.or(others.install), build.or(others.build)
	for _, of := range [][2]choice{{file.install, others.install}, {file.command, others.build}, {file.output, others.output}} {
		if of[0].said && of[1].said && of[0].value != of[1].value {
			others.notes = append(others.notes, fmt.Sprintf("%s has no effect beside %s.", of[1].by, of[0].by))
		}
	}

	found, err := detect(fsys, root)
	if err != nil {
		return Plan{}, err
	}
	if !build.said && !out.said && !others.output.said {
		if s.Root == "" && !file.root.said {
			dir, err := siteIn(fsys, root, found)
			if err != nil {
				return Plan{}, err
			}
			if dir != "" {
				s.Root = dir
				p, err := Decide(fsys, s)
				p.SettingsRoot = "" // as it was given
				return p, err
			}
		}
		if err := found.nx(fsys, root); err != nil {
			return Plan{}, err
		}
	}
	if !build.said && !out.said && !others.output.said && !found.site {
		return Plan{}, nothing(fsys, root, others.unread)
	}
	if found.server != "" && !build.said && !out.said {
		f, _ := framework(found.generator)
		return Plan{}, troy.Errorf(troy.Invalid, "%s would build a server (%s), which Troy does not run; %s", f.Name, found.server, f.advice())
	}
	p := Plan{
		Root: root, InstallRoot: found.installRoot, Test: test.value, Environment: file.environment,
		Manager: found.manager, ManagerVersion: found.managerVersion, Lockfile: found.lockfile,
		Files:     file.decides(),
		Workspace: found.workspace, Generator: found.generator, Notes: slices.Concat(file.notes, others.notes, found.notes), AllowSecrets: file.allowSecrets,
		Contexts: file.contexts, SPA: found.spa,
	}
	if p.Config, err = rulesIn(fsys, root); err != nil {
		return Plan{}, err
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
	if err := p.findTools(fsys); err != nil {
		return Plan{}, err
	}
	p.Outputs, p.OutputSaid = found.outputs, out.said
	outputBy := found.outputBy
	if found.plain && p.Build != "" {
		// The command creates the site, or changes an existing one.
		p.Outputs, outputBy = append(usualOutputs(), "."), "the usual folders"
	}
	switch {
	case out.said:
		p.Outputs, outputBy = []string{out.value}, out.by
	case others.output.said:
		p.Outputs, outputBy = others.outputs(p.Outputs, outputBy, p.Generator)
	}
	p.Why = p.sentence(install.by, build.by, test.by, outputBy)
	p.Unwatched, p.SettingsRoot = unwatched(fsys, p), s.Root
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
	return "Build plan: " + where + strings.Join(parts, ", ") + "."
}

// cleanFolder returns the clean form of a folder inside the repository. The
// clean form of "" is ".".
func cleanFolder(p string) (string, *troy.Error) {
	if p == "" {
		return ".", nil
	}
	clean := path.Clean(p)
	if strings.HasPrefix(p, "/") || strings.Contains(p, "\\") || strings.ContainsFunc(p, isControl) || !fs.ValidPath(clean) || len(p) > 1024 {
		return "", troy.Errorf(troy.Invalid, "the folder is %q; expected a relative path inside the repository with / between folders", p)
	}
	return clean, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// variableName matches the names of shell variables (POSIX.1-2017, Base
// Definitions 8.1).
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// The limits of a build's variables.
const (
	maxVariables     = 500
	maxVariableBytes = 64 << 10
	// Linux passes a program at most a quarter of the stack limit, 2 MiB, for
	// arguments and environment together (execve(2)).
	maxEnvironmentBytes = 1 << 20
)

// CheckVariables returns an Invalid error if vars can't be a build's
// environment. The error names the variable and never contains its value.
// troy.BuildVariables are allowed, because the environment contains Troy's own
// values of them.
func CheckVariables(vars map[string]string) error {
	if err := checkVariables(vars); err != nil {
		return err
	}
	return nil
}

func checkVariables(vars map[string]string) *troy.Error {
	if len(vars) > maxVariables {
		return troy.Errorf(troy.Invalid, "there are %d variables; expected at most %d", len(vars), maxVariables)
	}
	total := 0
	for name, value := range vars {
		total += len(name) + len(value) + 2
		switch {
		case len(name) > 256 || !variableName.MatchString(name):
			return troy.Errorf(troy.Invalid, "%.256q is not a valid variable name; expected letters, digits and _, and no digit at the start", name)
		case len(value) > maxVariableBytes:
			return troy.Errorf(troy.Invalid, "the variable %s has %d bytes; expected at most %d", name, len(value), maxVariableBytes)
		case strings.ContainsRune(value, 0):
			return troy.Errorf(troy.Invalid, "the variable %s contains a NUL byte", name)
		}
	}
	if total > maxEnvironmentBytes {
		return troy.Errorf(troy.Invalid, "the variables have %d bytes together; expected at most %d", total, maxEnvironmentBytes)
	}
	return nil
}
