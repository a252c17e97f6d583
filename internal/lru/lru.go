// Package lru is a cache that evicts the least recently used values. The edge
// caches manifests and files in it, and web the current releases.
package lru

import (
	"container/list"
	"iter"
	"sync"
)

// Cache keeps the most recently used values, up to a total weight. It keeps a
// single heavier value until another one is added, so that the value is not
// recomputed for every request.
type Cache[K comparable, V any] struct {
	max int64

	mu     sync.Mutex
	weight int64
	order  *list.List // of *item[K, V], most recently used first
	items  map[K]*list.Element
}

type item[K comparable, V any] struct {
	key    K
	value  V
	weight int64
}

// New returns a cache with a maximum total weight.
func New[K comparable, V any](maxWeight int64) *Cache[K, V] {
	return &Cache[K, V]{max: maxWeight, order: list.New(), items: make(map[K]*list.Element)}
}

// Get returns the value of a key. ok is false if the cache does not have it.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item[K, V]).value, true
}

// Put adds a value with a weight. It returns the evicted values.
func (c *Cache[K, V]) Put(key K, value V, weight int64) (gone []V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.drop(e)
	}
	c.items[key] = c.order.PushFront(&item[K, V]{key, value, weight})
	c.weight += weight
	for c.weight > c.max && c.order.Len() > 1 {
		last := c.order.Back()
		gone = append(gone, last.Value.(*item[K, V]).value)
		c.drop(last)
	}
	return gone
}

// Remove removes the value of a key.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.drop(e)
	}
}

func (c *Cache[K, V]) drop(e *list.Element) {
	it := c.order.Remove(e).(*item[K, V])
	delete(c.items, it.key)
	c.weight -= it.weight
}

// Len returns the number of values.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

// Weight returns the total weight of the values.
func (c *Cache[K, V]) Weight() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.weight
}

// Max returns the maximum total weight.
func (c *Cache[K, V]) Max() int64 { return c.max }

// All yields the values, most recently used first. The loop must not use the
// cache.
func (c *Cache[K, V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		for e := c.order.Front(); e != nil; e = e.Next() {
			if !yield(e.Value.(*item[K, V]).value) {
				return
			}
		}
	}
}
