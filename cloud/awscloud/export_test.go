package awscloud

import (
	"context"

	"github.com/troy-iaas/troy/site"
)

// CodeVersion is for tests.
const CodeVersion = codeVersion

// ReadPointers reads the pointers' store, at the address that flips use.
func (c *CDN) ReadPointers(ctx context.Context) error { return c.pointers.probe(ctx) }

// PublishedCode returns the code that is published of a function's file.
func PublishedCode(code []byte) []byte { return plainCode(code) }

// ServedValues returns the KeyValueStore's values for a program and keys.
func ServedValues(program []byte, keys map[string]bool) (map[string]string, error) {
	s, err := newServed(program, keys)
	return s.values("E1", site.Pointer{}), err
}
