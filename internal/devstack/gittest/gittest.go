// Package gittest runs git for tests without the configuration of the machine
// or the user. It also writes a configuration that breaks every git that reads
// it. The tests of package forge and of whole programs use it.
package gittest

import (
	"context"
	"fmt"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// env is the environment of a git that reads only a repository's own
// configuration (git(1), "ENVIRONMENT VARIABLES").
func env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TEMPLATE_DIR=", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
}

// Command returns a git command in a folder. It inherits only PATH.
func Command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, env()
	return cmd
}

// Server returns a handler that serves the repositories below a folder over
// smart HTTP (git-http-backend(1)).
func Server(ctx context.Context, root string) (*cgi.Handler, error) {
	programs, err := Command(ctx, root, "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git --exec-path: %w", err)
	}
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"),
		Env:  append(env(), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1"),
	}, nil
}

// hostileConfig is the worst configuration that a user or a machine may have.
// %s is a folder of hooks that fail.
const hostileConfig = `[alias]
	lfs = "!false"
	fetch = "!false"
[commit]
	gpgSign = true
[tag]
	gpgSign = true
[gpg]
	program = false
[init]
	defaultBranch = hostile
	defaultObjectFormat = sha256
[core]
	hooksPath = %s
	autocrlf = true
	fsmonitor = false
	excludesFile = %[1]s/everything
	attributesFile = %[1]s/attributes
[filter "lfs"]
	clean = false
	smudge = false
	process = false
	required = true
[url "http://127.0.0.1:9/"]
	insteadOf = http://
	insteadOf = https://
[protocol]
	allow = never
[protocol "http"]
	allow = never
[fetch]
	fsckObjects = true
[tar]
	umask = 0777
[safe]
	bareRepository = explicit
[http]
	proxy = http://127.0.0.1:9
[user]
	useConfigOnly = true
`

// Hostile writes a hostile configuration into a folder and returns the
// environment of a user whose home is the folder. Every git that reads the
// configuration, or inherits the environment, fails or misbehaves.
func Hostile(dir string) ([]string, error) {
	config := fmt.Sprintf(hostileConfig, dir+"/hooks")
	files := map[string]string{
		".gitconfig": config, "etc/gitconfig": config, ".config/git/config": config, ".config/git/attributes": "* export-ignore\n",
		"hooks/attributes": "* export-ignore\n", "hooks/everything": "*\n", "templates/info/attributes": "* export-ignore\n", "templates/info/exclude": "*\n",
	}
	for _, hook := range []string{"pre-commit", "commit-msg", "pre-push", "pre-receive", "update", "post-checkout", "reference-transaction"} {
		files["hooks/"+hook], files["templates/hooks/"+hook] = "#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 1\n"
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return nil, err
		}
	}
	env := []string{
		"HOME=" + dir, "XDG_CONFIG_HOME=" + dir + "/.config", "GIT_CONFIG_SYSTEM=" + dir + "/etc/gitconfig", "GIT_TEMPLATE_DIR=" + dir + "/templates",
		"GIT_DIR=/nonexistent/git", "GIT_WORK_TREE=/nonexistent", "GIT_INDEX_FILE=/nonexistent/index", "GIT_OBJECT_DIRECTORY=/nonexistent/objects",
		"GIT_EXEC_PATH=/nonexistent/git-core", "GIT_ALLOW_PROTOCOL=none", "GIT_DEFAULT_HASH=sha256", "GIT_NAMESPACE=hostile", "GIT_SHALLOW_FILE=/nonexistent/shallow",
		"GIT_SSL_CAINFO=/nonexistent/ca.pem", "GIT_ASKPASS=false", "GIT_PAGER=false", "GIT_LITERAL_PATHSPECS=1", "GIT_TRACE=1",
	}
	settings := []string{"commit.gpgSign", "true", "http.proxy", "http://127.0.0.1:9", "protocol.allow", "never"}
	for i := 0; i < len(settings); i += 2 {
		n := strconv.Itoa(i / 2)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+settings[i], "GIT_CONFIG_VALUE_"+n+"="+settings[i+1])
	}
	return append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)/2)), nil
}
