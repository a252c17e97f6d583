package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/build"
)

// TestCommitGit checks that git reads the folder: it answers the questions of
// build tools, and they can write.
func TestCommitGit(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef01234567"
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		commit build.Commit
		want   map[string]string // by git's arguments
	}{
		"a branch": {
			build.Commit{ID: id, Branch: "feature/new", Message: "Add a page\n\nIt is blue.\n", Author: "Ada <x> Lovelace\n", Time: when},
			map[string]string{
				"rev-parse HEAD": id, "rev-parse --short HEAD": id[:7], "rev-parse --abbrev-ref HEAD": "feature/new", "branch --show-current": "feature/new",
				"log -1 --format=%H": id, "log -1 --format=%h": id[:7], "log -1 --format=%s": "Add a page", "log -1 --format=%b": "It is blue.",
				"log -1 --format=%an": "Ada x Lovelace", "log -1 --format=%ct": "1772366400", "rev-list --count HEAD": "1",
				"describe --always": id[:7], "rev-parse --is-inside-work-tree": "true", "status --porcelain --untracked-files=no": "", "remote": "",
			},
		},
		"no branch, no author": {
			build.Commit{ID: id, Branch: "../../evil\n[x]"},
			map[string]string{"rev-parse HEAD": id, "rev-parse --abbrev-ref HEAD": "HEAD", "log -1 --format=%an": "unknown"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files, err := test.commit.Git()
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range files {
				file := filepath.Join(dir, ".git", name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			git := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), "git", args...)
				cmd.Dir = dir
				cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC"}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("git %s: %v: %s", strings.Join(args, " "), err, out)
				}
				return strings.TrimSpace(string(out))
			}
			for args, want := range test.want {
				if got := git(strings.Fields(args)...); got != want {
					t.Errorf("git %s: %q, want %q", args, got, want)
				}
			}
			git("config", "core.hooksPath", ".husky/_") // as husky does
			if got := git("config", "core.hooksPath"); got != ".husky/_" {
				t.Errorf("the setting is %q", got)
			}
		})
	}
	if files, err := (build.Commit{ID: "main"}).Git(); files != nil || err != nil {
		t.Errorf("without a full id: %v, %v", files, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	o := build.Origin{Deployment: "d1", URL: "https://blog.example", Commit: build.Commit{ID: "0123", Branch: "main"}}
	p := build.Plan{Environment: map[string]string{"A": "repository", "B": "repository", "GITHUB_SHA": "mine", "NODE_ENV": "production"}}
	env := o.Environment(p, map[string]string{"A": "machine", "HOME": "/h"}, map[string]string{"B": "pipeline", "CI": "false", "TROY_CONTEXT": "preview", "TROY_PULL_REQUEST": "7"})
	for name, want := range map[string]string{
		"A": "repository", "B": "pipeline", "HOME": "/h", "CI": "false", "GITHUB_SHA": "mine", "NODE_ENV": "production",
		"TROY_BUILD": "d1", "TROY_DEPLOYMENT": "d1", "TROY_COMMIT": "0123", "TROY_BRANCH": "main", "TROY_URL": "https://blog.example",
		"COMMIT_REF": "0123", "CF_PAGES_COMMIT_SHA": "0123", "VERCEL_GIT_COMMIT_SHA": "0123", "BRANCH": "main", "URL": "https://blog.example",
		"HEAD": "main", "CONTEXT": "deploy-preview", "PULL_REQUEST": "true", "REVIEW_ID": "7",
		"DEPLOY_URL": "https://blog.example", "DEPLOY_PRIME_URL": "https://blog.example", "VERCEL_URL": "blog.example",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	// An adapter that finds one of these builds for that platform.
	for _, name := range []string{"NETLIFY", "VERCEL", "VERCEL_ENV", "CF_PAGES", "GITHUB_ACTIONS"} {
		if _, ok := env[name]; ok {
			t.Errorf("%s is set", name)
		}
	}
	if _, ok := build.ForInstall(env)["NODE_ENV"]; ok || env["NODE_ENV"] == "" {
		t.Error("NODE_ENV is only for the build")
	}
	for want, variables := range map[string]map[string]string{
		"production false": {"TROY_CONTEXT": "production"}, "branch-deploy false": {"TROY_CONTEXT": "preview"}, " ": nil,
	} {
		if env := o.Environment(p, nil, variables); env["CONTEXT"]+" "+env["PULL_REQUEST"] != want {
			t.Errorf("%v: CONTEXT is %q, PULL_REQUEST %q", variables, env["CONTEXT"], env["PULL_REQUEST"])
		}
	}
	if env := (build.Origin{}).Environment(build.Plan{}, nil, nil); len(env["COMMIT_REF"]) > 0 || env["CI"] != "true" {
		t.Errorf("for an empty Origin: %v", env)
	}
}
