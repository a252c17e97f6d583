//go:build !linux && !darwin

package site

import "io/fs"

// stampOf returns false, so nothing is remembered: the file system may not
// record when a file changed.
func stampOf(fs.FileInfo) (stamp, bool) { return stamp{}, false }
