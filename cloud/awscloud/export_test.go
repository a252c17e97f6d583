package awscloud

import "context"

// CodeVersion is for tests.
const CodeVersion = codeVersion

// SetFree says what a builder sees to be left of the disk.
func SetFree(b *Builder, free func() int64) {
	b.scratch.free = func(string) (int64, error) { return free(), nil }
}

// ReadPointers reads the pointers' store, at the address that flips use.
func (c *CDN) ReadPointers(ctx context.Context) error { return c.pointers.probe(ctx) }
