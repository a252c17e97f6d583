//go:build !linux

package sandbox

import (
	"context"
	"os/exec"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/toolchain"
)

// missingPackages returns an error: isolation needs Linux.
func (b *Builder) missingPackages() ([]string, error) {
	return nil, troy.Errorf(troy.Conflict, "builds run untrusted code in isolation, which needs Linux; run builds with the worker's rights by TROY_BUILD_ISOLATION=none")
}

func (b *Builder) connectable() error { return nil }

func (b *Builder) isolate(context.Context, buildFiles, builder.Spec, *depCache, []toolchain.Ready) (sandbox, error) {
	_, err := b.missingPackages()
	return nil, err
}

func usageOfMarked(string) (usage, error) { return usage{}, nil }

func killMarked(cmd *exec.Cmd, _ string) { killGroup(cmd) }

func (b *Builder) unfiltered() string { return "" }

// FiltersCalls reports whether isolated builds have their system calls
// filtered. This system can't isolate builds.
func FiltersCalls() bool { return true }

// MemoryIsKept reports whether the kernel enforces builds' memory limits.
func MemoryIsKept(Config) bool { return false }

func isKept(Config, string) bool { return false }
