package localcloud

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

// store keeps a pipeline's files by digest, small ones in packs, and a manifest
// for each tree. Begin, Seal, Remove and RemoveAll hold the site's lock
// exclusively; Put and PutAll hold it shared, and only while they rename verified
// bytes into place, so that a slow upload blocks no other call.
//
// An upload waits in the folder "unsynced" for the next Seal, which makes all of
// them durable at once. After a power cut, what is there is verified again.
type store struct {
	layout site.Layout
	limits site.Limits
	packs  *pack.Cache
	trees  *lru.Cache[site.Tree, *readTree]
	// holdings are where the pipelines' last lists are, see lacks.
	holdings *lru.Cache[uuid.UUID, *holding]
	boot     string                 // the id of the machine's start
	sync     func(dir string) error // files.SyncFileSystem, except in tests
	buffers  sync.Pool              // of *[]byte
}

func (s *store) lockFile(pipeline uuid.UUID) string {
	return filepath.Join(s.layout.Site(pipeline), "lock")
}

func (s *store) incoming(pipeline uuid.UUID) string {
	return s.layout.Incoming(pipeline)
}

// lock takes the lock of an existing site; it returns ErrNotFound if there is
// none.
func (s *store) lock(ctx context.Context, pipeline uuid.UUID, shared bool) (release func(), err error) {
	release, err = files.Lock(ctx, s.lockFile(pipeline), shared)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cloud.ErrNotFound
	}
	return release, err
}

// lockNew takes the lock of a site and creates its folders if necessary.
func (s *store) lockNew(ctx context.Context, pipeline uuid.UUID) (release func(), err error) {
	folder := s.layout.Site(pipeline)
	for {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, files.Error(err)
		}
		release, err := s.lock(ctx, pipeline, false)
		if errors.Is(err, cloud.ErrNotFound) {
			continue // a RemoveAll came between
		}
		if err != nil {
			return nil, err
		}
		for _, name := range []string{"trees", "open", "blobs", "incoming", "unsynced"} {
			if err := os.MkdirAll(filepath.Join(folder, name), 0o755); err != nil {
				release()
				return nil, files.Error(err)
			}
		}
		return release, nil
	}
}

// declared reports whether the tree has been declared.
func (s *store) declared(t site.Tree) (bool, error) {
	for _, file := range []string{s.layout.OpenTree(t), s.layout.Tree(t)} {
		_, err := os.Stat(file)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// holds reports whether a file has the bytes of f. It trusts a file of the right
// size: the file was verified before it got its name.
func holds(name string, f site.File) (bool, error) {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Size() == f.Size, nil
}

func (s *store) Begin(ctx context.Context, t site.Tree, m site.Manifest) ([]site.File, error) {
	missing, err := s.begin(ctx, t, m)
	if err != nil {
		return nil, fmt.Errorf("begin tree %s of %s: %w", t.Deployment, t.Pipeline, err)
	}
	return missing, nil
}

func (s *store) begin(ctx context.Context, t site.Tree, m site.Manifest) ([]site.File, error) {
	m.Carried, m.Rules = nil, nil // Seal sets them
	m, err := m.Checked(s.limits)
	if err != nil {
		return nil, err
	}
	encoded, err := site.EncodeManifest(m)
	if err != nil {
		return nil, err
	}
	release, err := s.lockNew(ctx, t.Pipeline)
	if err != nil {
		return nil, err
	}
	defer release()

	switch before, err := s.manifest(t); {
	case errors.Is(err, cloud.ErrNotFound):
		if err := roomFor(s.layout.Site(t.Pipeline), int64(len(encoded))); err != nil {
			return nil, err
		}
		if err := files.Write(s.incoming(t.Pipeline), s.layout.OpenTree(t), encoded); err != nil {
			return nil, err
		}
		s.keepManifest(t, s.layout.OpenTree(t), m)
	case err != nil:
		return nil, err
	case before.Digest() != m.Digest():
		return nil, fmt.Errorf("with another manifest: %w", cloud.ErrExists)
	}

	have, err := s.inventory(ctx, t.Pipeline)
	if err != nil {
		return nil, err
	}
	lacks, err := s.lacks(ctx, have, t, m.Files)
	if err != nil {
		return nil, err
	}
	var missing []site.File
	listed := map[site.Digest]struct{}{}
	for _, f := range lacks {
		if _, again := listed[f.SHA256]; !again {
			listed[f.SHA256] = struct{}{}
			missing = append(missing, f)
		}
	}
	return missing, nil
}

func (s *store) Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error {
	if err := s.put(ctx, t, f, r); err != nil {
		return fmt.Errorf("put %q into tree %s of %s: %w", f.Path, t.Deployment, t.Pipeline, err)
	}
	return nil
}

// put does not check whether the tree declares f: reading the manifest for
// every file would cost more than the file. The next Remove deletes bytes that
// no tree declares.
func (s *store) put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.Size < 0 {
		return troy.Errorf(troy.Invalid, "the size is negative")
	}
	if declared, err := s.declared(t); err != nil || !declared {
		return cmp.Or(err, cloud.ErrNotFound)
	}
	for _, name := range []string{s.layout.Blob(t.Pipeline, f.SHA256), s.unsynced(t.Pipeline, f.SHA256.String())} {
		if held, err := holds(name, f); err != nil || held {
			return err
		}
	}
	if err := roomFor(s.layout.Site(t.Pipeline), f.Size); err != nil {
		return err
	}
	temp, err := s.receive(ctx, t.Pipeline, f, r)
	if err != nil {
		return err
	}
	if err := s.place(ctx, t, temp, f.SHA256.String()); err != nil {
		if removeErr := os.Remove(temp); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
		return err
	}
	return nil
}

// receive writes and verifies an upload beside the blobs. It does not sync it:
// Seal syncs all files at once.
func (s *store) receive(ctx context.Context, pipeline uuid.UUID, f site.File, r io.Reader) (temp string, err error) {
	temp = filepath.Join(s.incoming(pipeline), "put-"+uuid.NewString())
	file, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return "", cloud.ErrNotFound // removed meanwhile
	}
	if err != nil {
		return "", files.Error(err)
	}
	defer func() {
		if err != nil {
			if removeErr := os.Remove(temp); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}
	}()
	buffer, _ := s.buffers.Get().(*[]byte)
	if buffer == nil {
		b := make([]byte, 64<<10)
		buffer = &b
	}
	defer s.buffers.Put(buffer)

	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(file, h), &contextReader{ctx, io.LimitReader(r, f.Size+1)}, *buffer)
	if err = errors.Join(err, file.Close()); err != nil {
		return temp, files.Error(err)
	}
	if got := site.Digest(h.Sum(nil)); n != f.Size || got != f.SHA256 {
		return temp, &cloud.DigestError{Declared: f.SHA256, Got: got, DeclaredSize: f.Size, GotSize: n}
	}
	return temp, nil
}

// unsynced returns the file of a blob or a pack that this start of the machine
// wrote and that no Seal has synced.
func (s *store) unsynced(pipeline uuid.UUID, name string) string {
	return filepath.Join(s.layout.Unsynced(pipeline), s.boot+"."+name)
}

// place gives a verified file its name before the next Seal, if its tree still
// exists.
func (s *store) place(ctx context.Context, t site.Tree, temp, name string) error {
	release, err := s.lock(ctx, t.Pipeline, true)
	if err != nil {
		return err
	}
	defer release()
	if declared, err := s.declared(t); err != nil || !declared {
		return cmp.Or(err, cloud.ErrNotFound)
	}
	return files.Error(renameInto(temp, s.unsynced(t.Pipeline, name)))
}

// contextReader ends a copy between two reads when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (s *store) Seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) error {
	if err := s.seal(ctx, t, carried, rules); err != nil {
		return fmt.Errorf("seal tree %s of %s: %w", t.Deployment, t.Pipeline, err)
	}
	return nil
}

func (s *store) seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) error {
	release, err := s.lock(ctx, t.Pipeline, false)
	if err != nil {
		return err
	}
	defer release()
	m, err := s.manifest(t)
	if err != nil {
		return err
	}
	before, err := s.sealed(t)
	if err != nil {
		return err
	}
	have, err := s.inventory(ctx, t.Pipeline)
	if err != nil {
		return err
	}
	missing, err := s.lacks(ctx, have, t, m.Files)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &cloud.MissingError{Files: missing}
	}
	if rules != nil {
		m.Rules = rules
	}
	if m.Carried, err = s.carry(have, m.Files, carried); err != nil {
		return err
	}
	var encoded []byte // nil: as declared
	if len(m.Rules) > 0 || len(m.Carried) > 0 || !s.neverSealed(t) {
		if encoded, err = site.EncodeManifest(m); err != nil {
			return err
		}
	}
	// The files of sealed trees are on the disk, and so are those that it carries,
	// for example in a rollback, unless some were lost and sent again.
	durable := false
	if before != nil {
		waiting, err := readDir(s.layout.Unsynced(t.Pipeline))
		if err != nil {
			return files.Error(err)
		}
		if durable = len(waiting) == 0; durable && bytes.Equal(before, encoded) {
			return nil
		}
	}
	// Everything in the manifest is on disk before the manifest is.
	if !durable {
		if err := s.publish(t.Pipeline); err != nil {
			return files.Error(err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if before != nil {
		// If this process is killed before the new name is on the disk, the next
		// Seal finds that the tree is open and does not trust the name.
		if err := files.Replace(s.incoming(t.Pipeline), s.layout.OpenTree(t), encoded); err != nil {
			return err
		}
	}
	if err := s.nameTree(t, m, encoded); err != nil {
		return err
	}
	return files.Remove(s.layout.OpenTree(t))
}

// nameTree gives a tree the name of a sealed one. encoded is nil if the manifest
// is as it was declared: its file, which is on the disk, gets a second name if
// the file system has links.
func (s *store) nameTree(t site.Tree, m site.Manifest, encoded []byte) (err error) {
	if encoded == nil {
		if os.Link(s.layout.OpenTree(t), s.layout.Tree(t)) == nil {
			return files.SyncFolder(filepath.Dir(s.layout.Tree(t)))
		}
		if encoded, err = site.EncodeManifest(m); err != nil {
			return err
		}
	}
	if err := files.Write(s.incoming(t.Pipeline), s.layout.Tree(t), encoded); err != nil {
		return err
	}
	s.keepManifest(t, s.layout.Tree(t), m)
	return nil
}

// neverSealed reports whether no Seal of the tree came as far as its name.
func (s *store) neverSealed(t site.Tree) bool {
	_, err := os.Lstat(s.layout.Tree(t))
	return errors.Is(err, fs.ErrNotExist)
}

// sealed returns the encoded manifest of a tree that is sealed and whose name is
// on the disk. It returns nil if the tree is still open: its Seal has not ended.
func (s *store) sealed(t site.Tree) ([]byte, error) {
	_, err := os.Lstat(s.layout.OpenTree(t))
	if err == nil {
		return nil, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.ReadFile(s.layout.Tree(t))
}

// carry selects the carried files that the pipeline has and whose paths are
// free. Of two for one path it keeps the one that stays longer, and it keeps at
// most as many as a site may have files, since no more are read back.
func (s *store) carry(have *inventory, files []site.File, carried []site.Carried) ([]site.Carried, error) {
	if len(carried) == 0 {
		return nil, nil
	}
	own := make(map[string]struct{}, len(files)+len(carried))
	for _, f := range files {
		own[f.Path] = struct{}{}
	}
	longest := slices.SortedStableFunc(slices.Values(carried), func(a, b site.Carried) int {
		return compareUntil(b, a)
	})
	var kept []site.Carried
	for _, c := range longest {
		if _, taken := own[c.Path]; taken {
			continue
		}
		if err := site.CheckPath(c.Path); err != nil {
			return nil, err
		}
		held, err := have.holds(c.File)
		if err != nil {
			return nil, err
		}
		if held {
			own[c.Path] = struct{}{}
			kept = append(kept, c)
		}
	}
	most := s.limits.Files
	if most <= 0 {
		most = site.DefaultLimits().Files
	}
	return kept[:min(len(kept), most)], nil
}

func compareUntil(a, b site.Carried) int {
	switch {
	case a.Until < b.Until:
		return -1
	case a.Until > b.Until:
		return 1
	}
	return strings.Compare(a.Path, b.Path)
}
