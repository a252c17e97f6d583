package reply

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy"
)

// TestFullDisk answers 503, after which the sender tries again: the temporary file
// of an archive may have no room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if e := Public(fmt.Errorf("receive an archive: %w", full)); e.Kind != troy.Unavailable {
			t.Errorf("%s is %s", full, e.Kind)
		}
	}
}
