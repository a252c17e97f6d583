package awscloud

import (
	"context"
	"path"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// addressKey is the metadata key of a page's canonical address, escaped, for
// the viewer-response function.
const addressKey = "troy-address"

// maxAddress is the longest address that fits S3's 2 KB of metadata
// (docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html). Other
// spellings of a longer address don't redirect.
const maxAddress = 1900

// addresses knows the canonical addresses of a tree's files.
type addresses struct {
	policy site.TrailingSlash
	paths  site.PathSet
	// one means that every file can have its page key.
	one bool
}

func addressesOf(m site.Manifest) *addresses {
	a := &addresses{policy: m.TrailingSlash, paths: site.NewPathSet(m.Files), one: true}
	for _, f := range m.Files {
		if a.rivals(f.Path) {
			a.one = false
			break
		}
	}
	return a
}

// rivals reports whether a file can't have its page key: another file has it, or
// it has a meaning of its own.
func (a *addresses) rivals(p string) bool {
	stem, page := strings.CutSuffix(pageKey(p), ".html")
	if !page {
		return false
	}
	if path.Base(stem) == "404" && !strings.HasSuffix(p, ".html") || strings.HasSuffix("/"+p, "/404/index.html") {
		return true // it would be the page of missing ones
	}
	n := 0
	for _, end := range []string{"", ".html", "/index.html"} {
		if _, there := a.paths.Find(stem, end); there && pageKey(stem+end) == stem+".html" {
			n++
		}
	}
	return n > 1
}

// metadata returns the metadata of a file's object, under its own key and under
// its canonical one.
func (a *addresses) metadata(p string) map[string]string {
	if a == nil {
		return nil
	}
	address := a.address(p)
	if address == "" || len(address) > maxAddress {
		return nil
	}
	return map[string]string{addressKey: address}
}

// address returns the escaped canonical address of a page, or the empty string
// for any other file. It differs from the edge's where the viewer-request
// function would not find the page: the function takes a name with a dot for a
// file, and about.html beside about/index.html has that page's key.
func (a *addresses) address(p string) string {
	stem, page := strings.CutSuffix(p, ".html")
	if !page || stem == "" || strings.HasSuffix(stem, "/") {
		return ""
	}
	folder, index := strings.CutSuffix("/"+stem, "/index")
	dotted := strings.Contains(folder[strings.LastIndexByte(folder, '/')+1:], ".")
	switch {
	case dotted && index:
		return awsapi.EscapeKey(folder + "/")
	case dotted, !index && a.shared(stem):
		return awsapi.EscapeKey("/" + p)
	}
	return a.policy.Resolve(a.paths, "/"+p).Address()
}

// has reports whether the tree has a file of its own with this path.
func (a *addresses) has(p string) bool {
	_, there := a.paths.Find(p, "")
	return there
}

// shared reports whether another file has the key of a page's address.
func (a *addresses) shared(stem string) bool {
	_, file := a.paths.Find(stem, "")
	_, index := a.paths.Find(stem, "/index.html")
	return file || index
}

// key returns the key under which a file is sent: its page key if each file of
// the tree has one of its own.
func (a *addresses) key(p string) string {
	if a.one {
		return pageKey(p)
	}
	return fileKey(p)
}

// held returns the key under which a tree that has these objects has a file, or
// the empty string. Earlier versions of Troy sent every file under its fileKey. A
// redirect may have a key that a page could have, but not its size.
func (a *addresses) held(f site.File, have map[string]int64) string {
	for _, key := range []string{a.key(f.Path), fileKey(f.Path)} {
		if size, there := have[key]; there && size == f.Size {
			return key
		}
	}
	return ""
}

// maxTrees is the number of trees whose addresses are cached.
const maxTrees = 16

// treeAddresses caches the addresses of trees that are being uploaded.
type treeAddresses struct {
	mu    sync.Mutex
	trees map[site.Tree]*addresses
}

// keep caches a tree's addresses. If the cache is full, it drops another
// tree's; they can be read again.
func (k *treeAddresses) keep(t site.Tree, a *addresses) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.trees == nil {
		k.trees = map[site.Tree]*addresses{}
	}
	for other := range k.trees {
		if len(k.trees) >= maxTrees {
			delete(k.trees, other)
		}
	}
	k.trees[t] = a
}

func (k *treeAddresses) get(t site.Tree) *addresses {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.trees[t]
}

// forget drops trees of a pipeline; without deployments, all of them.
func (k *treeAddresses) forget(pipeline uuid.UUID, deployments ...uuid.UUID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.trees {
		gone := t.Pipeline == pipeline && len(deployments) == 0
		for _, d := range deployments {
			gone = gone || t == site.Tree{Pipeline: pipeline, Deployment: d}
		}
		if gone {
			delete(k.trees, t)
		}
	}
}

// addresses returns those of a declared tree, or cloud.ErrNotFound.
func (s *Store) addresses(ctx context.Context, t site.Tree) (*addresses, error) {
	if a := s.declared.get(t); a != nil {
		return a, nil
	}
	m, err := s.manifest(ctx, t)
	if err != nil {
		return nil, err
	}
	a := addressesOf(m)
	s.declared.keep(t, a)
	return a, nil
}

// edgeTTL is how long CloudFront caches files that browsers revalidate each
// time, in seconds: the deployment is part of every key, so an object never
// changes.
const edgeTTL = "31536000"

// cacheControl returns an object's header. The viewer-response function removes
// the part that is for CloudFront alone.
func cacheControl(p string) string {
	control := site.CacheControl(p)
	if strings.Contains(control, "immutable") {
		return control
	}
	return control + ", s-maxage=" + edgeTTL
}
