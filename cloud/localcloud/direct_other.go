//go:build !linux

package localcloud

import (
	"bufio"
	"os"
)

func newDirect(file *os.File) *bufio.Writer { return bufio.NewWriterSize(file, 512<<10) }
