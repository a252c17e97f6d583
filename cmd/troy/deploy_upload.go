package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

// deployUpload sends a folder to the server, which builds and deploys it.
func deployUpload(ctx context.Context, a *app, pipeline, dir, message string, w waiting) error {
	if err := w.check(); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	// Fetch the pipeline first, so that a wrong name or token is reported
	// before a large folder is packed.
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	if err := errors.Join(refuseDeleting(p), refuseLocked(p)); err != nil {
		return err
	}
	d, err := a.sendSource(ctx, c, pipeline, dir, message)
	if err != nil {
		return err
	}
	return a.await(ctx, c, pipeline, d, w)
}

// sendSource packs a folder and sends it as a release, which the server builds.
func (a *app) sendSource(ctx context.Context, c *client.Client, pipeline, dir, message string) (d client.Deployment, err error) {
	name := dir
	if dir, err = realPath(name); err != nil {
		return d, troy.Errorf(troy.NotFound, "folder not found: %s", name).At("--upload")
	}
	source, err := readSource(ctx, dir, "")
	if err != nil {
		return d, err
	}
	defer func() { _ = source.Close() }() // it was only read
	a.describeSource(source)
	temp, err := os.MkdirTemp("", "troy-source-*")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()

	p := a.newProgress()
	defer p.stop()
	c.Away = p.away
	p.say("Packing " + clean(dir))
	err = source.pack(ctx, temp, func(bytes int64) {
		p.change(func() string {
			return fmt.Sprintf("Packing %s: %s of %s", clean(dir), troy.Size(bytes), troy.Size(source.bytes))
		})
	})
	if err != nil {
		return d, err
	}
	packed, err := site.OpenSource(ctx, temp, readLimits())
	if err != nil {
		return d, err
	}
	defer func() { _ = packed.Close() }() // it was only read
	p.stop()
	r, err := c.BeginRelease(ctx, pipeline, uuid.NewString(), client.NewRelease{Files: packed.Files, Message: message})
	if err != nil {
		return d, err
	}
	if err := declared(packed.Files, r.Missing); err != nil {
		return d, err
	}
	var bytes int64
	for _, f := range r.Missing {
		bytes += f.Size
	}
	_, _ = fmt.Fprintf(a.err, "%s, %s; to upload: %s\n", troy.Count(source.files, "file", "files"), troy.Size(source.bytes), troy.Size(bytes))
	if len(r.Missing) > 0 {
		if err := c.Upload(ctx, pipeline, r, client.Upload{Open: packed.Open, Progress: p.upload(len(r.Missing), bytes)}); err != nil {
			return d, err
		}
	}
	return c.DeploySource(ctx, pipeline, r.ID)
}

// pack writes the source into a folder as the parts of a tar under Zstandard.
func (s *localSource) pack(ctx context.Context, dir string, tell func(bytes int64)) error {
	parts := &partWriter{dir: dir}
	z, err := zstd.NewWriter(parts, zstd.WithWindowSize(4<<20))
	if err != nil {
		return err
	}
	return errors.Join(s.write(ctx, z, tell), z.Close(), parts.close())
}

// partWriter writes to files of at most client.SourcePart bytes, whose names are
// in the order of what was written.
type partWriter struct {
	dir  string
	n    int
	file *os.File
	left int
}

func (w *partWriter) Write(data []byte) (written int, err error) {
	for len(data) > 0 {
		if w.left == 0 {
			if err := w.next(); err != nil {
				return written, err
			}
		}
		n, err := w.file.Write(data[:min(len(data), w.left)])
		written, w.left, data = written+n, w.left-n, data[n:]
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (w *partWriter) next() (err error) {
	if err := w.close(); err != nil {
		return err
	}
	w.file, err = os.OpenFile(filepath.Join(w.dir, fmt.Sprintf("source-%05d.part", w.n)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	w.n, w.left = w.n+1, client.SourcePart
	return err
}

func (w *partWriter) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}
