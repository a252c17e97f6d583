package sandbox

import (
	"runtime"

	"github.com/troy-iaas/troy/internal/checkup"
)

// Examine reports what enforces builds' memory limits, and whether their system
// calls are filtered. Neither finding is a failure: both are fine for trusted
// repositories.
func Examine(cfg Config, tell checkup.Tell) { examine(MemoryIsKept(cfg), FiltersCalls(), tell) }

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
