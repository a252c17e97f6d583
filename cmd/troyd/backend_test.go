package main

import (
	"log/slog"
	"testing"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
)

func TestConnectionsPlanOnce(t *testing.T) {
	t.Parallel()
	cfg := defaults(t)
	cfg.DatabaseURL, cfg.RedisURL, cfg.DataDir = stacktest.Database(t), stacktest.Redis(t), t.TempDir()
	b, err := connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	var mode string
	if err := b.db.QueryRow(t.Context(), "SHOW plan_cache_mode").Scan(&mode); err != nil || mode != "force_generic_plan" {
		t.Errorf("plan_cache_mode is %q, %v; want the plans that TestPlans examines", mode, err)
	}
}
