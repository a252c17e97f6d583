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
	// logPart is the number of bytes of a stored log that are read at a time.
	logPart = 256 << 10
	// logWindow bounds the memory for decompressing a log: twice what the
	// workers' encoder uses at its default level.
	logWindow = 16 << 20
	// logRounds is how often a log is read again because its pieces were
	// compressed meanwhile, which happens once.
	logRounds = 3
)

// buildLog reads the log of a deployment's build. While the build runs the log
// is in pieces; after its end it is one compressed value. A reader changes from
// one to the other without losing its position.
type buildLog struct {
	q          *queries.Queries
	deployment uuid.UUID
	position   int64 // bytes of the log that were read
}

// copy calls write with the log after the position, in order. write may not
// keep its argument. copy reads the state before the log, so a log that has
// ended according to the state was copied completely.
func (l *buildLog) copy(ctx context.Context, write func([]byte) error) (queries.BuildLogStateRow, error) {
	for n := 1; ; n++ {
		state, err := l.state(ctx)
		if err != nil {
			return state, fmt.Errorf("read the state of the log of %s: %w", l.deployment, err)
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

// copyPieces reports whether it copied everything that the state promises. It
// did not if the pieces were compressed meanwhile.
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

// copyWhole reads the compressed log part by part. It has to decompress the
// text before the position, and skips it.
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
		// A part may contain the compressed rest of the log.
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
