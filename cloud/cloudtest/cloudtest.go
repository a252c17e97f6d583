// Package cloudtest is the conformance suite of cloud's ports: each sentence of
// their contract is a subtest. Every adapter's tests call Run.
package cloudtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// Lack names a feature that an adapter does not have, so that its subtests are
// skipped by name.
type Lack string

const (
	// LacksPropagation: a distribution is Deployed as soon as it changed.
	LacksPropagation Lack = "propagation"
	// LacksHostConflict: two distributions may claim one host.
	LacksHostConflict Lack = "host conflict"
	// LacksDomains: it has no cloud.Domains.
	LacksDomains Lack = "domains"
)

// Env is one adapter under test. Subtests share only it, and make their own
// pipelines, references and hosts.
type Env struct {
	Cloud cloud.Cloud
	// Domain is the domain of the test's hosts: "sites.example".
	Domain string
	// Deadline is the maximum duration of a distribution's change.
	Deadline time.Duration
	// Poll is the time between two polls of a distribution; zero means
	// Cloud.PropagationDelay.
	Poll time.Duration
	// Readers serves the sites' readers. Run and RunServing need it.
	Readers http.Handler
	// MaxPath is the maximum length of a file's path in bytes, if less than
	// site.MaxPath.
	MaxPath int
	Lacks   []Lack
}

func (e Env) lacks(l Lack) bool { return slices.Contains(e.Lacks, l) }

// host returns a host that no other test uses.
func (e Env) host() string { return "h" + uuid.NewString() + "." + e.Domain }

// Run runs the suite, each subtest on its own Env from open.
func Run(t *testing.T, open func(t *testing.T) Env) {
	RunStore(t, open)
	RunCDN(t, open)
	RunServing(t, open)
}

// RunServing runs the part of the suite that reads sites, and needs
// Env.Readers.
func RunServing(t *testing.T, open func(t *testing.T) Env) {
	run(t, open, servingTests(), domainServingTests(), previewServingTests())
}

// RunDomains runs the part of the suite about custom hosts, and needs
// Env.Readers.
func RunDomains(t *testing.T, open func(t *testing.T) Env) {
	run(t, open, domainTests(), domainServingTests())
}

// RunStore runs the part of the suite that needs only a Store.
func RunStore(t *testing.T, open func(t *testing.T) Env) {
	run(t, open, storeTests(), putAllTests(), removeTests(), treeTests())
}

// RunCDN runs the part of the suite that makes distributions and records.
func RunCDN(t *testing.T, open func(t *testing.T) Env) {
	run(t, open, cdnTests(), pointerTests(), protectionTests(), dnsTests(), domainTests(), previewTests(), contextTests())
}

func run(t *testing.T, open func(t *testing.T) Env, suites ...map[string]func(*testing.T, Env)) {
	for _, suite := range suites {
		for name, test := range suite {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, open(t))
			})
		}
	}
}

// newTree names a tree of a new pipeline.
func newTree() site.Tree {
	return site.Tree{Pipeline: newID(), Deployment: newID()}
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// another names another tree of the same pipeline.
func another(t site.Tree) site.Tree {
	return site.Tree{Pipeline: t.Pipeline, Deployment: newID()}
}

func file(path, content string) site.File {
	return site.File{Path: path, SHA256: sha256.Sum256([]byte(content)), Size: int64(len(content))}
}

func manifest(files ...site.File) site.Manifest { return site.Manifest{Files: files} }

func begin(t *testing.T, e Env, tree site.Tree, files ...site.File) []site.File {
	t.Helper()
	missing, err := e.Cloud.Store.Begin(t.Context(), tree, manifest(files...))
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return missing
}

func put(t *testing.T, e Env, tree site.Tree, f site.File, content string) {
	t.Helper()
	if err := e.Cloud.Store.Put(t.Context(), tree, f, strings.NewReader(content)); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func seal(t *testing.T, e Env, tree site.Tree, carried ...site.Carried) {
	t.Helper()
	if err := e.Cloud.Store.Seal(t.Context(), tree, carried, nil); err != nil {
		t.Fatalf("Seal: %v", err)
	}
}

// store seals a tree of one file.
func store(t *testing.T, e Env, tree site.Tree, path, content string) site.File {
	t.Helper()
	f := file(path, content)
	if len(begin(t, e, tree, f)) > 0 {
		put(t, e, tree, f, content)
	}
	seal(t, e, tree)
	return f
}

func paths(files []site.File) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Path
	}
	slices.Sort(out)
	return out
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// countingReader counts the bytes read.
type countingReader struct {
	io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func endless() *countingReader { return &countingReader{Reader: zeros{}} }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{0}, len(p))), nil }

// eventually polls until done returns true or the adapter's deadline has
// passed.
func eventually(t *testing.T, e Env, what string, done func(ctx context.Context) bool) {
	t.Helper()
	interval := e.Poll
	if interval == 0 {
		interval = e.Cloud.PropagationDelay
	}
	ctx, cancel := context.WithTimeout(t.Context(), e.Deadline)
	defer cancel()
	if !poll.Until(ctx, e.Deadline, interval, func() bool { return done(ctx) }) {
		t.Fatalf("%s: not within %s", what, e.Deadline)
	}
}
