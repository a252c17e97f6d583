package awscloud

import "context"

// CodeVersion is for tests.
const CodeVersion = codeVersion

// ReadPointers reads the pointers' store, at the address that flips use.
func (c *CDN) ReadPointers(ctx context.Context) error { return c.pointers.probe(ctx) }
