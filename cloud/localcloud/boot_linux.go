package localcloud

import (
	"os"
	"strings"
)

// bootID names the machine's start: what a process wrote can be read as long as
// the machine runs, synced or not.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return processID
	}
	return strings.TrimSpace(string(id))
}
