package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/files"
)

// ownLine is the maximum length of Troy's own lines in bytes.
const ownLine = 4 << 10

// buildLog is the log of one build: an append-only file.
type buildLog struct {
	spec     builder.Spec
	overflow func() // called once, when the limit is exceeded

	mu    sync.Mutex
	file  *os.File
	left  int64
	over  bool
	begun bool  // the last line has not ended
	err   error // of the file; the first
}

func openLog(name string, spec builder.Spec, overflow func()) (*buildLog, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, files.Error(err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &buildLog{spec: spec, overflow: overflow, file: file, left: spec.Limits.LogBytes - info.Size()}, nil
}

// Write takes a phase's output after redaction. It never fails, so that the
// processes' pipe is drained until they are dead.
func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.err != nil {
		return len(p), nil
	}
	kept := p
	if int64(len(p)) > l.left {
		kept, l.over = p[:max(l.left, 0)], true
		defer l.overflow()
	}
	l.left -= int64(len(kept))
	l.put(kept)
	return len(p), nil
}

func (l *buildLog) put(p []byte) {
	if len(p) == 0 {
		return
	}
	if _, err := l.file.Write(p); err != nil {
		l.err = files.Error(err)
		l.overflow()
		return
	}
	l.begun = p[len(p)-1] != '\n'
}

// say writes one of Troy's own lines. There are few of them, so the limit does
// not apply.
func (l *buildLog) say(format string, args ...any) {
	w := l.redacted(wholeLine{l})
	line := fmt.Sprintf(format, args...)
	if len(line) > ownLine {
		line = line[:ownLine] + "…"
	}
	_, _ = io.WriteString(w, line+"\n") // the log keeps its own error
	_ = w.Close()
}

type wholeLine struct{ l *buildLog }

func (w wholeLine) Write(p []byte) (int, error) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.l.begun && w.l.err == nil {
		w.l.put([]byte("\n"))
	}
	if w.l.err == nil {
		w.l.put(p)
	}
	return len(p), nil
}

// redacted returns the writer for text that may contain secrets.
func (l *buildLog) redacted(w io.Writer) io.WriteCloser {
	if l.spec.Redact == nil {
		return nopCloser{w}
	}
	return l.spec.Redact(w)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// failed returns why the log could not be written.
func (l *buildLog) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *buildLog) close() error { return l.file.Close() }
