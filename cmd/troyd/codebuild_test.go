package main

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// TestSettingsReachBuildsOnCodeBuild builds on CodeBuild with the settings that
// apply there, and refuses the others.
func TestSettingsReachBuildsOnCodeBuild(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("the double's machines are not available here: %v: %s", err, out)
	}
	server := s3test.Start(t)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	double := awsdouble.Start(awsdouble.Config{S3: at, S3Key: s3test.Key, S3Secret: s3test.Secret})
	t.Cleanup(double.Close)
	double.MakeProject("troy-builds")
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.Secret)
	// The double's machines have a /var/tmp of their own, and /tmp is refused.
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "troyd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	program, variables := filepath.Join(dir, "bin", "team-tool"), filepath.Join(dir, "build.env")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho tool of $TEAM\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(variables, []byte("TEAM=web team\nPLACE=operator\nHTTPS_PROXY=http://proxy.lan:3128\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"TROY_DATA_DIR": filepath.Join(t.TempDir(), "data"), "TROY_CLOUD": "aws", "TROY_AWS_REGION": "us-east-1", "TROY_AWS_ENDPOINT": double.URL(), "TROY_AWS_S3_ENDPOINT": server.URL,
		"TROY_AWS_SITES_BUCKET": server.Bucket(t, "sites"), "TROY_AWS_WORK_BUCKET": server.Bucket(t, "work"), "TROY_AWS_ZONE": "Z1",
		"TROY_AWS_CERTIFICATE": "arn:aws:acm:us-east-1:1:certificate/1", "TROY_AWS_POINTER_STORE": "arn:aws:cloudfront::1:key-value-store/1",
		"TROY_SITES_SUFFIX": "sites.test", "TROY_AWS_PROJECT": "troy-builds",
		"TROY_BUILD_ENV_FILE": variables, "TROY_BUILD_PATH": filepath.Dir(program),
	}
	cfg, err := readConfig(settings)
	if err != nil {
		t.Fatal(err)
	}
	builder, _, shut, err := openBuilder(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shut(); err != nil {
			t.Error(err)
		}
	}()
	e := buildertest.Env{Builder: builder, Deadline: 2 * time.Minute, Poll: 50 * time.Millisecond}
	spec := buildertest.Shell(`mkdir -p out && echo '<h1>' > out/index.html && team-tool > out/tool && echo "$HTTPS_PROXY $PLACE" > out/env`).Spec(t)
	spec.Variables = map[string]string{"PLACE": "pipeline"}
	e.Succeeds(t, spec)
	got := e.Output(t, spec.Tree)
	if got["tool"] != "tool of web team\n" || got["env"] != "http://proxy.lan:3128 pipeline\n" {
		t.Errorf("the build made %q", got)
	}
	if left, err := os.ReadDir(filepath.Join(settings["TROY_DATA_DIR"], "tmp")); err != nil || len(left) > 1 {
		t.Errorf("in the data folder are %v, %v; want at most the newest output", left, err)
	}

	for setting, value := range map[string]string{"TROY_BUILD_VISIBLE": "/etc/troy/lan-ca.pem", "TROY_BUILD_ALLOW": "10.1.2.3"} {
		settings[setting] = value
		if _, err := readConfig(settings); err == nil || !strings.HasPrefix(err.Error(), setting+": is set, but builds on CodeBuild") {
			t.Errorf("%s: %v", setting, err)
		}
		delete(settings, setting)
	}
	settings["TROY_BUILD_ENV_FILE"] = filepath.Join(dir, "none")
	if cfg, err = readConfig(settings); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := openBuilder(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "TROY_BUILD_ENV_FILE") {
		t.Errorf("a missing environment: %v", err)
	}
}
