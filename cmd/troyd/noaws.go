//go:build noaws

package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/workers"
)

const hasAWS = false

// errNoAWS is returned for what needs AWS. Config.checkAWS reports it earlier.
var errNoAWS = usageError{errors.New("this program was built without AWS; build one with make build")}

func (config) checkAWSChoices(wrongly) {}

func newAWSCommand() *cobra.Command {
	return &cobra.Command{Use: "aws", Short: "Manage what Troy made in the AWS account", Hidden: true, RunE: func(*cobra.Command, []string) error { return errNoAWS }}
}

func openAWS(context.Context, config, *pgxpool.Pool) (cloud.Cloud, error) {
	return cloud.Cloud{}, errNoAWS
}

func (config) route53() (*certificates.DNS, error) { return nil, errNoAWS }

func consumers(context.Context, config, *backend, *slog.Logger) (map[string]workers.Consumer, error) {
	return nil, nil
}

func confirmTopic(config, *backend) (func(ctx context.Context, topic, token string) error, error) {
	return nil, nil
}

func openCodeBuild(context.Context, config) (builder.Builder, time.Duration, error) {
	return nil, 0, errNoAWS
}

func startUpkeep(context.Context, config, *backend, *slog.Logger) (func() error, error) {
	return nil, errNoAWS
}

func (*doctor) aws(context.Context, config) error { return errNoAWS }
