package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
	"github.com/troy-iaas/troy/site"
)

// buildFiles is a build's folder: state.json, the log, alive (locked while its
// process lives), stop (another process requests its end), work while it runs
// and, once it succeeded, output and its list, files.
type buildFiles struct {
	tree site.Tree
	dir  string
}

func (b *Builder) files(t site.Tree) buildFiles {
	return buildFiles{tree: t, dir: b.root.Path("builds", t.Pipeline.String(), t.Deployment.String())}
}

func (f buildFiles) path(elements ...string) string {
	return filepath.Join(append([]string{f.dir}, elements...)...)
}

// buildRecord is the content of state.json.
type buildRecord struct {
	builder.Build
	// Attempts counts the starts, except for those that Close undid.
	Attempts    int   `json:"attempts"`
	OutputBytes int64 `json:"output_bytes,omitempty"` // the limit for the output
	Source      bool  `json:"source,omitempty"`       // build.Output's
}

// read returns the record in the file.
func (f buildFiles) read() (buildRecord, error) {
	var record buildRecord
	data, err := os.ReadFile(f.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return record, builder.ErrNotFound
	}
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(data, &record); err != nil {
		return record, fmt.Errorf("decode %s: %w", f.path("state.json"), err)
	}
	return record, nil
}

func (f buildFiles) write(temp string, record buildRecord) error {
	return files.WriteJSON(temp, f.path("state.json"), record)
}

// writeList stores the list of the output's files for openOutput.
func (f buildFiles) writeList(temp string, s *site.Source) error {
	list, err := builder.EncodeList(s)
	if err != nil {
		return err
	}
	return files.Write(temp, f.path("files"), list)
}

// openOutput opens the output of a successful build.
func (f buildFiles) openOutput(ctx context.Context, record buildRecord) (*site.Source, error) {
	list, err := os.ReadFile(f.path("files"))
	if errors.Is(err, fs.ErrNotExist) { // an earlier version built it
		return builder.OpenOutput(ctx, f.path("output"), build.Output{Source: record.Source}, record.OutputBytes)
	}
	if err != nil {
		return nil, err
	}
	return builder.OpenListed(f.dir, "output", list)
}

// look returns the record with the true state: a build that runs according to
// the file, but that no process holds, is lost.
func (f buildFiles) look() (buildRecord, error) {
	record, err := f.read()
	if err != nil || record.State != builder.Running {
		return record, err
	}
	alive := flock.New(f.path("alive"))
	defer alive.Close()
	free, err := alive.TryRLock()
	if errors.Is(err, fs.ErrNotExist) {
		return record, builder.ErrNotFound // removed meanwhile
	}
	if err != nil || !free {
		return record, err
	}
	// It may have ended between the two reads.
	if record, err = f.read(); err == nil && record.State == builder.Running {
		record.State = builder.Lost
	}
	return record, err
}

// hold locks the build for this process until the returned function is called.
// It returns nil if another process holds it. look takes the lock for a moment
// too, but shared, so the two can be distinguished.
func (f buildFiles) hold() (release func(), err error) {
	alive := flock.New(f.path("alive"), flock.SetPermissions(0o600))
	for {
		held, err := alive.TryLock()
		if err != nil {
			return nil, errors.Join(files.Error(err), alive.Close())
		}
		if held {
			return func() { _ = alive.Close() }, nil
		}
		record, err := f.look()
		if err == nil && record.State == builder.Running {
			return nil, alive.Close()
		}
		if err != nil && !errors.Is(err, builder.ErrNotFound) {
			return nil, errors.Join(err, alive.Close())
		}
	}
}

// removeFolder deletes a file or a folder with its content.
func removeFolder(ctx context.Context, dir string) error {
	_, err := walk.Remove(ctx, dir)
	return err
}

// writeGit makes a repository's .git folder if its source has none.
func writeGit(repo *os.Root, commit build.Commit) error {
	if _, err := repo.Lstat(".git"); err == nil {
		return nil
	}
	git, err := commit.Git()
	if err != nil {
		return err
	}
	for name, content := range git {
		name = filepath.Join(".git", name)
		if err := repo.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return files.Error(err)
		}
		if err := repo.WriteFile(name, content, 0o644); err != nil {
			return files.Error(err)
		}
	}
	return nil
}
