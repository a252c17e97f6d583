package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

// Fault is something that Check found wrong.
type Fault struct {
	Pipeline uuid.UUID `json:"pipeline"`
	// Deployment is the one that lacks files or whose manifest is damaged.
	Deployment uuid.UUID `json:"deployment,omitzero"`
	// Files are paths of the site that the deployment lacks.
	Files []string `json:"files,omitempty"`
	// Name is the damaged file, below the pipeline's folder.
	Name string `json:"name,omitempty"`
	// Problem says what is wrong, and what Repair did.
	Problem string `json:"problem"`
}

// Report is what Check looked at and found.
type Report struct {
	Sites       int     `json:"sites"`
	Deployments int     `json:"deployments"`
	Files       int     `json:"files"` // verified: blobs, and files in packs
	Bytes       int64   `json:"bytes"`
	Damaged     []Fault `json:"damaged"` // packs, blobs and manifests
	Broken      []Fault `json:"broken"`  // sealed deployments that lack files
}

// Check verifies every byte of the store in root: the digest of each file, each
// pack's index, and that each sealed deployment has its files. The servers may
// run meanwhile. With repair, it moves what is damaged to the site's folder
// "damaged" and saves the good files of damaged packs. progress is called after
// each pack and blob.
func Check(ctx context.Context, root string, limits site.Limits, repair bool, progress func(Report)) (Report, error) {
	c := checker{store: newStore(site.Layout{Root: root}, limits), repair: repair, progress: progress, report: Report{Damaged: []Fault{}, Broken: []Fault{}}}
	sites, err := os.ReadDir(filepath.Join(root, "sites"))
	if err != nil {
		return c.report, fmt.Errorf("check the store: %w", err)
	}
	for _, entry := range sites {
		id, err := uuid.Parse(entry.Name())
		if err != nil {
			continue
		}
		if err := c.site(ctx, id); err != nil {
			return c.report, fmt.Errorf("check the store of %s: %w", id, err)
		}
	}
	return c.report, nil
}

type checker struct {
	*store
	repair   bool
	progress func(Report)
	report   Report
	pipeline uuid.UUID
	good     map[site.Digest]struct{} // verified files of the pipeline
}

func (c *checker) site(ctx context.Context, pipeline uuid.UUID) error {
	c.pipeline, c.good = pipeline, map[site.Digest]struct{}{}
	c.report.Sites++
	for _, dir := range []string{c.layout.Packs(pipeline), c.layout.Unsynced(pipeline)} {
		if err := c.folder(ctx, dir); err != nil {
			return err
		}
	}
	blobs := filepath.Join(c.layout.Site(pipeline), "blobs")
	folders, err := readDir(blobs)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := c.folder(ctx, filepath.Join(blobs, folder.Name())); err != nil {
			return err
		}
	}
	for _, kind := range []string{"trees", "open"} {
		if err := c.trees(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// folder checks the packs and blobs in a folder. A file that vanishes was removed
// or moved by a server.
func (c *checker) folder(ctx context.Context, dir string) error {
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		boot, base, unsynced := strings.Cut(entry.Name(), ".")
		isPack := strings.HasSuffix(entry.Name(), pack.Suffix)
		if dir != c.layout.Unsynced(c.pipeline) {
			base = entry.Name()
		} else if !unsynced || boot != c.boot {
			continue // verified before its next use
		}
		var err error
		if isPack {
			err = c.pack(ctx, name)
		} else if digest, parseErr := site.ParseDigest(base); parseErr == nil {
			err = c.blob(ctx, name, digest)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if c.progress != nil {
			c.progress(c.report)
		}
	}
	return nil
}

func (c *checker) blob(ctx context.Context, name string, d site.Digest) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	good, err := verifyBlob(ctx, name, d.String())
	if err != nil {
		return err
	}
	if good {
		c.good[d] = struct{}{}
		c.report.Files++
		c.report.Bytes += info.Size()
		return nil
	}
	return c.damaged(ctx, name, "its bytes do not match its digest")
}

func (c *checker) pack(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	whole, err := verifyPack(ctx, name)
	if err != nil {
		return err
	}
	good, err := goodOf(f)
	if err != nil {
		return err
	}
	saved := map[site.Digest]struct{}{}
	for _, e := range good {
		if _, again := saved[e.Digest]; !again {
			saved[e.Digest], c.good[e.Digest] = struct{}{}, struct{}{}
			c.report.Files++
			c.report.Bytes += e.Size
		}
	}
	if whole {
		return nil
	}
	return c.damaged(ctx, name, fmt.Sprintf("the pack is damaged; %d of its files are good", len(saved)))
}

// damaged reports a damaged file, and with repair sets it aside.
func (c *checker) damaged(ctx context.Context, name, problem string) error {
	relative, err := filepath.Rel(c.layout.Site(c.pipeline), name)
	if err != nil {
		return err
	}
	if c.repair {
		if err := c.setAside(ctx, name); err != nil {
			return err
		}
		problem += `; moved to the folder "damaged"`
	}
	c.report.Damaged = append(c.report.Damaged, Fault{Pipeline: c.pipeline, Name: relative, Problem: problem})
	return nil
}

// setAside saves the good files of a damaged pack, and moves the pack or blob
// away, so that its other files count as missing and are sent again.
func (c *checker) setAside(ctx context.Context, name string) error {
	release, err := c.lock(ctx, c.pipeline, false)
	if err != nil {
		return err
	}
	defer release()
	if strings.HasSuffix(name, pack.Suffix) {
		if err := c.rescue(ctx, name); err != nil {
			return err
		}
		// What is saved of a pack that is on the disk must be there too before the
		// pack goes. An upload is not yet, and would lose its name here.
		if filepath.Dir(name) != c.layout.Unsynced(c.pipeline) {
			if err := c.publish(c.pipeline); err != nil {
				return err
			}
		}
	}
	return files.Error(renameInto(name, filepath.Join(c.layout.Site(c.pipeline), "damaged", filepath.Base(name))))
}

// rescue writes the good files of a damaged pack to a new one, which is not
// synced yet.
func (c *checker) rescue(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	good, err := goodOf(f)
	if err != nil || len(good) == 0 {
		return err
	}
	w, err := c.newPack(c.pipeline)
	if err != nil {
		return err
	}
	defer w.discard()
	for _, e := range good {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := e.Read(f)
		if err != nil {
			return err
		}
		if err := w.Add(e.Digest, data); err != nil {
			return files.Error(err)
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return files.Error(os.Rename(w.temp, c.unsynced(c.pipeline, w.name)))
}

// goodOf finds a pack's good files: those of its index and, if one is damaged or
// the index is, those that a scan finds.
func goodOf(f *os.File) ([]pack.Entry, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	entries, err := pack.Index(f, info.Size())
	whole := err == nil
	if err != nil && !errors.Is(err, pack.ErrDamaged) {
		return nil, err
	}
	var good []pack.Entry
	for _, e := range entries {
		_, err := e.Read(f)
		switch {
		case err == nil:
			good = append(good, e)
		case errors.Is(err, pack.ErrDamaged):
			whole = false
		default:
			return nil, err
		}
	}
	if whole {
		return good, nil
	}
	scanned, err := pack.Scan(f, info.Size())
	return append(good, scanned...), err
}

// trees checks the manifests of a folder, and that sealed trees have their files.
func (c *checker) trees(ctx context.Context, kind string) error {
	dir := filepath.Join(c.layout.Site(c.pipeline), kind)
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		deployment, err := uuid.Parse(entry.Name())
		if err != nil {
			continue
		}
		m, err := c.readManifest(filepath.Join(dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			c.report.Damaged = append(c.report.Damaged, Fault{Pipeline: c.pipeline, Deployment: deployment, Name: filepath.Join(kind, entry.Name()), Problem: "the manifest is damaged: release the deployment again and remove this one"})
			continue
		}
		if kind == "open" {
			continue // an upload that goes on lacks files
		}
		c.report.Deployments++
		if err := c.tree(ctx, site.Tree{Pipeline: c.pipeline, Deployment: deployment}, m); err != nil {
			return err
		}
	}
	return nil
}

// tree checks that a sealed tree has its files. Those that were not verified may
// be newer than the verification, so it looks again, under the lock.
func (c *checker) tree(ctx context.Context, t site.Tree, m site.Manifest) error {
	all := m.Files
	for _, carried := range m.Carried {
		all = append(all, carried.File)
	}
	var unknown []site.File
	for _, f := range all {
		if _, good := c.good[f.SHA256]; !good {
			unknown = append(unknown, f)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	release, err := c.lock(ctx, t.Pipeline, true)
	if err != nil {
		return err
	}
	defer release()
	if _, err := os.Stat(c.layout.Tree(t)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var missing []string
	for _, f := range unknown {
		if !c.has(ctx, t.Pipeline, f) {
			missing = append(missing, f.Path)
		}
	}
	if len(missing) > 0 {
		c.report.Broken = append(c.report.Broken, Fault{Pipeline: t.Pipeline, Deployment: t.Deployment, Files: missing, Problem: fmt.Sprintf("the deployment lacks %d of its files: deploy or release it again", len(missing))})
	}
	return nil
}

// has reports whether a file is there and good.
func (c *checker) has(ctx context.Context, pipeline uuid.UUID, f site.File) bool {
	if _, err := c.packs.Read(c.layout.Packs(pipeline), f.SHA256, f.Size); err == nil {
		return true
	}
	good, err := verifyBlob(ctx, c.layout.Blob(pipeline, f.SHA256), f.SHA256.String())
	return good && err == nil
}
