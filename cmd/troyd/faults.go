//go:build faults

package main

import (
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/faulty"
)

// withFaults makes the cloud's calls fail as the script TROY_FAULTS says.
func withFaults(c cloud.Cloud, script string) (cloud.Cloud, error) {
	if script == "" {
		return c, nil
	}
	return faulty.New(c, script)
}
