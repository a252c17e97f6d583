package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// guard protects against publishing something by mistake.
type guard struct {
	allowed []string // paths of secrets to publish
	yes     bool
	noCache bool
	follow  bool
	unused  bool // the files don't go live
}

func (g *guard) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&g.allowed, "allow-secret", nil, "publish the secret at this `path`; repeatable")
	cmd.Flags().BoolVarP(&g.yes, "yes", "y", false, "do not ask about a missing index.html")
	cmd.Flags().BoolVar(&g.follow, "dereference", false, "follow links that lead out of the folder")
	cmd.Flags().BoolVar(&g.noCache, "no-cache", false, "read every file, also if it did not change")
}

// notTooWide refuses folders that can't be a site.
func notTooWide(name string) error {
	place, err := realPath(name)
	if err != nil {
		return nil //nolint:nilerr // reading it reports the error
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
		what = "a folder that contains your home folder"
	}
	if what == "" {
		return nil
	}
	return troy.Errorf(troy.Invalid, "%s is %s; release the folder that contains the site", name, what)
}

func realPath(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(name)
}

// keptContents is how many bytes of the site's small files are kept in memory
// from when they are hashed until they are sent.
const keptContents = 32 << 20

// read opens and hashes the folder or the archive.
func (a *app) read(ctx context.Context, p *progress, path string, g guard) (*site.Source, error) {
	shown := clean(path)
	if path == standardInput {
		shown = "stdin"
	}
	p.say("Reading " + shown)
	tell := func(files int, bytes int64) {
		p.change(func() string {
			return fmt.Sprintf("Reading %s: %s, %s", shown, troy.Count(files, "file", "files"), troy.Size(bytes))
		})
	}
	options := []site.SourceOption{site.LeavingOut(), site.FindingLeaks(g.allowed...), site.KeepingContents(keptContents), site.WithProgress(tell)}
	if path == standardInput {
		file, err := spool(ctx, a.in)
		if err != nil {
			return nil, err
		}
		return site.OpenArchive(ctx, file, readLimits(), options...)
	}
	if dir, err := os.UserCacheDir(); err == nil && !g.noCache {
		options = append(options, site.RememberingDigests(filepath.Join(dir, "troy")))
	}
	if g.unused {
		options = append(options, site.NotGoingLive())
	}
	if g.follow {
		options = append(options, site.FollowingLinksOut())
	}
	source, err := site.OpenSource(ctx, path, readLimits(), options...)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if errors.Is(err, site.ErrLeadsOut) && !g.follow {
		return nil, &adviceError{err, "To publish a copy of what a folder's link leads to, use --dereference"}
	}
	return source, unreadable(path, err)
}

// standardInput is the path that stands for an archive on stdin.
const standardInput = "-"

// spool writes an archive to a temporary file, and removes the file's name where
// the system allows that.
func spool(ctx context.Context, in io.Reader) (*os.File, error) {
	file, err := os.CreateTemp("", "troy-release-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(file.Name()) // Windows keeps it until it is rebooted
	copied := make(chan error, 1)
	go func() {
		most := readLimits().TotalBytes
		n, err := io.Copy(file, io.LimitReader(in, most+1))
		switch {
		case err != nil:
		case n > most:
			err = troy.Errorf(troy.TooLarge, "stdin has more than %s", troy.Size(most))
		case n == 0:
			err = troy.Errorf(troy.Invalid, "stdin is empty; expected a zip or a tar, as from tar -c . | troy release -")
		}
		copied <- err
	}()
	select {
	case err = <-copied:
	case <-ctx.Done(): // a read of stdin can't be cancelled
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// unreadable rewords the error of a source that may not be read.
func unreadable(source string, err error) error {
	denied, ok := site.Denied(err)
	switch {
	case !ok:
		return err
	case denied == source:
		return troy.Errorf(troy.Invalid, "cannot read %s: permission denied; make it readable", source)
	}
	return troy.Errorf(troy.Invalid, "cannot read %q in %s: permission denied; make it readable or list it in %s", denied, source, site.IgnoreFile)
}

// readLimits returns ten times the default limits, which protect this machine.
// The server checks its own limits.
func readLimits() site.Limits {
	l := site.DefaultLimits()
	l.Files *= 10
	l.FileBytes *= 10
	l.TotalBytes *= 10
	l.Entries *= 10
	return l
}

// maxNamed is the maximum number of left-out paths to list.
const maxNamed = 5

// inspect reports the files that are not released, and refuses secrets.
func (a *app) inspect(ctx context.Context, name string, source *site.Source, g guard) error {
	if source.Stripped != "" {
		_, _ = fmt.Fprintf(a.err, "Releasing the archive's only folder, %s.\n", clean(source.Stripped))
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

// leaked returns an error that lists all secrets.
func leaked(leaks []site.Leak) error {
	e := troy.Errorf(troy.Invalid, "%s would be published; nothing was sent", troy.Count(len(leaks), "secret", "secrets"))
	for _, leak := range leaks {
		e.Details = append(e.Details, leak.Path+": "+leak.Reason)
	}
	return &adviceError{e, "Remove the file, list it in " + site.IgnoreFile + " or, if it may be public, use --allow-secret " + quoted(leaks[0].Path)}
}

// quoted returns text as one word for a shell.
func quoted(text string) string {
	if strings.IndexFunc(text, func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:@%,", r) || r > '~'
		return !plain
	}) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// sureWithoutIndex asks whether to release a site without a home page.
func (a *app) sureWithoutIndex(ctx context.Context, name string, source *site.Source, yes bool) error {
	text := clean(name) + " has no index.html, so the site's home page would be missing."
	if near := nearestIndex(source.Files); near != "" {
		text += fmt.Sprintf(" The nearest one is %s.", clean(near))
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

// nearestIndex returns the index.html with the fewest parent folders.
func nearestIndex(files []site.File) string {
	near, depth := "", 0
	for _, f := range files {
		if d := strings.Count(f.Path, "/"); path.Base(f.Path) == "index.html" && (near == "" || d < depth) {
			near, depth = f.Path, d
		}
	}
	return near
}
