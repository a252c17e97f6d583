package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/sandbox"
)

func newBuilder(cfg config, log *slog.Logger) (*sandbox.Builder, error) {
	settings, err := cfg.builder(log)
	if err != nil {
		return nil, usageError{err}
	}
	if cfg.BuildCPUs > 0 && !sandbox.CPUsAreKept(settings) {
		log.Warn("TROY_BUILD_CPUS has no effect: Troy has no control group that can limit CPUs", "limit", cfg.BuildCPUs)
	}
	if settings.Tools, err = cfg.openTools(settings.Environment, cfg.BuildTools == "install", log); err != nil {
		return nil, usageError{err}
	}
	b, err := sandbox.New(settings)
	if err != nil {
		return nil, errors.Join(errors.New("TROY_BUILD_ISOLATION"), err)
	}
	return b, nil
}

// builder returns the sandbox's configuration. Its error names each setting
// that is wrong on this machine.
func (c config) builder(log *slog.Logger) (sandbox.Config, error) {
	out := sandbox.Config{
		Root: c.cloudRoot(), Isolation: sandbox.Isolation(c.BuildIsolation), Path: c.BuildPath, Visible: c.BuildVisible, Log: log,
		AllCachesBytes: c.BuildCaches << 20,
	}
	var all []fault
	for _, text := range c.BuildAllow {
		prefix, err := network(text)
		if err != nil {
			all = append(all, fault{"TROY_BUILD_ALLOW", err.Error()})
			continue
		}
		out.Allow = append(out.Allow, prefix)
	}
	for _, s := range []struct {
		setting string
		paths   []string
	}{{"TROY_BUILD_PATH", c.BuildPath}, {"TROY_BUILD_VISIBLE", c.BuildVisible}} {
		for _, path := range s.paths {
			if _, err := os.Stat(path); err != nil {
				all = append(all, fault{s.setting, fmt.Sprintf("%q can't be found: %v", path, errors.Unwrap(err))})
			}
		}
	}
	environment, err := c.buildEnvironment()
	out.Environment = environment
	return out, errors.Join(join(all), err)
}

// buildLimits returns the limits of builds.
func (c config) buildLimits() builder.Limits {
	return builder.Limits{Time: c.BuildTime, MemoryBytes: int64(c.BuildMemory) << 20, Processes: c.BuildProcs, CPUs: c.BuildCPUs}
}

// mostOfBuilds returns the same limits as those that no pipeline may exceed.
func (c config) mostOfBuilds() troy.BuildLimits {
	most := troy.BuildLimits{Minutes: int(c.BuildTime / time.Minute), MemoryMiB: c.BuildMemory, Processes: c.BuildProcs, CPUs: c.BuildCPUs}
	if c.AWSProject != "" {
		most.Elsewhere = "builds run on CodeBuild, where the project's compute type decides it"
	}
	return most
}

// buildEnvironment returns the environment of every build.
func (c config) buildEnvironment() (map[string]string, error) {
	if c.BuildEnvFile == "" {
		return nil, nil
	}
	environment, err := readEnvFile(c.BuildEnvFile)
	if err != nil {
		return nil, join([]fault{{"TROY_BUILD_ENV_FILE", err.Error()}})
	}
	return environment, nil
}

// maxEnvFile is the maximum size of the builds' environment in bytes: the
// kernel's limit for a command (ARG_MAX is 2 MiB on Linux) less room for the
// rest.
const maxEnvFile = 1 << 20

// readEnvFile reads lines NAME=value, as docker run --env-file does: values are
// literal, including quotes; a line that begins with # is a comment. Errors
// name the line but not the value.
func readEnvFile(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	limited := &io.LimitedReader{R: f, N: maxEnvFile + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxEnvFile)
	out := map[string]string{}
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("line %d of %s is not NAME=value", n, file)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("line %d of %s sets %s again", n, file, name)
		}
		if err := build.CheckVariables(map[string]string{name: value}); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", n, file, err)
		}
		if troy.ReservedVariable(name) {
			return nil, fmt.Errorf("line %d of %s: Troy sets %s itself in every build; choose another name", n, file, name)
		}
		out[name] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("%s has more than %d bytes", file, maxEnvFile)
	}
	return out, nil
}
