package localcloud

import (
	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
)

const (
	// reservedBytes and reservedFiles are what uploads leave free on the
	// store's disk, so that records, distributions, pointers and manifests can
	// still be written when the disk is full for uploads. On a small disk it is
	// a twentieth.
	reservedBytes = 256 << 20
	reservedFiles = 20_000
	reservedPart  = 20
)

// space is a file system's total and free space for users other than root. A
// file system without a fixed number of files has 0 of them.
type space struct{ bytes, allBytes, files, allFiles uint64 }

// roomFor returns an Unavailable error, cloud.ErrFull, if an upload would use reserved space.
func roomFor(dir string, size int64) error {
	s, err := spaceOf(dir)
	if err != nil {
		return files.Error(err)
	}
	if s.bytes < uint64(max(size, 0))+min(reservedBytes, s.allBytes/reservedPart) {
		return troy.Errorf(troy.Unavailable, "%w: %d bytes are left, and some of them are reserved", cloud.ErrFull, s.bytes)
	}
	if s.allFiles > 0 && s.files <= min(reservedFiles, s.allFiles/reservedPart) {
		return troy.Errorf(troy.Unavailable, "%w: it has room for %d more files, which are reserved", cloud.ErrFull, s.files)
	}
	return nil
}
