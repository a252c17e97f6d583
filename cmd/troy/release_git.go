package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
)

// gitTime bounds the time that git has to read a commit.
const gitTime = 10 * time.Second

// describe returns the message for a release of path: the given one, with the
// commit if fromGit is set, or that of the job of CI.
func (a *app) describe(ctx context.Context, path, message string, fromGit bool) (string, error) {
	job := a.ciJob()
	if !fromGit {
		if job == nil || message != "" {
			return message, nil
		}
		if job.commit.title == "" {
			if c, err := gitCommit(ctx, path); err == nil && c.id == job.commit.id {
				job.commit.title = c.title
				job.commit.author = cmp.Or(job.commit.author, c.author)
			}
		}
		return job.commit.message(), nil
	}
	c, err := gitCommit(ctx, path)
	if err != nil {
		return "", err
	}
	if job != nil && c.branch == "" { // jobs check out a commit, not a branch
		c.branch = job.commit.branch
	}
	if message != "" {
		c.title = ""
		return message + " " + c.message(), nil
	}
	return c.message(), nil
}

// gitCommit returns the current commit of the repository that a folder or an
// archive is in.
func gitCommit(ctx context.Context, path string) (ciCommit, error) {
	dir := path
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		dir = filepath.Dir(path)
	}
	ctx, cancel := context.WithTimeout(ctx, gitTime)
	defer cancel()
	out, err := git(ctx, dir, "-c", "log.showSignature=false", "log", "-1", "--no-color", "--format=%H%x00%an%x00%s")
	if err != nil {
		return ciCommit{}, err
	}
	var c ciCommit
	if fields := strings.SplitN(out, "\x00", 3); len(fields) == 3 {
		c.id, c.author, c.title = fields[0], fields[1], fields[2]
	}
	// Without a branch, git fails.
	c.branch, _ = git(ctx, dir, "symbolic-ref", "--quiet", "--short", "HEAD")
	return c, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case err == nil:
		return strings.TrimSpace(string(out)), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", troy.Errorf(troy.Invalid, "git is not installed; use --message").At("--from-git")
	}
	reason, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(stderr.String()), "fatal: "), "\n")
	if strings.HasPrefix(reason, "not a git repository") {
		return "", troy.Errorf(troy.Invalid, "%s is not in a git repository; use --message", dir).At("--from-git")
	}
	return "", troy.Errorf(troy.Invalid, "cannot read the commit of %s: git says %q", dir, troy.Clip(reason)).At("--from-git")
}
