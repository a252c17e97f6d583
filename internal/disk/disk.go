// Package disk measures the free space of a disk.
package disk

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// Reserve is the part of the disk that builds leave to the rest of the machine.
const Reserve = 256 << 20

// Poll is the interval of the checks.
const Poll = 250 * time.Millisecond

// IsFull reports whether an error means a full disk or an exhausted quota.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Every calls look at once and then at intervals. The returned function stops
// that and waits for the last call.
func Every(interval time.Duration, look func()) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			look()
			select {
			case <-ticker.C:
			case <-quit:
				return
			}
		}
	}()
	var once sync.Once
	return func() { once.Do(func() { close(quit) }); <-done }
}
