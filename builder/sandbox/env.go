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
	path                    []string // folders with programs, in order
}

// environment is the whole environment of a build's processes.
func environment(cfg Config, spec builder.Spec, plan build.Plan, at places) map[string]string {
	machine := map[string]string{
		"HOME": at.home, "PATH": strings.Join(at.path, ":"), "TMPDIR": at.temp,
	}
	for name, folder := range plan.CacheVariables() {
		machine[name] = filepath.Join(at.cache, folder)
	}
	if plan.Python {
		// Systems refuse installations beside their own packages (PEP 668). The
		// environment is per build; pip's downloads are in the cache.
		venv := filepath.Join(at.home, "venv")
		machine["VIRTUAL_ENV"] = venv
		machine["PATH"] = filepath.Join(venv, "bin") + ":" + machine["PATH"]
	}
	maps.Copy(machine, cfg.Environment)
	return spec.Origin().Environment(plan, machine, spec.Variables)
}

// buildMark is the variable that every process of a build has.
const buildMark = "TROY_BUILD"

// phaseScript sets the environment and then executes the command. The variables
// go through a file because arguments are visible to the whole machine, and
// because no variable of a repository, such as LD_PRELOAD, may reach the
// programs that build the sandbox.
//
// prepare runs before the command, with the same environment.
func phaseScript(env map[string]string, folder, prepare, command string) string {
	var s strings.Builder
	// When memory runs out the kernel ends builds first
	// (proc_pid_oom_score_adj(5)).
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

// makeVenv makes Python's virtual environment before the first command that may
// need it. If it can't be made, the build may still succeed.
func makeVenv(plan build.Plan, at places) string {
	if !plan.Python {
		return ""
	}
	venv := build.Quote(filepath.Join(at.home, "venv"))
	return "if ! [ -e " + venv + " ] && command -v python3 >/dev/null; then\n" +
		"\tpython3 -m venv " + venv + " || echo 'Warning: this machine can not make a virtual environment for pip; python3-venv may be missing.'\n" +
		"fi\n"
}

// writeShims makes a program for each package manager that the machine lacks.
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

// systemFolders are the folders with programs on any Linux.
func systemFolders() []string {
	return []string{"/usr/local/bin", "/usr/bin", "/bin"}
}

// programFolders are the folders with a build's programs.
func (b *Builder) programFolders() []string {
	if b.cfg.Isolation == NoIsolation {
		return append(slices.Clone(b.cfg.Path), filepath.SplitList(os.Getenv("PATH"))...)
	}
	return append(slices.Clone(b.cfg.Path), systemFolders()...)
}

// findProgram returns a program's path, or the empty string.
func findProgram(name string, folders []string) string {
	for _, folder := range folders {
		file := filepath.Join(folder, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// writeScript writes a file that only the sandbox's user and the build inside
// can read.
func writeScript(file, script string) error {
	return files.Error(errors.Join(os.RemoveAll(file), os.WriteFile(file, []byte(script), 0o444)))
}
