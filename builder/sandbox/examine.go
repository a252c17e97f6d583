package sandbox

import (
	"runtime"

	"github.com/troy-iaas/troy/internal/checkup"
)

// Examine tells who holds builds to their memory, and whether their system calls
// are filtered. Neither is a fault: it is right for trusted repositories.
func Examine(cfg Config, tell checkup.Tell) { examine(MemoryIsKept(cfg), FiltersCalls(), tell) }

func examine(kept, filtered bool, tell checkup.Tell) {
	said := "the kernel holds them to their memory, by a control group"
	if !kept {
		said = "no control group for memory, so Troy looks every 250 ms how much they have; for strangers' builds, give it one as docs/builds.md says"
	}
	if !filtered {
		said += "; system calls are not filtered on " + runtime.GOARCH + ", so build strangers' repositories on amd64 or arm64"
	}
	tell(checkup.Finding{Part: "builds", Said: said})
}
