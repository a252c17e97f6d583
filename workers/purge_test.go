package workers

import (
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// live releases files and waits until they are live.
func (r *rig) live(id uuid.UUID, files map[string]string) uuid.UUID {
	r.t.Helper()
	deployment := r.release(id, files)
	eventually(r.t, func() bool {
		p, err := r.q.PipelineGet(r.t.Context(), id)
		return err == nil && p.Status == troy.Deployed && p.LiveDeploymentID != nil && *p.LiveDeploymentID == deployment
	}, func() string { return "the release did not go live" })
	return deployment
}

// carries lists the carried assets of a deployment's tree.
func (r *rig) carries(id, deployment uuid.UUID) map[string]bool {
	r.t.Helper()
	m, err := r.cloud.Store.Manifest(r.t.Context(), site.Tree{Pipeline: id, Deployment: deployment})
	if err != nil {
		r.t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, c := range m.Carried {
		paths[c.Path] = true
	}
	return paths
}

func (r *rig) purge(id uuid.UUID, path string) {
	r.t.Helper()
	if err := r.q.PurgeRequest(r.t.Context(), queries.PurgeRequestParams{PipelineID: id, Path: path, Actor: "test"}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.q.WorkRequest(r.t.Context(), queries.WorkRequestParams{Kind: tasks.TypePurge, SubjectID: id}); err != nil {
		r.t.Fatal(err)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	id := r.provisioned("blog")
	const code, plan, image = "assets/app-BX3kz0aQ.js", "assets/plan-Dq0JJc5l.pdf", "assets/img/logo-CkTqZkU9.svg"
	r.live(id, map[string]string{
		"index.html": "one", code: "code", plan: "secret plan", image: "svg",
		"report-AbQz9Xk1.pdf": "named like a hash", "3fa85f64-5717-4562-b3fc-2c963f66afa6.pdf": "named by a machine",
	})
	second := r.live(id, map[string]string{"index.html": "two"})
	if got := r.carries(id, second); len(got) != 3 || !got[code] || !got[plan] || !got[image] {
		t.Fatalf("the second tree carries %v; want only bundlers' files", got)
	}

	gone := func(left int) func() bool {
		return func() bool { return len(r.carries(id, second)) == left }
	}
	r.purge(id, plan)
	eventually(t, gone(2), func() string { return "the plan is still carried" })
	eventually(t, func() bool {
		purges, err := r.q.PurgeList(t.Context(), id, 3600)
		return err == nil && len(purges) == 1 && purges[0].DoneAt != nil
	}, func() string { return "the purge was not recorded" })

	// Neither the next deployment nor a rollback brings it back.
	third := r.live(id, map[string]string{"index.html": "three"})
	if got := r.carries(id, third); len(got) != 2 || got[plan] {
		t.Errorf("the third tree carries %v", got)
	}
	second = third
	r.purge(id, "assets/img/")
	eventually(t, gone(1), func() string { return "the folder is still carried" })
	r.purge(id, "")
	eventually(t, gone(0), func() string { return "an asset is still carried" })
	last := r.live(id, map[string]string{"index.html": "four"})
	if got := r.carries(id, last); len(got) != 0 {
		t.Errorf("the last tree carries %v", got)
	}
}

func TestDropAssets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	id := r.provisioned("blog")
	if _, err := r.db.Exec(t.Context(), `UPDATE pipelines SET build_settings = '{"drop_assets":true}' WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	r.live(id, map[string]string{"index.html": "one", "assets/app-BX3kz0aQ.js": "code"})
	if got := r.carries(id, r.live(id, map[string]string{"index.html": "two"})); len(got) != 0 {
		t.Errorf("the second tree carries %v", got)
	}
}

// giveUp requests work whose attempts are used up, and waits until it is
// postponed as new work.
func (r *rig) giveUp(kind string, subject uuid.UUID) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), `INSERT INTO work (kind, subject_id, attempt, since) VALUES ($1, $2, 100, now() - interval '30 minutes')
		ON CONFLICT (subject_id, kind) DO UPDATE SET attempt = 100, since = excluded.since, due_at = now(), ring_id = NULL`, kind, subject); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, func() bool {
		var fresh bool
		err := r.db.QueryRow(r.t.Context(), `SELECT attempt = 0 AND lease_until IS NULL AND due_at > now() + interval '50 minutes' AND since > now() - interval '10 minutes'
			FROM work WHERE kind = $1 AND subject_id = $2`, kind, subject).Scan(&fresh)
		return err == nil && fresh
	}, func() string { return kind + " was not postponed as new work" })
}

func TestPurgeIsNeverDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	id := r.provisioned("blog")
	if err := r.q.PurgeRequest(t.Context(), queries.PurgeRequestParams{PipelineID: id, Path: "", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	r.giveUp(tasks.TypePurge, id)
	if _, err := r.q.WorkHurry(t.Context(), tasks.TypePurge, id); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		purges, err := r.q.PurgeList(t.Context(), id, 3600)
		return err == nil && len(purges) == 1 && purges[0].DoneAt != nil
	}, func() string { return "the purge was not done when it came back" })
}
