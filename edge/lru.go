package edge

import (
	"container/list"
	"sync"
)

// lru keeps what was used last, up to a total weight. A value that alone is
// heavier than the total is kept until another one comes, so that it is not
// made anew for every request.
type lru[K comparable, V any] struct {
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

func newLRU[K comparable, V any](maxWeight int64) *lru[K, V] {
	return &lru[K, V]{max: maxWeight, order: list.New(), items: make(map[K]*list.Element)}
}

func (c *lru[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item[K, V]).value, true
}

// put returns the values that had to make room.
func (c *lru[K, V]) put(key K, value V, weight int64) (gone []V) {
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

func (c *lru[K, V]) remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.drop(e)
	}
}

func (c *lru[K, V]) drop(e *list.Element) {
	it := c.order.Remove(e).(*item[K, V])
	delete(c.items, it.key)
	c.weight -= it.weight
}
