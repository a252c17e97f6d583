package sandbox

import (
	"io/fs"
	"syscall"
	"time"
)

// changed returns the time of a file's last write, rename or link (st_ctim of
// inode(7)). Unlike the modification time, a program can't set it.
func changed(info fs.FileInfo) time.Time {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.ModTime()
	}
	return time.Unix(stat.Ctim.Unix())
}
