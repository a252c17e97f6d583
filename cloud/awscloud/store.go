package awscloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

const (
	// inMemory is the size of the largest file that is buffered in memory; a
	// larger one waits on disk until its digest is known.
	inMemory = 256 << 10
	// maxManifest bounds an encoded manifest: a million long paths.
	maxManifest = 512 << 20
)

// Store keeps trees in S3: each file under the key that CloudFront requests, so
// that publishing a tree moves no bytes. S3 verifies files when they are
// written, and a tree's manifest never changes, so an existing object is right.
type Store struct {
	sites, work bucket
	limits      site.Limits
	temp        string        // Config.Temp
	declared    treeAddresses // declared trees
	listed      listing
	pages       atomic.Bool // knowsPages
}

var (
	_ cloud.Store  = (*Store)(nil)
	_ cloud.Signer = (*Store)(nil)
)

// NewStore returns the store of the two buckets. The limits bound the manifests
// that it reads; their zero value means site.DefaultLimits.
func NewStore(loaded aws.Config, cfg Config, limits site.Limits) *Store {
	if limits.Files == 0 {
		limits = site.DefaultLimits()
	}
	client := awsapi.NewS3(loaded, cfg.Config)
	return &Store{
		sites: bucket{awsapi.Bucket{Client: client, Name: cfg.SitesBucket}}, work: bucket{awsapi.Bucket{Client: client, Name: cfg.WorkBucket}}, limits: limits, temp: cfg.Temp,
	}
}

// Begin implements cloud.Store.
func (s *Store) Begin(ctx context.Context, t site.Tree, m site.Manifest) ([]site.File, error) {
	m = site.Manifest{Files: m.Files, TrailingSlash: m.TrailingSlash}
	if err := checkKeys(t, m); err != nil {
		return nil, err
	}
	encoded, err := site.EncodeManifest(m)
	if err != nil {
		return nil, err
	}
	have, fresh := map[string]int64{}, false
	known, err := s.manifest(ctx, t)
	if errors.Is(err, cloud.ErrNotFound) {
		err = s.work.Put(ctx, openKey(t), encoded, "application/zstd", true)
		if fresh = err == nil; errors.Is(err, cloud.ErrPrecondition) {
			known, err = s.manifest(ctx, t) // another writer was faster
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("declare the tree: %w", err)
	case fresh:
	case known.Digest() != m.Digest():
		return nil, fmt.Errorf("tree %s: %w", t.Deployment, cloud.ErrExists)
	default:
		if have, err = s.present(ctx, t, known); err != nil {
			return nil, err
		}
	}
	if fresh {
		known = m
	}
	own := addressesOf(known)
	s.declared.keep(t, own)
	missing := absent(m, own, have)
	if len(missing) == 0 {
		s.listed.keep(t, have)
		return nil, nil
	}
	s.listed.take(t)
	// Only in sealed trees: Remove leaves this tree the files that it finds
	// there, since the tree has been declared by now.
	holders, err := s.holders(ctx, t, missing, sealedPrefix(t.Pipeline))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(missing, func(f site.File) bool { return len(holders[f.SHA256]) > 0 }), nil
}

// present lists the objects of a declared tree, by their keys below it.
func (s *Store) present(ctx context.Context, t site.Tree, m site.Manifest) (map[string]int64, error) {
	have := make(map[string]int64, len(m.Files))
	err := s.sites.ListParts(ctx, treePrefix(t), partsOf(t, m), func(o awsapi.Object) error {
		// A clone, since a substring of the key would keep all of it in memory.
		have[strings.Clone(strings.TrimPrefix(o.Key, treePrefix(t)))] = o.Size
		return nil
	})
	return have, err
}

// listing has the objects of the tree that Begin last found whole, for the Seal
// that mostly follows at once. A tree only loses objects when it is removed.
type listing struct {
	mu   sync.Mutex
	tree site.Tree
	have map[string]int64
}

// listedFor is how long a listing is kept.
const listedFor = time.Minute

func (l *listing) keep(t site.Tree, have map[string]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tree, l.have = t, have
	time.AfterFunc(listedFor, func() { l.take(t) })
}

// take returns the listing of a tree, and forgets it. It returns nil if there is
// none.
func (l *listing) take(t site.Tree) map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tree != t {
		return nil
	}
	have := l.have
	l.have = nil
	return have
}

// partsOf returns the keys of a tree after every few pages of its listing.
func partsOf(t site.Tree, m site.Manifest) (at []string) {
	keys := make([]string, len(m.Files))
	for i, f := range m.Files {
		keys[i] = pageKey(f.Path)
	}
	slices.Sort(keys)
	for i := listPart - 1; i < len(keys)-1; i += listPart {
		at = append(at, treePrefix(t)+keys[i])
	}
	return at
}

// listPart is the number of objects in a part of a tree's listing.
const listPart = 4 * awsapi.ListPage

// absent lists one file for each digest of which the tree has no file.
func absent(m site.Manifest, own *addresses, have map[string]int64) []site.File {
	there := map[site.Digest]bool{}
	for _, f := range m.Files {
		if own.held(f, have) != "" {
			there[f.SHA256] = true
		}
	}
	var missing []site.File
	for _, f := range m.Files {
		if !there[f.SHA256] {
			there[f.SHA256] = true
			missing = append(missing, f)
		}
	}
	return missing
}

// Put implements cloud.Store. It reads the whole file before it writes, so that
// S3 gets either all of it or nothing.
func (s *Store) Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error {
	own, err := s.addresses(ctx, t)
	if err != nil {
		return err
	}
	content, err := receive(s.temp, f, r)
	if err != nil {
		return err
	}
	return s.send(ctx, t, f, own, content)
}

// send writes and closes a file that was read completely.
func (s *Store) send(ctx context.Context, t site.Tree, f site.File, own *addresses, content received) error {
	defer content.Close()
	err := s.sites.putFile(ctx, treePrefix(t)+own.key(f.Path), f, own.metadata(f.Path), content)
	if err == nil && content.buffer != nil {
		// After a failure the request may still be reading it.
		buffers.Put(content.buffer)
	}
	return err
}

// Sign implements cloud.Signer.
func (s *Store) Sign(ctx context.Context, t site.Tree, files []site.File) ([]cloud.SignedPut, time.Time, error) {
	expires := time.Now().Add(awsapi.SignedFor)
	own, err := s.addresses(ctx, t)
	if err != nil {
		return nil, expires, err
	}
	uploads := make([]upload, len(files))
	for i, f := range files {
		uploads[i] = upload{File: f, key: treePrefix(t) + own.key(f.Path), metadata: own.metadata(f.Path)}
	}
	signed, err := s.sites.signPuts(ctx, uploads, awsapi.SignedFor)
	return signed, expires, err
}

// Manifest implements cloud.Store.
func (s *Store) Manifest(ctx context.Context, t site.Tree) (site.Manifest, error) {
	return s.manifest(ctx, t)
}

func (s *Store) manifest(ctx context.Context, t site.Tree) (site.Manifest, error) {
	m, _, err := s.declaration(ctx, t)
	return m, err
}

// declaration reads a tree's manifest, and reports whether it is sealed.
func (s *Store) declaration(ctx context.Context, t site.Tree) (m site.Manifest, sealed bool, err error) {
	m, err = s.read(ctx, sealedKey(t))
	if errors.Is(err, cloud.ErrNotFound) {
		m, err = s.read(ctx, openKey(t))
		if !errors.Is(err, cloud.ErrNotFound) {
			return m, false, err
		}
		// It may have been sealed between the two reads.
		m, err = s.read(ctx, sealedKey(t))
	}
	return m, true, err
}

func (s *Store) read(ctx context.Context, key string) (site.Manifest, error) {
	data, err := s.work.Get(ctx, key, maxManifest)
	if err != nil {
		return site.Manifest{}, err
	}
	m, err := site.DecodeManifest(bytes.NewReader(data), s.limits)
	if err != nil {
		return m, fmt.Errorf("read %s: %w", key, err)
	}
	return m, nil
}

// copies is what Seal has to copy: objects by their keys in the tree.
type copies struct {
	store   *Store
	tree    site.Tree
	own     *addresses
	have    map[string]int64
	holders map[site.Digest][]string
	layout  layout

	mu      sync.Mutex
	missing []site.File
}

// Seal implements cloud.Store.
func (s *Store) Seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) error {
	err := s.seal(ctx, t, carried, rules)
	if _, ok := errors.AsType[*cloud.MissingError](err); ok {
		// A Remove may have moved files from another tree to this one between
		// the two places where seal looked for them.
		err = s.seal(ctx, t, carried, rules)
	}
	return err
}

// seal copies missing objects inside S3, the files first and then their
// canonical keys, and writes the sealed manifest last.
func (s *Store) seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) error {
	m, sealed, err := s.declaration(ctx, t)
	if err != nil {
		return err
	}
	if rules != nil {
		m.Rules = rules
	}
	have := s.listed.take(t)
	if have == nil {
		if have, err = s.present(ctx, t, m); err != nil {
			return err
		}
	}
	own := addressesOf(m)
	carried = slices.DeleteFunc(slices.Clone(carried), func(c site.Carried) bool { return own.has(c.Path) })
	extra := make([]site.File, len(carried))
	for i, a := range carried {
		extra[i] = a.File
	}
	plan, err := functionPlan(m)
	if err != nil {
		return err
	}
	layout := layoutOf(m.Files, own, plan)
	if layout == onePerPage {
		may, err := s.mayHaveOne(ctx, t, sealed)
		if err != nil {
			return err
		}
		if !may {
			layout = twoPerPage
		}
	}
	c := copies{store: s, tree: t, own: own, have: have, layout: layout}
	if err := c.findHolders(ctx, append(slices.Clip(m.Files), extra...)); err != nil {
		return err
	}
	if err := c.run(ctx, m.Files, c.layout.fileKey); err != nil {
		return err
	}
	if err := c.lack(); err != nil {
		return err
	}
	if err := c.run(ctx, m.Files, c.second); err != nil {
		return err
	}
	if err := c.lack(); err != nil {
		return err
	}
	keys := c.keys(m.Files)
	if err := c.run(ctx, extra, func(p string) string {
		if key := c.layout.fileKey(p); !keys[key] {
			return key
		}
		return "" // the site has its own file there
	}); err != nil {
		return err
	}
	nowhere := map[string]bool{}
	for _, f := range c.missing {
		nowhere[f.Path] = true
	}
	m.Carried = slices.DeleteFunc(carried, func(a site.Carried) bool { return nowhere[a.Path] })
	if err := s.publishRules(ctx, t, plan, layout, keys, m.Carried); err != nil {
		return err
	}
	if err := c.removeOthers(ctx, keys, m.Carried); err != nil {
		return err
	}
	encoded, err := site.EncodeManifest(m)
	if err != nil {
		return err
	}
	if err := s.work.Put(ctx, sealedKey(t), encoded, "application/zstd", false); err != nil {
		return fmt.Errorf("seal the tree: %w", err)
	}
	return s.work.Remove(ctx, openKey(t))
}

// findHolders finds the bytes of files that lack some of their keys, usually a
// small part of a tree: first in the tree itself, then in others.
func (c *copies) findHolders(ctx context.Context, files []site.File) error {
	c.holders = map[site.Digest][]string{}
	for _, f := range files {
		if !c.whole(f) {
			c.holders[f.SHA256] = nil
		}
	}
	for _, f := range files {
		if keys, wanted := c.holders[f.SHA256]; wanted && len(keys) == 0 {
			if key := c.own.held(f, c.have); key != "" {
				c.holders[f.SHA256] = []string{treePrefix(c.tree) + key}
			}
		}
	}
	var elsewhere []site.File
	for _, f := range files {
		if keys, wanted := c.holders[f.SHA256]; wanted && len(keys) == 0 {
			elsewhere = append(elsewhere, f)
		}
	}
	if len(elsewhere) == 0 {
		return nil
	}
	found, err := c.store.holders(ctx, c.tree, elsewhere, sealedPrefix(c.tree.Pipeline), removedPrefix(c.tree.Pipeline))
	if err != nil {
		return err
	}
	maps.Copy(c.holders, found)
	return nil
}

// whole reports whether a file is under all of its keys.
func (c *copies) whole(f site.File) bool {
	second := c.second(f.Path)
	return c.has(c.layout.fileKey(f.Path), f) && (second == "" || c.has(second, f))
}

// has reports whether a key has a file. It may have had a redirect, which an
// earlier seal with other rules left.
func (c *copies) has(key string, f site.File) bool {
	size, there := c.have[key]
	return there && size == f.Size
}

// run copies missing files to the keys that key returns.
func (c *copies) run(ctx context.Context, files []site.File, key func(string) string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(awsapi.Parallel)
	for _, f := range files {
		to := key(f.Path)
		if to == "" || c.has(to, f) {
			continue
		}
		c.have[to] = f.Size
		group.Go(func() error {
			for _, from := range c.holders[f.SHA256] {
				err := c.store.sites.copy(ctx, from, treePrefix(c.tree)+to, f, c.own.metadata(f.Path), cacheControl(f.Path))
				if !errors.Is(err, cloud.ErrNotFound) {
					return err
				}
				// Removed meanwhile; another tree may have it.
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.missing = append(c.missing, f)
			return nil
		})
	}
	return group.Wait()
}

// lack returns a *cloud.MissingError of the files whose bytes are missing.
func (c *copies) lack() error {
	if len(c.missing) == 0 {
		return nil
	}
	slices.SortFunc(c.missing, func(a, b site.File) int { return strings.Compare(a.Path, b.Path) })
	return &cloud.MissingError{Files: c.missing}
}

// second returns a page's other key, or the empty string.
func (c *copies) second(p string) string {
	key := canonicalKey(p)
	if c.layout != twoPerPage || key != "" && c.own.shared(strings.TrimSuffix(p, ".html")) {
		return ""
	}
	return key
}

// keys returns the keys of the tree's own files.
func (c *copies) keys(files []site.File) map[string]bool {
	keys := make(map[string]bool, 2*len(files))
	for _, f := range files {
		keys[c.layout.fileKey(f.Path)] = true
		if key := c.second(f.Path); key != "" {
			keys[key] = true
		}
	}
	return keys
}

// removeOthers deletes what an earlier seal left and this one does not have:
// carried assets and redirects. It is the last check of the tree's objects.
func (c *copies) removeOthers(ctx context.Context, keys map[string]bool, carried []site.Carried) error {
	for key := range keys {
		delete(c.have, key)
	}
	for _, a := range carried {
		delete(c.have, c.layout.fileKey(a.Path))
	}
	var others []string
	for key := range c.have {
		others = append(others, treePrefix(c.tree)+key)
	}
	return c.store.sites.Remove(ctx, others...)
}
