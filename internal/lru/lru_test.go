package lru_test

import (
	"testing"

	"github.com/troy-iaas/troy/internal/lru"
)

func TestLRU(t *testing.T) {
	t.Parallel()
	c := lru.New[string, int](10)
	c.Put("a", 1, 4)
	c.Put("b", 2, 4)
	c.Get("a")
	c.Put("c", 3, 4)
	if _, ok := c.Get("b"); ok {
		t.Error("the least recently used value, b, was not evicted")
	}
	c.Put("a", 4, 1)
	if v, _ := c.Get("a"); v != 4 || c.Weight() != 5 {
		t.Errorf("a is %d, all weigh %d, want 4 and 5", v, c.Weight())
	}
	c.Put("heavy", 5, 100)
	if v, ok := c.Get("heavy"); !ok || v != 5 || c.Len() != 1 {
		t.Errorf("heavy is %d, %v, one of %d", v, ok, c.Len())
	}
	c.Put("d", 6, 1)
	c.Remove("d")
	c.Remove("nobody")
	if c.Len() != 0 || c.Weight() != 0 {
		t.Errorf("%d are left, weighing %d", c.Len(), c.Weight())
	}
}
