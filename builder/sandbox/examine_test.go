package sandbox_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/internal/checkup"
)

func TestUnfilteredBuildsAreToldOf(t *testing.T) {
	t.Parallel()
	for _, filtered := range []bool{true, false} {
		var found checkup.Finding
		sandbox.ExamineAs(true, filtered, func(f checkup.Finding) { found = f })
		if got := strings.Contains(found.Said, "system calls are not filtered"); got == filtered || found.Remedy != "" {
			t.Errorf("filtered is %v; it tells %+v", filtered, found)
		}
	}
}
