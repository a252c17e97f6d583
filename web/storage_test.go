package web_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/site"
)

// withQuota makes a world whose pipelines have a quota.
func withQuota(q intake.Quota) func(*world) {
	return func(w *world) {
		w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", Quota: q})
	}
}

type usage struct {
	PipelineID   uuid.UUID  `json:"pipeline_id"`
	Bytes        int64      `json:"bytes"`
	Files        int64      `json:"files"`
	OpenReleases int64      `json:"open_releases"`
	CountedAt    *time.Time `json:"counted_at"`
	Quota        struct {
		Bytes        int64 `json:"bytes"`
		Files        int64 `json:"files"`
		OpenReleases int64 `json:"open_releases"`
	} `json:"quota"`
	Own struct {
		Bytes        *int64 `json:"bytes"`
		Files        *int64 `json:"files"`
		OpenReleases *int64 `json:"open_releases"`
	} `json:"own_quota"`
}

func (w *world) stored(p pipeline) (u usage) {
	w.t.Helper()
	w.send("GET", "/v1/pipelines/"+p.Slug+"/storage", nil).into(w.t, 200, &u)
	return u
}

func TestQuotaAtDeclaration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withQuota(intake.Quota{Bytes: 10, Files: 3, OpenReleases: 2}))
	p := w.create("Blog")
	first := w.begin(p, nil, file("a", "123456"), file("same", "123456"))
	if u := w.stored(p); u.Bytes != 6 || u.Files != 1 || u.OpenReleases != 1 || u.Quota.Bytes != 10 || u.Quota.OpenReleases != 2 {
		t.Fatalf("after a release of six bytes: %+v", u)
	}
	more := manifest{Files: []site.File{file("b", "abcdef")}}
	key := header("Idempotency-Key", "more")
	for range 2 { // the key of a refused release is free again
		w.send("POST", releases(p), more, key).refused(t, 507, "over_quota", "", "6 B to the 6 B")
	}
	if u := w.stored(p); u.Bytes != 6 || u.OpenReleases != 1 {
		t.Errorf("after a refusal: %+v", u)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'retention' AND due_at <= now()"); n != 1 {
		t.Error("the refused release's tree is not removed")
	}
	w.send("POST", releases(p), manifest{Files: []site.File{file("b", "b"), file("c", "c"), file("d", "d")}}).refused(t, 507, "over_quota", "", "3 files")
	w.upload(p, first, "123456").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+first.ID.String()+"/finalize", `{"publish":false}`).into(t, 202, nil)
	// The same files add nothing.
	w.begin(p, nil, file("a", "123456"))
	w.begin(p, nil, file("a", "123456"), file("b", "ab"))
	w.send("POST", releases(p), manifest{Files: []site.File{file("a", "123456")}}).refused(t, 507, "over_quota", "", "2 unfinished releases; its quota is 2")
	if u := w.stored(p); u.Bytes != 8 || u.Files != 2 || u.OpenReleases != 2 {
		t.Errorf("at the end: %+v", u)
	}
	other := w.create("Other")
	w.begin(other, nil, file("a", "1234567890"))
}

// TestIdleReleasesMakeRoom fills a pipeline's room with releases whose senders were
// killed. Those to which files are sent stay.
func TestIdleReleasesMakeRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withQuota(intake.Quota{Bytes: 10, OpenReleases: 3}))
	p := w.create("Blog")
	idle := func(r release) {
		t.Helper()
		w.exec("UPDATE releases SET touched_at = now() - interval '16 minutes' WHERE id = $1", r.ID)
	}
	killed, sending, kept := w.begin(p, nil, file("a", "12")), w.begin(p, nil, file("a", "12")), w.begin(p, nil, file("a", "12"))
	one := manifest{Files: []site.File{file("a", "12")}}
	w.send("POST", releases(p), one).refused(t, 507, "over_quota", "", "or wait until one has received nothing for 15 minutes")
	idle(killed)
	idle(sending)
	w.second().upload(p, sending, "12").into(t, 204, nil) // the first process has read the row
	w.send("POST", releases(p), one).into(t, 201, nil)
	w.second().upload(p, killed, "12").refused(t, 409, "conflict", "", "the release expired")
	w.upload(p, kept, "12").into(t, 204, nil)
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'retention' AND due_at <= now()"); n != 1 {
		t.Error("the files of the idle release are not removed")
	}

	// Bytes are free when retention has removed the files.
	other := w.create("Other")
	idle(w.begin(other, nil, file("a", "123456")))
	w.send("POST", releases(other), manifest{Files: []site.File{file("b", "abcdef")}}).refused(t, 507, "over_quota", "", "Troy removes 1 idle release now; try again in a minute")
}

func TestQuotaOfTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withQuota(intake.Quota{Bytes: 10}))
	p := w.create("Blog")
	var begun, refused atomic.Int64
	var senders sync.WaitGroup
	for n := range 8 {
		senders.Go(func() {
			switch a := w.send("POST", releases(p), manifest{Files: []site.File{file("a", fmt.Sprintf("bytes%d", n))}}); a.status {
			case 201:
				begun.Add(1)
			case 507:
				refused.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	senders.Wait()
	if begun.Load() != 1 || refused.Load() != 7 || w.stored(p).Bytes != 6 {
		t.Errorf("%d of 8 releases of 6 bytes were begun, %d refused, %+v stored; the quota is 10", begun.Load(), refused.Load(), w.stored(p))
	}
}

func TestQuotaAtUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withQuota(intake.Quota{Bytes: 10}))
	p := w.create("Blog")
	// An archive is declared while it is received.
	w.send("PUT", archiveOf(p), zipText(t, "index.html", "more than ten"), octets).refused(t, 507, "over_quota", "", "13 B")
	if n := w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Errorf("%d deployments", n)
	}
	// A release whose declaration ended before it was counted is counted with
	// its first upload.
	r := w.begin(p, nil, file("a", "123456"))
	w.exec("DELETE FROM counted_trees")
	w.exec("UPDATE storage SET used_bytes = 0, used_files = 0")
	second := w.second()
	second.upload(p, r, "123456").into(t, 204, nil)
	if u := w.stored(p); u.Bytes != 6 {
		t.Errorf("%+v", u)
	}
	late := w.begin(p, nil, file("b", "abcd"))
	w.exec("DELETE FROM counted_trees WHERE tree_id = $1", late.ID)
	w.exec("UPDATE storage SET used_bytes = 6, used_files = 1")
	w.send("PUT", "/v1/pipelines/blog/quota", `{"bytes":7}`).into(t, 200, nil)
	w.second().upload(p, late, "abcd").refused(t, 507, "over_quota", "", "quota is 7 B")
	w.send("POST", releases(p)+"/"+late.ID.String()+"/finalize", nil).refused(t, 409, "conflict", "", "expired")
}

func TestQuotaOfOnePipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withQuota(intake.Quota{Bytes: 10}))
	p := w.create("Blog")
	path := "/v1/pipelines/blog/quota"
	w.begin(p, nil, file("a", "123456"))
	// Below what is used: nothing goes, new bytes are refused, others are not.
	var u usage
	w.send("PUT", path, `{"bytes":3,"files":null}`).into(t, 200, &u)
	if u.Quota.Bytes != 3 || u.Own.Bytes == nil || *u.Own.Bytes != 3 || u.Own.Files != nil || u.Bytes != 6 {
		t.Errorf("%+v", u)
	}
	w.send("POST", releases(p), manifest{Files: []site.File{file("b", "b")}}).refused(t, 507, "over_quota", "", "1 B to the 6 B")
	w.begin(p, nil, file("a", "123456"))
	w.send("PUT", path, `{"bytes":0}`).into(t, 200, nil)
	w.begin(p, nil, file("b", strings.Repeat("b", 100)))
	w.send("PUT", path, `{}`).into(t, 200, &u)
	if u.Quota.Bytes != 10 || u.Own.Bytes != nil {
		t.Errorf("%+v", u)
	}
	w.send("PUT", path, `{"bytes":-1}`).refused(t, 400, "invalid", "bytes", "from 0")
	w.send("PUT", path, `{"bites":1}`).refused(t, 400, "invalid", "bites", "unknown")
	w.send("PUT", path, `{"bytes":1}`, as(w.token(credentials.Admin, p.ID))).refused(t, 403, "forbidden", "", "unlimited admin")
	w.send("PUT", path, `{"bytes":1}`, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "")
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'pipeline.quota'"); n != 3 {
		t.Errorf("%d changes are recorded, want 3", n)
	}
}

type pruning struct {
	DryRun      bool `json:"dry_run"`
	Deployments []struct {
		ID        uuid.UUID `json:"id"`
		Number    int64     `json:"number"`
		Kind      string    `json:"kind"`
		State     string    `json:"state"`
		Message   string    `json:"message"`
		Files     int64     `json:"files"`
		Bytes     int64     `json:"bytes"`
		CreatedAt time.Time `json:"created_at"`
	} `json:"deployments"`
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (p pruning) numbers() (all []int64) {
	for _, d := range p.Deployments {
		all = append(all, d.Number)
	}
	return all
}

// deployedTimes makes n deployments of a pipeline, each with a file of its own
// and one that all share; the last is live.
func (w *world) deployedTimes(p pipeline, n int) (all []deployment) {
	w.t.Helper()
	for i := range n {
		r := w.begin(p, nil, file("shared", "shared"), file("own", fmt.Sprintf("own %04d", i)))
		w.upload(p, r, "shared")
		w.upload(p, r, fmt.Sprintf("own %04d", i)).into(w.t, 204, nil)
		var d deployment
		w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", `{"publish":false}`).into(w.t, 202, &d)
		all = append(all, d)
	}
	w.exec("UPDATE pipelines SET status = 'deployed', distribution_id = 'one', live_deployment_id = $1 WHERE id = $2", all[n-1].ID, p.ID)
	return all
}

func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	all := w.deployedTimes(p, 15)
	path := "/v1/pipelines/blog/prune"
	var dry, again, done pruning
	// The live deployment is the oldest one, the second one waits to be live
	// again, and a preview shows the third.
	w.exec("UPDATE pipelines SET live_deployment_id = $1 WHERE id = $2", all[0].ID, p.ID)
	w.send("POST", "/v1/pipelines/blog/promote", map[string]any{"deployment": all[1].ID}).into(t, 202, nil)
	w.exec(`INSERT INTO previews (id, pipeline_id, kind, source, label, created_by, expires_at, pinned, live_deployment_id)
		VALUES (gen_random_uuid(), $1, 'release', 'draft', 'draft', 'test', now(), true, $2)`, p.ID, all[2].ID)
	w.send("POST", "/v1/pipelines/blog/lock", `{"reason":"freeze"}`).into(t, 200, nil)
	before := w.text("SELECT md5(string_agg(d::text, '' ORDER BY number)) FROM deployments d")
	for _, out := range []*pruning{&dry, &again} {
		w.send("POST", path, `{"dry_run":true}`).into(t, 200, out)
	}
	if got := dry.numbers(); !dry.DryRun || fmt.Sprint(got) != "[5 4]" || dry.Bytes != 16 || dry.Files != 2 || fmt.Sprint(again) != fmt.Sprint(dry) {
		t.Errorf("a dry run says %+v, then %+v", dry, again)
	}
	if after := w.text("SELECT md5(string_agg(d::text, '' ORDER BY number)) FROM deployments d"); after != before || w.count("SELECT count(*) FROM audit WHERE action = 'pipeline.prune'") != 0 {
		t.Error("a dry run changed something")
	}
	w.send("POST", path, `{"keep":12}`).into(t, 202, &done)
	if len(done.Deployments) != 0 {
		t.Errorf("with 12 to keep, %v went", done.numbers())
	}
	key := header("Idempotency-Key", "prune")
	done = pruning{}
	w.send("POST", path, nil, key).into(t, 202, &done)
	if fmt.Sprint(done.numbers()) != "[5 4]" || done.Bytes != 16 || done.DryRun {
		t.Errorf("pruned %+v", done)
	}
	for _, o := range [][]option{{key}, nil} {
		again = pruning{}
		w.send("POST", path, nil, o...).into(t, 202, &again)
		if len(again.Deployments) != 0 || again.Bytes != 0 {
			t.Errorf("a repeated prune says %+v", again)
		}
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE pruned_at IS NOT NULL"); n != 2 {
		t.Errorf("%d deployments are pruned", n)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'retention' AND due_at <= now()"); n != 1 {
		t.Error("retention is not requested")
	}
	w.send("POST", "/v1/pipelines/blog/promote", map[string]any{"deployment": all[4].ID}).refused(t, 409, "conflict", "deployment", "were removed")
	w.send("POST", path, `{"keep":9}`).refused(t, 400, "invalid", "keep", "from 10")
	w.send("POST", path, nil, as(w.token(credentials.Viewer))).refused(t, 403, "forbidden", "", "")
	w.send("POST", path, nil, as(w.token(credentials.Deployer, uuid.New()))).refused(t, 404, "not_found", "", "")
}

// A rollback to a deployment and a prune of it at once: either the rollback
// keeps its files, or it is refused.
func TestPruneBesideRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 8 {
		p := w.create(fmt.Sprintf("Blog %d", i))
		all := w.deployedTimes(p, 11)
		var status int
		var both sync.WaitGroup
		both.Go(func() {
			status = w.send("POST", "/v1/pipelines/"+p.Slug+"/promote", map[string]any{"deployment": all[0].ID}).status
		})
		both.Go(func() { w.send("POST", "/v1/pipelines/"+p.Slug+"/prune", nil).into(t, 202, nil) })
		both.Wait()
		pruned := w.count("SELECT count(*) FROM deployments WHERE id = $1 AND pruned_at IS NOT NULL", all[0].ID) == 1
		if pruned != (status == 409) || !pruned && status != 202 {
			t.Errorf("the rollback answers %d, and its files are given up: %t", status, pruned)
		}
	}
}

// fillable is a store whose disk is full from some time on.
type fillable struct {
	cloud.Store
	full  bool
	trees bool // has room for trees, but not for their files
}

func (f *fillable) refusal() error {
	if !f.full {
		return nil
	}
	return troy.Errorf(troy.Unavailable, "%w: 12 bytes are left", cloud.ErrFull)
}

func (f *fillable) Begin(ctx context.Context, t site.Tree, m site.Manifest) ([]site.File, error) {
	if err := f.refusal(); err != nil && !f.trees {
		return nil, err
	}
	return f.Store.Begin(ctx, t, m)
}

func (f *fillable) Put(ctx context.Context, t site.Tree, file site.File, r io.Reader) error {
	if err := f.refusal(); err != nil {
		return err
	}
	return f.Store.Put(ctx, t, file, r)
}

func (f *fillable) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	if err := f.refusal(); err != nil {
		return 0, err
	}
	return f.Store.PutAll(ctx, t, files, r)
}

// TestAbandonedReleasesMakeRoom fills the store's disk: each request that finds it
// full gives up releases of any pipeline to which nothing was sent for an hour.
func TestAbandonedReleasesMakeRoom(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(w *world, p pipeline, r release) answer{
		"a release": func(w *world, p pipeline, _ release) answer {
			return w.send("POST", releases(p), manifest{Files: []site.File{file("b", "ab")}})
		},
		"an archive": func(w *world, p pipeline, _ release) answer {
			return w.send("PUT", archiveOf(p), zipText(t, "index.html", "home"), octets)
		},
		"a file": func(w *world, p pipeline, r release) answer { return w.upload(p, r, "12") },
		"a batch": func(w *world, p pipeline, r release) answer {
			return w.send("POST", releases(p)+"/"+r.ID.String()+"/files", bytes.NewReader(batchOf("12")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &fillable{trees: name == "an archive"}
			w := newWorld(t, func(w *world) { store.Store, w.deps.Store = w.deps.Store, store })
			blog, docs := w.create("Blog"), w.create("Docs")
			abandoned, slow, mine := w.begin(blog, nil, file("a", "12")), w.begin(blog, nil, file("a", "12")), w.begin(docs, nil, file("a", "12"))
			for r, idle := range map[uuid.UUID]string{abandoned.ID: "61 minutes", slow.ID: "59 minutes"} {
				w.exec("UPDATE releases SET touched_at = now() - $2::text::interval WHERE id = $1", r, idle)
			}
			store.full = true
			field := ""
			if name == "a batch" {
				field = "files[0]"
			}
			request(w, docs, mine).refused(t, 503, "unavailable", field, "the store's disk is full: 12 bytes are left")
			if got := w.text("SELECT string_agg(id::text, ' ') FROM releases WHERE given_up_at IS NOT NULL"); got != abandoned.ID.String() {
				t.Errorf("given up are %q, want %s alone", got, abandoned.ID)
			}
			if n := w.count("SELECT count(*) FROM work WHERE kind = 'retention' AND due_at <= now() AND subject_id = $1", blog.ID); n != 1 {
				t.Error("the files of the abandoned release are not removed")
			}
		})
	}
}
