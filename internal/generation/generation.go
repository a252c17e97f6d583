// Package generation is a counter in a file that all processes of a machine
// share through memory. A writer increments it after each change of the data
// that the counter covers. A reader that finds the same count as before knows
// that nothing has changed, without a system call. localcloud writes the
// counter of the sites' state, and the edge reads it.
package generation

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// size is the size of the file in bytes: one counter in the machine's byte
// order. Writers never make the file shorter.
const size = 8

// Counter reads a counter. It is safe for concurrent use.
type Counter struct {
	path    string
	mapped  atomic.Pointer[mapping]
	refresh sync.Mutex
}

// Watch returns a Counter for a file, which need not exist yet.
func Watch(path string) *Counter {
	c := &Counter{path: path}
	c.Refresh()
	return c
}

// Load returns the count, or 0 if it is unknown: the file does not exist, its
// file system does not share memory between all writers, or the machine's
// system is not supported. A count of 0 says nothing about changes.
func (c *Counter) Load() uint64 {
	m := c.mapped.Load()
	if m == nil {
		return 0
	}
	count, ok := m.load()
	if !ok {
		c.mapped.CompareAndSwap(m, nil)
	}
	return count
}

// load reads the count. ok is false if the file is now too short, which makes
// the system refuse the access.
func (m *mapping) load() (count uint64, ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { _ = recover() }()
	count = m.count.Load()
	runtime.KeepAlive(m)
	return count, true
}

// Refresh looks whether the file was created or replaced. Readers call it about
// once a second.
func (c *Counter) Refresh() {
	c.refresh.Lock()
	defer c.refresh.Unlock()
	m := c.mapped.Load()
	if m != nil && m.named(c.path) {
		return
	}
	c.mapped.Store(open(c.path))
}
