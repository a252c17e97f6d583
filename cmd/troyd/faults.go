//go:build faults

package main

import (
	"context"
	"os"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/faulty"
)

// withFaults makes the cloud's calls fail according to the script TROY_FAULTS.
func withFaults(c cloud.Cloud, script string) (cloud.Cloud, error) {
	if script == "" {
		return c, nil
	}
	return faulty.New(c, script)
}

// snsCertificate reads SNS's certificate from TROY_SNS_CERT_FILE instead of
// fetching it.
func snsCertificate(cfg config) (func(context.Context, string) ([]byte, error), error) {
	if cfg.SNSCertFile == "" {
		return nil, nil
	}
	return func(context.Context, string) ([]byte, error) { return os.ReadFile(cfg.SNSCertFile) }, nil
}
