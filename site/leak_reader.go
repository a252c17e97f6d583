package site

import (
	"io"

	"github.com/troy-iaas/troy"
)

// RefuseLeaks returns a reader of the file that r has. If the file contains a
// secret, reading fails with an Invalid error before the last byte is returned,
// so that a store, which checks the file's size, does not store it.
func RefuseLeaks(r io.Reader, f File) io.Reader { return &leakRefuser{r: r, file: f, left: f.Size} }

type leakRefuser struct {
	r    io.Reader
	file File
	left int64 // unread bytes
	scan leakScanner
}

func (l *leakRefuser) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	_, _ = l.scan.Write(p[:n]) // never fails
	l.left -= int64(n)
	if l.scan.kind == "" && (l.left > 0 && err == nil || n == 0) {
		return n, err
	}
	if found := l.scan.end(); found != "" {
		return 0, troy.Errorf(troy.Invalid, "%q contains %s; nothing was published", l.file.Path, found)
	}
	return n, err
}
