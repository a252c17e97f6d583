// Package disk tells how full a disk is.
package disk

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// Reserve is how much of the disk builds leave to the rest of the machine.
const Reserve = 256 << 20

// Poll is how often it is looked at.
const Poll = 250 * time.Millisecond

// IsFull reports whether an error tells of a full disk or a used-up quota.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Every calls look at once and then again and again. The returned function
// ends that and waits for it.
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
