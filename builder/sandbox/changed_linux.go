package sandbox

import (
	"io/fs"
	"syscall"
	"time"
)

// changed is when a file was written, renamed or linked last (st_ctim of
// inode(7)). Unlike the time of its content, a program can't set it.
func changed(info fs.FileInfo) time.Time {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.ModTime()
	}
	return time.Unix(stat.Ctim.Unix())
}
