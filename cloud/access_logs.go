package cloud

import (
	"context"
	"errors"
	"time"
)

// ErrDamaged means that a log file can't be read to its end, and that another
// try would not help. It may be wrapped.
var ErrDamaged = errors.New("the log file is damaged")

// LogFile is a file with requests to one distribution.
type LogFile struct {
	// Key identifies the file. A file never changes.
	Key          string
	Distribution string
	Hour         time.Time // of the requests; the file may arrive a day later
}

// Request is a line of a LogFile. Its texts come from clients.
type Request struct {
	Day            string // in UTC: "2026-11-29"
	Path, Referrer string // Path is escaped and has no query
	Status         int    // 0 if the client closed the connection before the response
	Bytes          int64  // of the response, with headers
}

// AccessLogs are the files in which a CDN logs the requests to its
// distributions. They are written some time after the requests, in any order.
type AccessLogs interface {
	// Files yields the log files of this installation until each returns an
	// error, which Files returns. Removing files meanwhile is fine.
	Files(ctx context.Context, each func(LogFile) error) error
	// Read yields the requests of a file and returns the number of lines that
	// it could not read. It bounds the file's size, its lines and their length.
	// If it returns ErrDamaged, it has yielded the requests before the damage.
	// It returns ErrNotFound if the file does not exist.
	Read(ctx context.Context, f LogFile, each func(Request)) (unread int, err error)
	// Remove deletes files. It ignores files that do not exist.
	Remove(ctx context.Context, keys ...string) error
}
