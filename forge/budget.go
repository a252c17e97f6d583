package forge

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/troy-iaas/troy"
)

// budget bounds the disk space of one source: its archive, git's objects, and
// the tar assembled from its own files, its submodules' and LFS's.
type budget struct {
	max  int64
	kept atomic.Int64 // bytes of the file that Source returns
}

func newBudget(maxBytes int64) *budget { return &budget{max: maxBytes} }

// left returns the space left for git's objects.
func (b *budget) left() int64 { return b.max - b.kept.Load() }

func (b *budget) exceeded() error {
	return troy.Errorf(troy.TooLarge, "the source, with its submodules and LFS files, has more than %d MiB", b.max>>20)
}

// spend takes bytes off the budget before they are written.
func (b *budget) spend(n int64) error {
	if b.kept.Add(n) > b.max {
		return b.exceeded()
	}
	return nil
}

// metered is a writer within a budget.
type metered struct {
	w      io.Writer
	budget *budget
}

func (m metered) Write(p []byte) (int, error) {
	if err := m.budget.spend(int64(len(p))); err != nil {
		return 0, err
	}
	return m.w.Write(p)
}

// canceled is a reader that ends with its context.
type canceled struct {
	ctx context.Context
	r   io.Reader
}

func (c canceled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
