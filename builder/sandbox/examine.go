package sandbox

import (
	"fmt"
	"runtime"

	"github.com/troy-iaas/troy/internal/checkup"
)

// Examine reports what enforces builds' memory limits, and whether their system
// calls are filtered. Neither finding is a failure: both are fine for trusted
// repositories. cpus is the limit of CPUs, if any, which nothing else enforces.
func Examine(cfg Config, cpus int, tell checkup.Tell) {
	examine(MemoryIsKept(cfg), FiltersCalls(), tell)
	if cpus > 0 && !CPUsAreKept(cfg) {
		tell.Wrong("builds", fmt.Sprintf("may use all CPUs instead of %d: Troy has no control group that limits CPUs", cpus),
			"let the service manager delegate one, as docs/builds.md describes, or remove TROY_BUILD_CPUS")
	}
}

// CPUsAreKept reports whether a limit of builds' CPUs has an effect on this
// machine: whether builds have a control group with the cpu controller.
func CPUsAreKept(cfg Config) bool { return isKept(cfg, "cpu") }

func examine(kept, filtered bool, tell checkup.Tell) {
	said := "the kernel enforces their memory limit, by a control group"
	if !kept {
		said = "there is no control group for memory, so Troy checks their memory every 250 ms; for untrusted builds, set one up as docs/builds.md describes"
	}
	if !filtered {
		said += "; system calls are not filtered on " + runtime.GOARCH + ", so build untrusted repositories on amd64 or arm64"
	}
	tell(checkup.Finding{Part: "builds", Said: said})
}
