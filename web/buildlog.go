package web

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy/queries"
)

const (
	// logPart is how many bytes of a stored log are read at a time.
	logPart = 256 << 10
	// logWindow bounds the memory that decompressing a log takes: twice what
	// the workers' encoder uses at its default level.
	logWindow = 16 << 20
	// logRounds is how often a log is looked at again because its pieces were
	// put into one value meanwhile, which happens once.
	logRounds = 3
)

// buildLog reads the log of a deployment's build. While the build runs the
// log lies in pieces, and once it has ended in one compressed value; a reader
// goes from the one to the other without losing its place.
type buildLog struct {
	q          *queries.Queries
	deployment uuid.UUID
	position   int64 // bytes of the log that were read
}

// copy gives write what there is of the log after the position, in its order.
// write may not keep what it is given. The state was read before the log, so
// what it says to have ended has nothing after what was copied.
func (l *buildLog) copy(ctx context.Context, write func([]byte) error) (queries.BuildLogStateRow, error) {
	for n := 1; ; n++ {
		state, err := l.state(ctx)
		if err != nil {
			return state, fmt.Errorf("read how the log of %s stands: %w", l.deployment, err)
		}
		if state.Whole && l.position < state.LogBytes {
			if err := l.copyWhole(ctx, write); err != nil {
				return state, fmt.Errorf("read the log of %s: %w", l.deployment, err)
			}
		}
		complete, err := l.copyPieces(ctx, state, write)
		if err != nil {
			return state, fmt.Errorf("read the log of %s: %w", l.deployment, err)
		}
		if complete || n == logRounds {
			return state, nil
		}
	}
}

func (l *buildLog) state(ctx context.Context) (queries.BuildLogStateRow, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	return l.q.BuildLogState(ctx, l.deployment)
}

func (l *buildLog) pieces(ctx context.Context) ([]queries.BuildLogPiecesRow, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	return l.q.BuildLogPieces(ctx, l.deployment, l.position)
}

// copyPieces reports whether all that the state tells of was copied. It was
// not when the pieces were put into one value meanwhile.
func (l *buildLog) copyPieces(ctx context.Context, state queries.BuildLogStateRow, write func([]byte) error) (complete bool, err error) {
	for !state.Whole || !state.Finished {
		pieces, err := l.pieces(ctx)
		if err != nil {
			return false, err
		}
		if len(pieces) == 0 {
			return l.position >= state.LogBytes || state.Whole, nil
		}
		for _, piece := range pieces {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			rest := piece.Bytes[max(0, l.position-piece.Position):]
			l.position = piece.Position + int64(len(piece.Bytes))
			if err := write(rest); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// copyWhole reads the compressed log part by part. What comes before the
// position has to be decompressed, and is passed over.
func (l *buildLog) copyWhole(ctx context.Context, write func([]byte) error) error {
	stored := &storedLog{ctx: ctx, q: l.q, deployment: l.deployment}
	r, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(logWindow))
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, l.position); err != nil {
		if err == io.EOF { //nolint:errorlint // io.CopyN returns it as it is
			return nil
		}
		return err
	}
	part := make([]byte, logPart)
	for {
		// What is left of a log may be compressed into a part that was read.
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, part)
		if n > 0 {
			l.position += int64(n)
			if err := write(part[:n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

// storedLog reads the compressed value.
type storedLog struct {
	ctx        context.Context
	q          *queries.Queries
	deployment uuid.UUID
	read       int32
	part       []byte
}

func (s *storedLog) Read(p []byte) (int, error) {
	if len(s.part) == 0 {
		ctx, cancel := context.WithTimeout(s.ctx, quick)
		defer cancel()
		part, err := s.q.BuildLogPart(ctx, queries.BuildLogPartParams{Start: s.read + 1, Most: logPart, DeploymentID: s.deployment})
		if err != nil {
			return 0, err
		}
		if len(part) == 0 {
			return 0, io.EOF
		}
		s.read += int32(len(part))
		s.part = part
	}
	n := copy(p, s.part)
	s.part = s.part[n:]
	return n, nil
}
