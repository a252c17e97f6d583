package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// guard keeps a release from publishing what was not meant to be.
type guard struct {
	allowed []string // paths of secrets
	yes     bool
}

func (g *guard) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&g.allowed, "allow-secret", nil, "publish the secret at this `path`; repeatable")
	cmd.Flags().BoolVarP(&g.yes, "yes", "y", false, "do not ask: release it without an index.html too")
}

// notTooWide refuses folders that no site is made of.
func notTooWide(name string) error {
	place, err := realPath(name)
	if err != nil {
		return nil //nolint:nilerr // reading it says why
	}
	what := ""
	home, err := os.UserHomeDir()
	if err == nil {
		home, err = realPath(home)
	}
	switch {
	case filepath.Dir(place) == place:
		what = "the root of the file system"
	case err != nil:
	case place == home:
		what = "your home folder"
	case strings.HasPrefix(home, place+string(filepath.Separator)):
		what = "a folder that holds your home folder"
	}
	if what == "" {
		return nil
	}
	return troy.Errorf(troy.Invalid, "%s is %s; release the folder that holds the site", name, what)
}

func realPath(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(name)
}

// read opens and hashes the folder or the archive.
func (a *app) read(ctx context.Context, p *progress, path string, g guard) (*site.Source, error) {
	p.say("Reading " + clean(path))
	tell := func(files int, bytes int64) {
		p.change(func() string {
			return fmt.Sprintf("Reading %s: %s, %s", clean(path), counted(files, "file", "files"), size(bytes))
		})
	}
	source, err := site.OpenSource(ctx, path, readLimits(), site.LeavingOut(), site.FindingLeaks(g.allowed...), site.WithProgress(tell))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return source, err
}

// readLimits are ten times the default ones: they guard this machine. Those
// that count are the server's configuration, and it says so when they are
// passed.
func readLimits() site.Limits {
	l := site.DefaultLimits()
	l.Files *= 10
	l.FileBytes *= 10
	l.TotalBytes *= 10
	l.Entries *= 10
	return l
}

// maxNamed is how many of the paths that were left out are named.
const maxNamed = 5

// inspect says what of the source is not released, and refuses what should
// not be.
func (a *app) inspect(ctx context.Context, name string, source *site.Source, g guard) error {
	if source.Stripped != "" {
		_, _ = fmt.Fprintf(a.err, "Taking the archive's only folder, %s, as the site.\n", clean(source.Stripped))
	}
	if source.Omitted > 0 {
		names := source.LeftOut[:min(maxNamed, len(source.LeftOut))]
		more := ""
		if n := source.Omitted - len(names); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		_, _ = fmt.Fprintf(a.err, "Left out: %s%s\n", clean(strings.Join(names, ", ")), more)
	}
	if len(source.Leaks) > 0 {
		return leaked(source.Leaks)
	}
	for _, f := range source.Files {
		if f.Path == "index.html" {
			return nil
		}
	}
	return a.sureWithoutIndex(ctx, name, source, g.yes)
}

// leaked is the error that lists all secrets.
func leaked(leaks []site.Leak) error {
	e := troy.Errorf(troy.Invalid, "%s would be published; nothing was sent", counted(len(leaks), "secret", "secrets"))
	for _, leak := range leaks {
		e.Details = append(e.Details, leak.Path+": "+leak.Reason)
	}
	return &adviceError{e, "Remove such a file, list it in " + site.IgnoreFile + " or, if it is meant to be public, give --allow-secret " + quoted(leaks[0].Path)}
}

// quoted is a text as a shell takes it.
func quoted(text string) string {
	if strings.IndexFunc(text, func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%,", r) || r > '~'
		return !plain
	}) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// sureWithoutIndex asks whether to release what has no page at its address.
func (a *app) sureWithoutIndex(ctx context.Context, name string, source *site.Source, yes bool) error {
	text := clean(name) + " has no index.html, so the site's address would answer 404."
	if near := nearestIndex(source.Files); near != "" {
		text += fmt.Sprintf(" The nearest is %s.", clean(near))
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			text += fmt.Sprintf(" Did you mean: troy release %s", clean(quoted(filepath.Join(name, filepath.FromSlash(path.Dir(near))))))
		}
	}
	if yes {
		_, _ = fmt.Fprintln(a.err, text)
		return nil
	}
	return a.sure(ctx, text, "yes")
}

// nearestIndex returns the index.html that lies least deep.
func nearestIndex(files []site.File) string {
	near, depth := "", 0
	for _, f := range files {
		if d := strings.Count(f.Path, "/"); path.Base(f.Path) == "index.html" && (near == "" || d < depth) {
			near, depth = f.Path, d
		}
	}
	return near
}
