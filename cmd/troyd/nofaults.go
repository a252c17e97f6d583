//go:build !faults

package main

import (
	"errors"

	"github.com/troy-iaas/troy/cloud"
)

// withFaults refuses a script of faults: only a troyd built for tests has them.
func withFaults(c cloud.Cloud, script string) (cloud.Cloud, error) {
	if script != "" {
		return c, errors.New("this troyd was built without -tags faults")
	}
	return c, nil
}
