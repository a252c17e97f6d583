package pack

import "os"

// SetOpen replaces how a cache opens packs.
func (c *Cache) SetOpen(open func(name string) (*os.File, []Entry, error)) { c.open = open }
