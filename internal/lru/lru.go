// Package lru keeps what was used last. The edge keeps manifests and files in
// it, and web the releases that files are sent for.
package lru

import (
	"container/list"
	"iter"
	"sync"
)

// Cache keeps what was used last, up to a total weight. A value that alone is
// heavier than the total is kept until another one comes, so that it is not
// made anew for every request.
type Cache[K comparable, V any] struct {
	max int64

	mu     sync.Mutex
	weight int64
	order  *list.List // of *item[K, V], the last used first
	items  map[K]*list.Element
}

type item[K comparable, V any] struct {
	key    K
	value  V
	weight int64
}

// New returns a cache of the total weight.
func New[K comparable, V any](maxWeight int64) *Cache[K, V] {
	return &Cache[K, V]{max: maxWeight, order: list.New(), items: make(map[K]*list.Element)}
}

// Get returns the value of a key, and whether the cache has it.
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

// Put keeps a value of a weight. It returns the values that had to make room.
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

// Remove drops the value of a key.
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

// Len returns the number of values in the cache.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

// Weight returns the weight of the values in the cache.
func (c *Cache[K, V]) Weight() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.weight
}

// Max returns the total weight that the cache was made for.
func (c *Cache[K, V]) Max() int64 { return c.max }

// All yields the values in the cache, the last used first. The cache must not
// be used meanwhile.
func (c *Cache[K, V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		for e := c.order.Front(); e != nil; e = e.Next() {
			if !yield(e.Value.(*item[K, V]).value) {
				return
			}
		}
	}
}
