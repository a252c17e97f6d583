package toolchain

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// found is the version of a program of the machine, nil if it has none.
type found struct {
	size    int64
	time    time.Time
	version *semver.Version
}

// versionTime bounds a program that prints its version.
const versionTime = 10 * time.Second

// printed matches the version in what a program prints.
var printed = regexp.MustCompile(`(?:^|[^0-9.])v?([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(-[0-9A-Za-z.-]+)?`)

// onMachine returns the versions of a tool in the machine's folders, in their
// order.
func (s *Store) onMachine(ctx context.Context, tool string, folders []string) (all []candidate) {
	for _, folder := range folders {
		file := filepath.Join(folder, Program(tool))
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		s.mu.Lock()
		known, ok := s.machine[file]
		s.mu.Unlock()
		if !ok || known.size != info.Size() || !known.time.Equal(info.ModTime()) {
			known = found{info.Size(), info.ModTime(), s.ask(ctx, tool, file, folders)}
			if ctx.Err() != nil {
				return all
			}
			s.mu.Lock()
			s.machine[file] = known
			s.mu.Unlock()
		}
		if known.version != nil {
			all = append(all, candidate{version: known.version, folder: folder})
		}
	}
	return all
}

// ask returns the version of a program: that of its package, or what it prints.
func (s *Store) ask(ctx context.Context, tool, file string, folders []string) *semver.Version {
	if v := packageVersion(tool, file); v != nil {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	arg := "--version"
	if tool == "go" || tool == "hugo" {
		arg = "version"
	}
	cmd := exec.CommandContext(ctx, file, arg)
	// Nothing of the worker's own environment, and no version of another folder.
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	cmd.Env = []string{"PATH=" + strings.Join(folders, ":"), "HOME=/nonexistent", "GOTOOLCHAIN=local", "COREPACK_ENABLE_NETWORK=0"}
	out, err := cmd.Output()
	if err != nil {
		s.log.Debug("a program does not say its version", "program", file, "error", err)
		return nil
	}
	return versionIn(string(out))
}

// versionIn returns the version in what a program printed.
func versionIn(text string) *semver.Version {
	text, _, _ = strings.Cut(text, "\n")
	m := printed.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	if m[3] == "" {
		m[3] = "0"
	}
	// Hugo prints a digest of its commit there instead of a pre-release.
	v, err := semver.NewVersion(m[1] + "." + m[2] + "." + m[3])
	if err != nil {
		return nil
	}
	return v
}

// packageVersion returns the version of a program of Node.js from the
// package.json above it.
func packageVersion(tool, file string) *semver.Version {
	switch tool {
	case "npm", "pnpm", "yarn":
	default:
		return nil
	}
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil
	}
	for range 3 {
		target = filepath.Dir(target)
		data, err := os.ReadFile(filepath.Join(target, "package.json"))
		if err != nil {
			continue
		}
		var p struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		}
		if json.Unmarshal(data, &p) != nil || p.Name != tool && p.Name != "@yarnpkg/cli-dist" {
			return nil
		}
		v, err := semver.StrictNewVersion(p.Version)
		if err != nil {
			return nil
		}
		return v
	}
	return nil
}
