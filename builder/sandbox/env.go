package sandbox

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/files"
)

// places are a build's folders as its processes see them.
type places struct {
	repo, home, temp, cache string
	path                    []string // folders with programs, in their order
}

// environment is all that a build's processes find in theirs.
func environment(cfg Config, spec builder.Spec, plan build.Plan, at places) map[string]string {
	machine := map[string]string{
		"HOME": at.home, "PATH": strings.Join(at.path, ":"), "TMPDIR": at.temp,
		// Where each package manager keeps what it has fetched.
		"npm_config_cache":      filepath.Join(at.cache, "npm"),
		"YARN_CACHE_FOLDER":     filepath.Join(at.cache, "yarn"),
		"YARN_GLOBAL_FOLDER":    filepath.Join(at.cache, "berry"),
		"BUN_INSTALL_CACHE_DIR": filepath.Join(at.cache, "bun"),
		"BUNDLE_PATH":           filepath.Join(at.cache, "bundle"),
		"PIP_CACHE_DIR":         filepath.Join(at.cache, "pip"),
		"UV_CACHE_DIR":          filepath.Join(at.cache, "uv"),
	}
	if plan.Manager == "pnpm" {
		// npm warns of settings that are not its own.
		machine["npm_config_store_dir"] = filepath.Join(at.cache, "pnpm")
	}
	if plan.Python {
		// Systems refuse to install beside their own packages (PEP 668). The
		// environment is each build's own; pip's downloads are in the cache.
		venv := filepath.Join(at.home, "venv")
		machine["VIRTUAL_ENV"] = venv
		machine["PATH"] = filepath.Join(venv, "bin") + ":" + machine["PATH"]
	}
	maps.Copy(machine, cfg.Environment)
	return spec.Origin().Environment(plan, machine, spec.Variables)
}

// buildMark is the variable that every process of a build has.
const buildMark = "TROY_BUILD"

// phaseScript sets the environment and becomes the command. The variables go
// through a file because arguments are visible to the whole machine, and
// because nothing of what a repository says may be in the environment of the
// programs that build the sandbox: LD_PRELOAD would be theirs.
//
// prepare is run before the command, with the same environment.
func phaseScript(env map[string]string, folder, prepare, command string) string {
	var s strings.Builder
	// In need of memory the kernel ends builds first (proc_pid_oom_score_adj(5)).
	s.WriteString("echo 1000 2>/dev/null >/proc/self/oom_score_adj\numask 022\nulimit -c 0\n")
	s.WriteString("cd " + build.Quote(folder) + " || exit 126\n")
	s.WriteString("if [ -x /bin/bash ]; then set -- /bin/bash; else set -- /bin/sh; fi\n")
	for _, name := range slices.Sorted(maps.Keys(env)) {
		s.WriteString("export " + name + "=" + build.Quote(env[name]) + "\n")
	}
	s.WriteString(prepare)
	s.WriteString("exec \"$1\" -e -c " + build.Quote(command) + "\n")
	return s.String()
}

// makeVenv makes Python's virtual environment before the first command that
// may need it. Where it can't be made, the build may still do without.
func makeVenv(plan build.Plan, at places) string {
	if !plan.Python {
		return ""
	}
	venv := build.Quote(filepath.Join(at.home, "venv"))
	return "if ! [ -e " + venv + " ] && command -v python3 >/dev/null; then\n" +
		"\tpython3 -m venv " + venv + " || echo 'Warning: this machine can not make a virtual environment for pip; python3-venv may be missing.'\n" +
		"fi\n"
}

// writeShims makes a program of each package manager that the machine lacks.
func writeShims(dir string, plan build.Plan, folders []string) error {
	for name, script := range plan.Shims() {
		if findProgram(name, folders) != "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			return files.Error(err)
		}
	}
	return nil
}

// systemFolders is where programs are on any Linux.
func systemFolders() []string {
	return []string{"/usr/local/bin", "/usr/bin", "/bin"}
}

// programFolders is where a build's programs are.
func (b *Builder) programFolders() []string {
	if b.cfg.Isolation == NoIsolation {
		return append(slices.Clone(b.cfg.Path), filepath.SplitList(os.Getenv("PATH"))...)
	}
	return append(slices.Clone(b.cfg.Path), systemFolders()...)
}

// findProgram returns a program's path, or nothing.
func findProgram(name string, folders []string) string {
	for _, folder := range folders {
		file := filepath.Join(folder, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// writeScript makes a file that only who runs the sandbox, and the build
// inside it, can read.
func writeScript(file, script string) error {
	return files.Error(errors.Join(os.RemoveAll(file), os.WriteFile(file, []byte(script), 0o444)))
}
