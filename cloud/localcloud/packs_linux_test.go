package localcloud_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

// texts are files of a site, by path.
type texts map[string]string

// several makes n small files whose bytes depend on the name.
func several(name string, n int) texts {
	out := texts{}
	for i := range n {
		out[fmt.Sprintf("%s/%04d.txt", name, i)] = fmt.Sprintf("%s %d %s", name, i, strings.Repeat("x", i%700))
	}
	return out
}

func (x texts) manifest() site.Manifest {
	var m site.Manifest
	for path, text := range x {
		m.Files = append(m.Files, content(path, text))
	}
	return m
}

// send stores what Begin misses, with PutAll.
func (x texts) send(t testing.TB, s cloud.Store, tree site.Tree, batch int) {
	t.Helper()
	missing, err := s.Begin(t.Context(), tree, x.manifest())
	if err != nil {
		t.Fatal(err)
	}
	for len(missing) > 0 {
		n := min(batch, len(missing))
		var b bytes.Buffer
		for _, f := range missing[:n] {
			b.WriteString(x[f.Path])
		}
		if stored, err := s.PutAll(t.Context(), tree, missing[:n], &b); stored != n || err != nil {
			t.Fatalf("PutAll: %d, %v", stored, err)
		}
		missing = missing[n:]
	}
}

func (x texts) seal(t testing.TB, s cloud.Store, tree site.Tree) {
	t.Helper()
	x.send(t, s, tree, 100)
	if err := s.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// want reads every file of a tree.
func (x texts) want(t testing.TB, s cloud.Store, tree site.Tree) {
	t.Helper()
	for path, text := range x {
		if got, err := s.Read(t.Context(), tree, content(path, text)); err != nil || string(got) != text {
			t.Errorf("read %s: %d bytes, %v; want %d", path, len(got), err, len(text))
		}
	}
}

func check(t testing.TB, root string, repair bool) localcloud.Report {
	t.Helper()
	report, err := localcloud.Check(t.Context(), root, site.Limits{}, repair, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantNoFaults(t testing.TB, root string) {
	t.Helper()
	if r := check(t, root, false); len(r.Damaged)+len(r.Broken) > 0 {
		t.Errorf("the check found %+v, %+v", r.Damaged, r.Broken)
	}
}

func packsOf(t testing.TB, root string, tree site.Tree) []string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(site.Layout{Root: root}.Packs(tree.Pipeline), "*"+pack.Suffix))
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// TestSmallFilesAreInPacks seals a site of small and large files: few files are
// made, and a store of blobs is used as it is.
func TestSmallFilesAreInPacks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, tree := open(t, root, 0).Store, newTree()
	old := several("old", 20)
	seal(t, s, tree, old) // one blob each
	mixed := several("new", 300)
	for path, text := range old {
		mixed[path] = text
	}
	mixed["large.bin"] = strings.Repeat("0123456789abcdef", 10_000)
	second := site.Tree{Pipeline: tree.Pipeline, Deployment: newTree().Deployment}
	mixed.seal(t, s, second)
	mixed.want(t, s, second)
	folder := site.Layout{Root: root}.Site(tree.Pipeline)
	if n := count(t, filepath.Join(folder, "blobs")); n != len(old)+1 {
		t.Errorf("there are %d blobs, want %d", n, len(old)+1)
	}
	if n := len(packsOf(t, root, tree)); n == 0 || n > 4 {
		t.Errorf("there are %d packs, want a few", n)
	}
	if n := count(t, filepath.Join(folder, "incoming")) + count(t, filepath.Join(folder, "unsynced")); n != 0 {
		t.Errorf("%d temporary files are left", n)
	}
	wantNoFaults(t, root)
}

// TestCancelledTransferKeepsWhatArrived ends a transfer's context between two
// files: the first is kept.
func TestCancelledTransferKeepsWhatArrived(t *testing.T) {
	t.Parallel()
	s, tree := open(t, t.TempDir(), 0).Store, newTree()
	one, two := content("one.txt", "one"), content("two.txt", "two")
	m := site.Manifest{Files: []site.File{one, two}}
	if _, err := s.Begin(t.Context(), tree, m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, nil
	})
	stored, err := s.PutAll(ctx, tree, m.Files, io.MultiReader(strings.NewReader("one"), gone))
	if stored != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("PutAll: %d, %v; want 1, %v", stored, err, context.Canceled)
	}
	missing, err := s.Begin(t.Context(), tree, m)
	if err != nil || len(missing) != 1 || missing[0] != two {
		t.Errorf("Begin misses %v, %v; want two.txt", missing, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestRemoveCompactsPacks removes one of two trees that share packs, while
// readers read and an upload goes on.
func TestRemoveCompactsPacks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, first := open(t, root, 0).Store, newTree()
	all := several("all", 400)
	all.seal(t, s, first)
	kept := texts{}
	for path, text := range all {
		if strings.HasSuffix(path, "7.txt") {
			kept[path] = text
		}
	}
	next := func() site.Tree { return site.Tree{Pipeline: first.Pipeline, Deployment: newTree().Deployment} }
	second, upload := next(), next()
	kept.seal(t, s, second)
	before := packsOf(t, root, first)
	more := several("more", 200)

	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			other := open(t, root, 0).Store // as another process
			for {
				kept.want(t, other, second)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	group.Go(func() { more.send(t, s, upload, 10) })
	if err := s.Remove(t.Context(), first.Pipeline, first.Deployment); err != nil {
		t.Error(err)
	}
	close(stop)
	group.Wait()
	if err := s.Seal(t.Context(), upload, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range before {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	kept.want(t, s, second)
	more.want(t, s, upload)
	wantNoFaults(t, root)
	missing, err := s.Begin(t.Context(), next(), all.manifest())
	if err != nil || len(missing) != len(all)-len(kept) {
		t.Errorf("%d files are missing, %v; want %d", len(missing), err, len(all)-len(kept))
	}
	if err := s.Remove(t.Context(), first.Pipeline, second.Deployment, upload.Deployment); err != nil {
		t.Fatal(err)
	}
}

// TestManySmallPacksAreJoined seals many small trees.
func TestManySmallPacksAreJoined(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, first := open(t, root, 0).Store, newTree()
	trees := map[site.Tree]texts{}
	for i := range 20 {
		tree := site.Tree{Pipeline: first.Pipeline, Deployment: newTree().Deployment}
		trees[tree] = several(fmt.Sprint(i), 5)
		trees[tree].seal(t, s, tree)
	}
	if err := s.Remove(t.Context(), first.Pipeline, newTree().Deployment); err != nil {
		t.Fatal(err)
	}
	if n := len(packsOf(t, root, first)); n != 1 {
		t.Errorf("there are %d packs, want 1", n)
	}
	for tree, x := range trees {
		x.want(t, s, tree)
	}
	wantNoFaults(t, root)
}

// TestDamagedStore damages a pack or a blob: the damage is not read, is found,
// and is repaired as far as other files are good; then the release heals it.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	flip := func(data []byte, at int) []byte { data[at] ^= 1; return data }
	// file returns the place of a file that is not empty.
	file := func(data []byte) int {
		entries, err := pack.Index(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Error(err)
		}
		return int(entries[0].Offset)
	}
	for name, c := range map[string]struct {
		damage  func([]byte) []byte
		lost    int
		indexed bool // the files are read as long as nothing was repaired
	}{
		"a flipped bit":              {func(b []byte) []byte { return flip(b, file(b)) }, 1, true},
		"a flipped bit in a record":  {func(b []byte) []byte { return flip(b, file(b)-1) }, 0, true},
		"a flipped bit in the index": {func(b []byte) []byte { return flip(b, len(b)-100) }, 0, false},
		"a torn pack":                {func(b []byte) []byte { return b[:len(b)/2] }, -1, false},
		"an empty pack":              {func([]byte) []byte { return nil }, -1, false},
		"zeros":                      {func(b []byte) []byte { return make([]byte, len(b)) }, -1, false},
		"an index of another pack": {func(b []byte) []byte {
			var other bytes.Buffer
			w := pack.NewWriter(&other)
			for i := range 50 {
				text := fmt.Appendf(nil, "other %d", i)
				if err := w.Add(sha256.Sum256(text), text); err != nil {
					t.Error(err)
				}
			}
			if err := w.Finish(); err != nil {
				t.Error(err)
			}
			tail := 50*44 + 44
			return append(b[:len(b)-tail], other.Bytes()[other.Len()-tail:]...)
		}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			s, tree := open(t, root, 0).Store, newTree()
			x := several("a", 50)
			x.seal(t, s, tree)
			packs := packsOf(t, root, tree)
			if len(packs) != 1 {
				t.Fatalf("there are %d packs", len(packs))
			}
			data, err := os.ReadFile(packs[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(packs[0], c.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, root, 0).Store
			bad := 0
			for path, text := range x {
				got, err := s.Read(t.Context(), tree, content(path, text))
				if err == nil && string(got) != text {
					t.Errorf("read damaged bytes of %s", path)
				}
				if err != nil {
					bad++
				}
			}
			if c.indexed && bad != c.lost || !c.indexed && bad == 0 {
				t.Errorf("%d files can't be read", bad)
			}
			if r := check(t, root, false); len(r.Damaged) != 1 || len(r.Broken) != 1 && c.lost != 0 {
				t.Errorf("the check found %+v", r)
			}
			r := check(t, root, true)
			if len(r.Damaged) != 1 || !strings.Contains(r.Damaged[0].Problem, "moved") {
				t.Errorf("the repair found %+v", r)
			}
			r = check(t, root, false)
			lost := 0
			for _, b := range r.Broken {
				lost += len(b.Files)
			}
			if len(r.Damaged) != 0 || c.lost >= 0 && lost != c.lost || c.lost < 0 && lost == 0 {
				t.Errorf("after the repair the check finds %+v", r)
			}
			again := site.Tree{Pipeline: tree.Pipeline, Deployment: newTree().Deployment}
			x.seal(t, open(t, root, 0).Store, again)
			x.want(t, s, tree)
			x.want(t, s, again)
			wantNoFaults(t, root)
		})
	}
}

var errPower = errors.New("the power is cut")

// power simulates a disk that keeps what was synced. For a file, cut keeps it,
// empties it, fills it with zeros or removes it, if its bytes were not synced,
// and may give it its last synced name.
type power struct {
	t      *testing.T
	root   string
	synced map[uint64]syncedFile // by inode
}

type syncedFile struct {
	name  string
	size  int64
	mtime int64
}

func (p *power) walk(do func(name string, inode uint64, now syncedFile)) {
	err := filepath.WalkDir(filepath.Join(p.root, "sites"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" {
			return err
		}
		if kind := filepath.Base(filepath.Dir(name)); kind == "trees" || kind == "open" {
			return nil // files.Write syncs each
		}
		info, err := e.Info()
		if err == nil {
			inode := info.Sys().(*syscall.Stat_t).Ino //nolint:forcetypeassert // on Linux
			do(name, inode, syncedFile{name, info.Size(), info.ModTime().UnixNano()})
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *power) sync() {
	p.synced = map[uint64]syncedFile{}
	p.walk(func(_ string, inode uint64, now syncedFile) { p.synced[inode] = now })
}

func (p *power) cut(r *rand.Rand) {
	p.walk(func(name string, inode uint64, now syncedFile) {
		was, ok := p.synced[inode]
		var err error
		switch {
		case ok && was.size == now.size && was.mtime == now.mtime:
			if was.name != name && r.IntN(2) == 0 {
				err = os.Rename(name, was.name)
			}
		case r.IntN(4) == 0: // it reached the disk
		case r.IntN(2) == 0:
			err = os.WriteFile(name, make([]byte, now.size), 0o644)
		case r.IntN(2) == 0:
			err = os.Truncate(name, now.size/2)
		default:
			err = os.Remove(name)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	})
}

// TestPowerCut cuts the power at each step of an upload and its Seal. What was
// sealed is whole, and the upload continues.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for step := range 6 {
		for seed := range 5 {
			t.Run(fmt.Sprintf("step %d, seed %d", step, seed), func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				p := &power{t: t, root: root}
				calls, at := 0, -1
				box := open(t, root, 0)
				localcloud.Boot(box, "one", func(string) error {
					// Each call has two steps: before and after its effect.
					if calls++; calls*2-1 == at {
						return errPower
					}
					p.sync()
					if calls*2 == at {
						return errPower
					}
					return nil
				})
				first := newTree()
				old := several("old", 50)
				old["large"] = strings.Repeat("large", 20_000)
				old.seal(t, box.Store, first)

				second := site.Tree{Pipeline: first.Pipeline, Deployment: newTree().Deployment}
				x := several("new", 120)
				x["another"] = strings.Repeat("another", 20_000)
				x.send(t, box.Store, second, 40)
				calls, at = 0, step
				if step > 0 {
					err := box.Store.Seal(t.Context(), second, nil, nil)
					if step < 5 && !errors.Is(err, errPower) || step == 5 && err != nil {
						t.Fatalf("Seal: %v", err)
					}
				}
				p.cut(rand.New(rand.NewPCG(uint64(step), uint64(seed))))

				box = open(t, root, 0)
				localcloud.Boot(box, "two", nil)
				old.want(t, box.Store, first)
				if step == 5 {
					x.want(t, box.Store, second)
				}
				if step == 1 { // the next Seal comes before any Begin
					err := box.Store.Seal(t.Context(), second, nil, nil)
					if _, missing := errors.AsType[*cloud.MissingError](err); err != nil && !missing {
						t.Fatalf("Seal: %v", err)
					}
				}
				x.seal(t, box.Store, second)
				x.want(t, box.Store, second)
				old.want(t, box.Store, first)
				wantNoFaults(t, root)
			})
		}
	}
}
