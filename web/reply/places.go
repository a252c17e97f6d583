package reply

import (
	"sync"

	"github.com/google/uuid"
)

// Places bounds how many long responses a process sends at a time: in all, and
// to each holder, so that one holder can't take the places of the others.
type Places struct {
	all, each int

	mu    sync.Mutex
	taken int
	of    map[uuid.UUID]int
}

// NewPlaces returns all places, of which each holder may take some.
func NewPlaces(all, each int) *Places {
	return &Places{all: all, each: each, of: map[uuid.UUID]int{}}
}

// Take takes a place until the caller calls release. It returns false if none
// is free for this holder.
func (p *Places) Take(holder uuid.UUID) (release func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.all || p.of[holder] >= p.each {
		return nil, false
	}
	p.taken++
	p.of[holder]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.of[holder]--; p.of[holder] == 0 {
			delete(p.of, holder)
		}
	}, true
}
