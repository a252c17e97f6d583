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
	return stampIn(s), true
}

func stampIn(s *syscall.Stat_t) stamp {
	return stamp{s.Size, s.Mtim.Nano(), s.Ctim.Nano(), int64(s.Ino)}
}
