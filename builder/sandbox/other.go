//go:build !linux

package sandbox

import (
	"context"
	"os/exec"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
)

// missingPackages: what isolates builds is Linux's.
func (b *Builder) missingPackages() ([]string, error) {
	return nil, troy.Errorf(troy.Conflict, "builds are other people's code and run isolated, which only Linux can do; let every build do what the worker may with TROY_BUILD_ISOLATION=none")
}

func (b *Builder) connectable() error { return nil }

func (b *Builder) isolate(context.Context, buildFiles, builder.Spec, *depCache) (sandbox, error) {
	_, err := b.missingPackages()
	return nil, err
}

func usageOfMarked(string) (usage, error) { return usage{}, nil }

func killMarked(cmd *exec.Cmd, _ string) { killGroup(cmd) }

func (b *Builder) unfiltered() string { return "" }

// FiltersCalls reports whether builds that are isolated have their system calls
// filtered. Nothing is isolated here.
func FiltersCalls() bool { return true }

// MemoryIsKept reports whether the kernel holds builds to their memory.
func MemoryIsKept(Config) bool { return false }
