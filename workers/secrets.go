package workers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
)

// refuseSecrets fails a successful build if one of its files contains the value
// of a secret variable, and writes the cause to its log.
func (w *Workers) refuseSecrets(ctx context.Context, d queries.Deployment, made *site.Source, done *builder.Build) error {
	file, variable, err := w.findSecret(ctx, d, made)
	if err != nil || file == "" {
		return err
	}
	done.State = builder.Failed
	done.Cause = fmt.Sprintf("the file %q contains the value of the secret variable %s, and everyone could read it; if that is intended, set the variable again with --plain", file, variable)
	if n := len(done.Phases); n > 0 && done.Phases[n-1].Phase == builder.PhaseArchive {
		code := 1
		done.Phases[n-1].ExitCode = &code
	}
	row, err := w.q.BuildGet(ctx, d.ID)
	if err != nil {
		return fmt.Errorf("read the build: %w", err)
	}
	if row.FinishedAt != nil {
		return nil // the log is complete and has the cause
	}
	if _, err := w.q.BuildLogAppend(ctx, queries.BuildLogAppendParams{
		Bytes: []byte("Failed: " + done.Cause + ".\n"), LogCursor: row.LogCursor, DeploymentID: d.ID,
	}); err != nil {
		return fmt.Errorf("write the build's log: %w", err)
	}
	return nil
}

// findSecret returns the first file that contains the value of one of the
// pipeline's secret variables, and that variable's name.
func (w *Workers) findSecret(ctx context.Context, d queries.Deployment, made *site.Source) (file, variable string, err error) {
	_, secrets, err := w.variables(ctx, d)
	if err != nil {
		return "", "", err
	}
	for name, value := range secrets {
		if everyday(strings.TrimSpace(value)) {
			delete(secrets, name)
		}
	}
	finder, err := secret.NewFinder(secrets)
	if err != nil {
		return "", "", err
	}
	if len(secrets) == 0 {
		return "", "", nil
	}
	for _, f := range made.Files {
		if variable, err = findIn(ctx, finder, made, f.Path); err != nil {
			return "", "", fmt.Errorf("search %q for secrets: %w", f.Path, err)
		}
		if variable != "" {
			return f.Path, variable, nil
		}
	}
	return "", "", nil
}

func findIn(ctx context.Context, finder *secret.Finder, made *site.Source, name string) (variable string, err error) {
	r, err := made.Open(name)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	variable, err = finder.Find(r)
	if !stop() && ctx.Err() != nil {
		return "", ctx.Err()
	}
	return variable, errors.Join(err, r.Close())
}

// version matches "v22.12.0" and similar.
var version = regexp.MustCompile(`^v?\d+(\.\d+){1,3}$`)

// everyday reports whether a value is too common to be a secret even though its
// variable is one, as variables are by default: an environment's name, a
// version, or a host's address.
func everyday(value string) bool {
	switch value {
	case "production", "development", "localhost", "127.0.0.1":
		return true
	}
	u, err := url.Parse(value)
	origin := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
	return origin || version.MatchString(value)
}
