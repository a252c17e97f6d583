package localcloud

import "github.com/troy-iaas/troy/cloud"

// Boot gives a store another id of the machine's start, and another sync.
func Boot(c cloud.Cloud, id string, sync func(dir string) error) {
	s := c.Store.(*store) //nolint:forcetypeassert // New makes no other
	s.boot = id
	if sync != nil {
		s.sync = sync
	}
}
