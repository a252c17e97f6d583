package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// Trees implements cloud.Store. It takes no lock, so that it never waits for a
// Seal or Remove. It reads the sealed trees last, because a tree that is being
// sealed is among them before it is removed from the open ones.
func (s *store) Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error) {
	seen := map[uuid.UUID]bool{}
	var trees []uuid.UUID
	for _, kind := range []string{"open", "trees"} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries, err := readDir(filepath.Join(s.layout.Site(pipeline), kind))
		if err != nil {
			return nil, fmt.Errorf("list the trees of %s: %w", pipeline, err)
		}
		for _, entry := range entries {
			id, err := uuid.Parse(entry.Name())
			if err == nil && !seen[id] {
				seen[id] = true
				trees = append(trees, id)
			}
		}
	}
	return trees, nil
}

// manifest reads a tree's manifest, the sealed one if it exists.
func (s *store) manifest(t site.Tree) (site.Manifest, error) {
	m, err := s.recentManifest(t, s.layout.Tree(t))
	if errors.Is(err, fs.ErrNotExist) {
		m, err = s.recentManifest(t, s.layout.OpenTree(t))
	}
	if errors.Is(err, fs.ErrNotExist) {
		// It may have been sealed between the two reads.
		m, err = s.recentManifest(t, s.layout.Tree(t))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = cloud.ErrNotFound
	}
	return m, err
}

// readTree is a manifest that was read, with the file that had it.
type readTree struct {
	manifest site.Manifest
	file     fs.FileInfo
}

// mostManifests is how many files the manifests in memory have together, about
// 30 MB with their encodings: a release needs its own manifest several times, and
// that of the live deployment.
const mostManifests = 220_000

// ruleBytes is how many bytes of rules count as much as a file.
const ruleBytes = 100

// recentManifest is readManifest, but does not read a file again that did not
// change: files of manifests are replaced, never written to. Callers don't
// change what it returns.
func (s *store) recentManifest(t site.Tree, file string) (site.Manifest, error) {
	if recent, ok := s.trees.Get(t); ok {
		info, err := os.Stat(file)
		if err != nil {
			return site.Manifest{}, err
		}
		if os.SameFile(info, recent.file) && info.Size() == recent.file.Size() && info.ModTime().Equal(recent.file.ModTime()) {
			return recent.manifest, nil
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return site.Manifest{}, err
	}
	m, err := s.readManifest(file)
	if err != nil {
		return m, err
	}
	return s.addManifest(t, m, info), nil
}

// keepManifest remembers a manifest that this process wrote.
func (s *store) keepManifest(t site.Tree, file string, m site.Manifest) {
	if info, err := os.Stat(file); err == nil {
		s.addManifest(t, m, info)
	}
}

func (s *store) addManifest(t site.Tree, m site.Manifest, info fs.FileInfo) site.Manifest {
	m.Files, m.Carried = slices.Clip(m.Files), slices.Clip(m.Carried)
	m = m.Fixed()
	s.trees.Put(t, &readTree{m, info}, int64(1+len(m.Files)+len(m.Carried)+len(m.Rules)/ruleBytes))
	return m
}

func (s *store) readManifest(file string) (site.Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return site.Manifest{}, err
	}
	defer f.Close()
	m, err := site.DecodeManifest(f, s.limits)
	if err != nil {
		return m, fmt.Errorf("read %s: %w", file, err)
	}
	return m, nil
}
