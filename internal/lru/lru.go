// Package lru is a cache that evicts the least recently used values. The edge
// caches manifests and files in it, and web the current releases.
package lru

import (
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
	// ring joins the first and the last item, and has no value. The most
	// recently used item comes first.
	ring  item[K, V]
	items map[K]*item[K, V]
}

// item is a value and its place in the order.
type item[K comparable, V any] struct {
	key        K
	value      V
	weight     int64
	prev, next *item[K, V]
}

// New returns a cache with a maximum total weight.
func New[K comparable, V any](maxWeight int64) *Cache[K, V] {
	c := &Cache[K, V]{max: maxWeight, items: make(map[K]*item[K, V])}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

// Get returns the value of a key. ok is false if the cache does not have it.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it, ok := c.items[key]
	if !ok {
		return value, false
	}
	if c.ring.next != it {
		it.leave()
		c.lead(it)
	}
	return it.value, true
}

// Put adds a value with a weight. It returns the evicted values.
func (c *Cache[K, V]) Put(key K, value V, weight int64) (gone []V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it, ok := c.items[key]; ok {
		c.drop(it)
	}
	it := &item[K, V]{key: key, value: value, weight: weight}
	c.items[key] = it
	c.lead(it)
	c.weight += weight
	for c.weight > c.max && c.ring.prev != it {
		last := c.ring.prev
		gone = append(gone, last.value)
		c.drop(last)
	}
	return gone
}

// Remove removes the value of a key.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it, ok := c.items[key]; ok {
		c.drop(it)
	}
}

// lead puts an item first.
func (c *Cache[K, V]) lead(it *item[K, V]) {
	it.prev, it.next = &c.ring, c.ring.next
	it.prev.next, it.next.prev = it, it
}

// leave takes an item out of the order.
func (it *item[K, V]) leave() { it.prev.next, it.next.prev = it.next, it.prev }

func (c *Cache[K, V]) drop(it *item[K, V]) {
	it.leave()
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
		for it := c.ring.next; it != &c.ring; it = it.next {
			if !yield(it.value) {
				return
			}
		}
	}
}
