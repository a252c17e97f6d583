package workers

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // commit ids
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// commitID is the id of a test's named commit.
func commitID(name string) string {
	sum := sha1.Sum([]byte(name)) //nolint:gosec // a commit id
	return hex.EncodeToString(sum[:])
}

// fakeForge has repositories with one branch each.
type fakeForge struct {
	forge.Forge

	mu      sync.Mutex
	heads   map[string]string // by the repository's name
	fail    map[string]error  // by the call's name
	reports []forge.Report
	changes map[string][]string // the files that differ, by "base...head"
	delay   func(forge.Report)  // called before a report is made, if not nil
	pullsDouble
}

func newFakeForge() *fakeForge {
	return &fakeForge{heads: map[string]string{}, changes: map[string][]string{}, fail: map[string]error{}}
}

// set calls f with the lock held.
func (f *fakeForge) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// NeedsInstallation is as GitHub has it.
func (f *fakeForge) NeedsInstallation() bool { return true }

func (f *fakeForge) Repository(_ context.Context, r forge.Repository) (forge.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ID, r.Installation = r.FullName, "7"
	return forge.Found{Repository: r, DefaultBranch: "main"}, f.fail["Repository"]
}

func (f *fakeForge) Head(_ context.Context, r forge.Repository, _ string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["Head"]; err != nil {
		return "", err
	}
	if f.heads[r.FullName] == "" {
		return "", troy.Errorf(troy.NotFound, "%w", forge.ErrNoCommit)
	}
	return f.heads[r.FullName], nil
}

func (f *fakeForge) Commit(_ context.Context, _ forge.Repository, id string) (forge.Commit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return forge.Commit{ID: id, Message: "a change", Author: "ada"}, f.fail["Commit"]
}

func (f *fakeForge) Compare(_ context.Context, _ forge.Repository, base, head string) (paths []string, complete bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths, complete = f.changes[base+"..."+head]
	return paths, complete, f.fail["Compare"]
}

func (f *fakeForge) Report(_ context.Context, _ forge.Repository, r forge.Report) error {
	f.mu.Lock()
	delay := f.delay
	f.mu.Unlock()
	if delay != nil {
		delay(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["Report"]; err != nil {
		return err
	}
	f.reports = append(f.reports, r)
	return nil
}

// fakeBuilder builds a site from each commit at once, unless its build is held.
type fakeBuilder struct {
	t *testing.T

	mu              sync.Mutex
	builds          map[site.Tree]builder.State
	held            map[uuid.UUID]bool // pipelines whose builds run until release
	failing         map[uuid.UUID]bool // pipelines whose builds fail
	broken          error              // the error of State and Stop
	asked           []string           // the calls that changed builds
	started         chan uuid.UUID     // the first build that was started
	config          []rules.ConfigFile // what its builds found in their repository
	specs           map[uuid.UUID]builder.Spec
	output          map[string]string // what its builds make, if not nil, beside index.html
	log             string            // what its builds print, if not empty
	caches          builder.Caches    // what it keeps
	cacheFault      error             // the error of RemoveCaches
	cacheFaultAfter bool              // it comes after the effect
	failed          builder.Build     // the cause and phases of builds that fail, if it has a cause
}

func newFakeBuilder(t *testing.T) *fakeBuilder {
	return &fakeBuilder{
		t: t, builds: map[site.Tree]builder.State{}, held: map[uuid.UUID]bool{}, failing: map[uuid.UUID]bool{},
		specs: map[uuid.UUID]builder.Spec{}, started: make(chan uuid.UUID, 1000),
	}
}

// hold makes a pipeline's builds run until release is called.
func (b *fakeBuilder) hold(pipeline uuid.UUID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[pipeline] = true
}

// release lets a pipeline's running builds succeed.
func (b *fakeBuilder) release(pipeline uuid.UUID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[pipeline] = false
	for t, state := range b.builds {
		if t.Pipeline == pipeline && state == builder.Running {
			b.builds[t] = builder.Succeeded
		}
	}
}

// fail makes a pipeline's next builds fail, or succeed.
func (b *fakeBuilder) fail(pipeline uuid.UUID, fails bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failing[pipeline] = fails
}

// breaks makes State and Stop fail until it is called with nil.
func (b *fakeBuilder) breaks(cause string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = nil
	if cause != "" {
		b.broken = errors.New(cause)
	}
}

// adopt adds an ended build.
func (b *fakeBuilder) adopt(pipeline, deployment uuid.UUID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.builds[site.Tree{Pipeline: pipeline, Deployment: deployment}] = builder.Failed
}

// specOf is what a deployment's build was started with.
func (b *fakeBuilder) specOf(deployment uuid.UUID) builder.Spec {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.specs[deployment]
}

// did lists the calls that changed builds, in order.
func (b *fakeBuilder) did() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.asked, ", ")
}

// kept is the number of a pipeline's builds that were not removed.
func (b *fakeBuilder) kept(pipeline uuid.UUID) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t := range b.builds {
		if t.Pipeline == pipeline {
			n++
		}
	}
	return n
}

func (b *fakeBuilder) Start(_ context.Context, spec builder.Spec) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.builds[spec.Tree]; known {
		return nil
	}
	b.specs[spec.Tree.Deployment] = spec
	switch {
	case b.failing[spec.Tree.Pipeline]:
		b.builds[spec.Tree] = builder.Failed
	case b.held[spec.Tree.Pipeline]:
		b.builds[spec.Tree] = builder.Running
	default:
		b.builds[spec.Tree] = builder.Succeeded
	}
	select {
	case b.started <- spec.Tree.Deployment:
	default:
	}
	return nil
}

func (b *fakeBuilder) Get(_ context.Context, t site.Tree) (builder.Build, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	state, known := b.builds[t]
	if b.broken != nil {
		return builder.Build{}, b.broken
	}
	if !known {
		return builder.Build{}, builder.ErrNotFound
	}
	if state == builder.Failed && b.failed.Cause != "" {
		return builder.Build{State: state, Cause: b.failed.Cause, Phases: b.failed.Phases}, nil
	}
	return builder.Build{State: state, Cause: "its command failed", Phases: []builder.PhaseRun{}, Config: b.config}, nil
}

func (b *fakeBuilder) Log(_ context.Context, t site.Tree, cursor string) (builder.LogPage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page := builder.LogPage{Next: "1", End: b.builds[t] != builder.Running}
	if cursor == "" {
		page.Data = []byte(cmp.Or(b.log, "building\n"))
	}
	return page, nil
}

func (b *fakeBuilder) Stop(_ context.Context, t site.Tree) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	state, known := b.builds[t]
	if b.broken != nil {
		return b.broken
	}
	b.asked = append(b.asked, "stop")
	if !known {
		return builder.ErrNotFound
	}
	if state == builder.Running {
		b.builds[t] = builder.Stopped
	}
	return nil
}

func (b *fakeBuilder) Artifact(ctx context.Context, t site.Tree) (*site.Source, error) {
	dir, err := os.MkdirTemp(b.t.TempDir(), "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(t.Deployment.String()), 0o600); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, text := range b.output {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return site.OpenSource(ctx, dir, site.DefaultLimits())
}

func (b *fakeBuilder) Caches(context.Context) (builder.Caches, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.caches, nil
}

func (b *fakeBuilder) RemoveCaches(_ context.Context, pipeline uuid.UUID, scope string, since time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	fail, after := b.cacheFault != nil, b.cacheFaultAfter
	if fail && !after {
		return b.cacheFault
	}
	b.caches.All = slices.DeleteFunc(b.caches.All, func(c builder.Cache) bool {
		return c.Pipeline == pipeline && c.Scope == scope && (since.IsZero() || c.Used.Before(since))
	})
	return b.cacheFault
}

func (b *fakeBuilder) Remove(_ context.Context, t site.Tree) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, "remove")
	for known := range b.builds {
		if known == t || t.Deployment == uuid.Nil && known.Pipeline == t.Pipeline {
			delete(b.builds, known)
		}
	}
	return nil
}
