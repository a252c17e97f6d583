package traffic

import (
	"cmp"
	"slices"
)

// top counts the most common keys in bounded memory, by the algorithm
// Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent
// and top-k elements in data streams", 2005). A new key takes the place and the
// count of the rarest one, so a count is never too low, and too high by its
// error at most.
type top[K comparable] struct {
	max     int
	entries map[K]*entry[K]
	heap    []*entry[K] // the rarest first
}

type entry[K comparable] struct {
	key   K
	count Count
	over  int64 // the error of count.Requests
	at    int   // in the heap
}

func newTop[K comparable](most int) *top[K] {
	return &top[K]{max: most, entries: make(map[K]*entry[K])}
}

// add counts requests of a key, which may have an error already.
func (t *top[K]) add(key K, c Count, over int64) {
	e := t.entries[key]
	switch {
	case e != nil:
	case len(t.heap) < t.max:
		e = &entry[K]{key: key, at: len(t.heap)}
		t.entries[key] = e
		t.heap = append(t.heap, e)
		t.up(e.at)
	default:
		e = t.heap[0]
		delete(t.entries, e.key)
		e.key, e.over, e.count.Bytes = key, e.count.Requests, 0
		t.entries[key] = e
	}
	e.count.Requests += c.Requests
	e.count.Bytes += c.Bytes
	e.over += over
	t.down(e.at)
}

func (t *top[K]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.heap[parent].count.Requests <= t.heap[i].count.Requests {
			return
		}
		t.swap(i, parent)
		i = parent
	}
}

func (t *top[K]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(t.heap); child++ {
			if t.heap[child].count.Requests < t.heap[least].count.Requests {
				least = child
			}
		}
		if least == i {
			return
		}
		t.swap(i, least)
		i = least
	}
}

func (t *top[K]) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.heap[i].at, t.heap[j].at = i, j
}

// most returns the most common entries, those with equal counts in the order of
// their keys.
func (t *top[K]) most(n int, order func(a, b K) int) []*entry[K] {
	all := slices.Clone(t.heap)
	slices.SortFunc(all, func(a, b *entry[K]) int {
		return cmp.Or(cmp.Compare(b.count.Requests, a.count.Requests), order(a.key, b.key))
	})
	return all[:min(n, len(all))]
}
