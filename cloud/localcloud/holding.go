package localcloud

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

// holding says where a pipeline's store has the files of a list. Packs don't
// change, so what was found in one needs no other search while the pack exists.
type holding struct {
	files []site.File         // sorted by path
	alone []bool              // those that no pack had
	packs map[string]struct{} // the names of packs that together have the others
}

// lacks returns the files of a sorted list that the pipeline does not have. It
// compares the list with the pipeline's last one, and searches for what is not
// in that.
func (s *store) lacks(ctx context.Context, have *inventory, t site.Tree, list []site.File) (missing []site.File, err error) {
	now := &holding{files: list, alone: make([]bool, len(list)), packs: map[string]struct{}{}}
	var before []site.File
	last, known := s.holdings.Get(t.Pipeline)
	if known = known && last.current(have); known {
		before, now.packs = last.files, last.packs
	}
	for i, f := range list {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for len(before) > 0 && before[0].Path < f.Path {
			before = before[1:]
		}
		if len(before) > 0 && before[0] == f && !last.alone[len(last.files)-len(before)] {
			continue
		}
		if name, ok := have.pack(f); ok {
			now.packs[name] = struct{}{}
			continue
		}
		now.alone[i] = true
		held, err := have.blob(f)
		if err != nil {
			return nil, err
		}
		if !held {
			missing = append(missing, f)
		}
	}
	s.holdings.Put(t.Pipeline, now, int64(1+len(list)))
	return missing, nil
}

// current reports whether all packs still exist.
func (h *holding) current(have *inventory) bool {
	found := 0
	for _, t := range have.packs {
		for _, name := range t.Packs() {
			if _, ok := h.packs[packName(name)]; ok {
				found++
			}
		}
	}
	return found == len(h.packs)
}

// packName returns the name of a pack, which it keeps when Seal has made it
// durable.
func packName(file string) string {
	name := filepath.Base(file)
	if _, unsynced, ok := strings.Cut(strings.TrimSuffix(name, pack.Suffix), "."); ok {
		name = unsynced + pack.Suffix
	}
	return name
}
