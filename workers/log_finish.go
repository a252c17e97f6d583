package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
)

// finishLog replaces the pieces of the log with one compressed log, after it
// has appended what helps against a known failure.
func (w *Workers) finishLog(ctx context.Context, deployment uuid.UUID, b builder.Build) error {
	if b.State == builder.Lost {
		return nil
	}
	reader, writer := io.Pipe()
	var last, helps string
	var group errgroup.Group
	group.Go(func() error {
		var err error
		last, helps, err = w.gatherLog(ctx, writer, deployment, b)
		return writer.CloseWithError(err)
	})
	whole, err := compress(reader)
	_ = reader.CloseWithError(err)
	if err := errors.Join(err, group.Wait()); err != nil {
		return fmt.Errorf("gather the build's log: %w", err)
	}
	var phases []byte // nil: unchanged
	if b.Phases != nil {
		if phases, err = json.Marshal(b.Phases); err != nil {
			return fmt.Errorf("encode the phases: %w", err)
		}
	}
	if err := w.q.BuildFinish(ctx, queries.BuildFinishParams{
		Log: whole, Tail: last, Advice: helps, Phases: phases, Warnings: b.Warnings, DeploymentID: deployment,
	}); err != nil {
		return fmt.Errorf("finish the build's record: %w", err)
	}
	return nil
}

// gatherLog copies the pieces of the log, and returns the last lines of the
// failed phase and the advice. It first appends the advice to the pieces, which
// a reader may be following, unless an earlier attempt did.
func (w *Workers) gatherLog(ctx context.Context, to io.Writer, deployment uuid.UUID, b builder.Build) (last, helps string, err error) {
	var end builder.LogEnd
	var position int64
	copyPieces := func() error {
		for {
			pieces, err := w.q.BuildLogFrom(ctx, deployment, position)
			if err != nil || len(pieces) == 0 {
				return err
			}
			for _, piece := range pieces {
				if _, err := to.Write(piece.Bytes); err != nil {
					return err
				}
				end.Add(piece.Bytes)
				position = piece.Position + int64(len(piece.Bytes))
			}
		}
	}
	if err := copyPieces(); err != nil {
		return "", "", err
	}
	phase := end.Phase()
	if last, helps = builder.Tail(phase), b.Advice(phase); helps == "" || position == 0 || end.Advised() {
		return last, helps, nil
	}
	row, err := w.q.BuildGet(ctx, deployment)
	if err != nil {
		return last, helps, fmt.Errorf("read the build: %w", err)
	}
	if _, err := w.q.BuildLogAppend(ctx, queries.BuildLogAppendParams{
		Bytes: []byte("Advice: " + helps + ".\n"), LogCursor: row.LogCursor, DeploymentID: deployment,
	}); err != nil {
		return last, helps, fmt.Errorf("write the advice: %w", err)
	}
	return last, helps, copyPieces()
}

// causeOf returns the cause of a failed build, with the advice that finishLog
// found.
func (w *Workers) causeOf(ctx context.Context, deployment uuid.UUID, b builder.Build) (string, error) {
	row, err := w.q.BuildGet(ctx, deployment)
	if err != nil {
		return "", fmt.Errorf("read the build: %w", err)
	}
	if row.Advice == "" {
		return b.Cause, nil
	}
	return b.Cause + ": " + row.Advice, nil
}

// list returns a list that Postgres does not take for NULL.
func list(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}

func compress(r io.Reader) ([]byte, error) {
	var out sliceWriter
	encoder, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(encoder, r); err != nil {
		return nil, errors.Join(err, encoder.Close())
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return out, nil
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}
