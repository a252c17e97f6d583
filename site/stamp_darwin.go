package site

import (
	"io/fs"
	"syscall"
)

func stampOf(info fs.FileInfo) (stamp, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, false
	}
	return stamp{s.Size, s.Mtimespec.Nano(), s.Ctimespec.Nano(), int64(s.Ino)}, true
}
