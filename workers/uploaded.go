package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// openUpload opens an uploaded source: a tar under zstd, in parts of at most
// cloud.MaxRead bytes that are in the order of their paths.
func (w *Workers) openUpload(ctx context.Context, tree site.Tree) (io.ReadCloser, error) {
	m, err := w.deps.Cloud.Store.Manifest(ctx, tree)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil, sourceGone()
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest of the source: %w", err)
	}
	return unzip(ctx, w.deps.Cloud.Store, tree, m.Files)
}

func sourceGone() error {
	return troy.Errorf(troy.Conflict, "the uploaded source was removed; upload it again")
}

// parts reads the files of a tree one after another.
type parts struct {
	ctx   context.Context
	store cloud.Reader
	tree  site.Tree
	left  []site.File
	data  []byte

	failed error // why no more can be read, if that is not the end
}

func (p *parts) Read(b []byte) (int, error) {
	for len(p.data) == 0 {
		if len(p.left) == 0 {
			return 0, io.EOF
		}
		data, err := p.store.Read(p.ctx, p.tree, p.left[0])
		switch {
		case errors.Is(err, cloud.ErrNotFound):
			p.failed = sourceGone()
		case err != nil:
			p.failed = fmt.Errorf("read %s of the source: %w", p.left[0].Path, err)
		}
		if p.failed != nil {
			return 0, p.failed
		}
		p.data, p.left = data, p.left[1:]
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

// unzipped is what the parts have under Zstandard. It says of damaged data that
// it is the sender's fault. A build that is stopped closes it during a Read, so
// the decoder, which does not allow that, has a mutex.
type unzipped struct {
	cancel context.CancelFunc // ends the Read of a part
	from   *parts

	mu      sync.Mutex
	decoder *zstd.Decoder // not embedded, because its WriteTo does not go through Read; nil once it is closed
}

// unzip reads the files of a tree in their order, as one stream.
func unzip(ctx context.Context, store cloud.Reader, tree site.Tree, files []site.File) (*unzipped, error) {
	ctx, cancel := context.WithCancel(ctx)
	from := &parts{ctx: ctx, store: store, tree: tree, left: files}
	d, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open the source: %w", err)
	}
	return &unzipped{cancel: cancel, from: from, decoder: d}, nil
}

func (u *unzipped) Read(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.decoder == nil {
		return 0, fs.ErrClosed
	}
	n, err := u.decoder.Read(b)
	if err != nil && !errors.Is(err, io.EOF) && u.from.failed == nil {
		return n, troy.Errorf(troy.Invalid, "the uploaded source is damaged: %w; expected a tar under Zstandard", err)
	}
	return n, err
}

// Close ends a Read that is under way and waits for it. It may be called again.
func (u *unzipped) Close() error {
	u.cancel()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.decoder != nil {
		u.decoder.Close()
		u.decoder = nil
	}
	return nil
}

// forgetUpload removes the uploaded source of a deployment that was built.
func (w *Workers) forgetUpload(ctx context.Context, deployment uuid.UUID) error {
	s, err := w.q.SourceGet(ctx, deployment)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = w.q.ReleaseGiveUp(ctx, s.ReleaseID)
	}
	if err != nil {
		return fmt.Errorf("remove the uploaded source: %w", err)
	}
	return nil
}
