package web_test

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
)

// withGrace lets deletions wait.
func withGrace(w *world) {
	w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", AutoProvision: true, DeleteGrace: 10 * time.Minute})
}

type deletion struct {
	By    string     `json:"by"`
	At    time.Time  `json:"at"`
	DueAt *time.Time `json:"due_at"`
}

// TestDeleteAndRestore deletes a pipeline, undoes it, and deletes it at once.
func TestDeleteAndRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	p := w.create("Blog")
	w.put(p, troy.Deployed)
	const path = "/v1/pipelines/blog"
	w.send("DELETE", path+"?now=perhaps", nil).refused(t, 400, "invalid", "now", "expected true or false")
	w.send("POST", path+"/restore", nil).refused(t, 409, "conflict", "", "only a pipeline that is Scheduled for Deletion")
	var a pipeline
	w.send("DELETE", path, nil).into(t, 202, &a)
	if a.Status != troy.ScheduledForDeletion || a.Deletion == nil || a.Deletion.By != "token test-admin" || a.Deletion.DueAt == nil || a.Deletion.DueAt.Sub(a.Deletion.At) != 10*time.Minute {
		t.Errorf("deleted: %+v %+v", a, a.Deletion)
	}
	w.send("DELETE", path, nil).refused(t, 409, "conflict", "", "requested by token test-admin")
	w.send("POST", path+"/restore", nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin")
	a = pipeline{}
	if w.send("POST", path+"/restore", nil).into(t, 202, &a); a.Status != troy.Deployed || a.Deletion != nil {
		t.Errorf("restored: %+v", a)
	}
	w.send("DELETE", path, nil).into(t, 202, &a)
	a = pipeline{}
	if w.send("DELETE", path+"?now=true", nil).into(t, 202, &a); a.Deletion == nil || a.Deletion.DueAt != nil {
		t.Errorf("deleted at once: %+v", a.Deletion)
	}
	w.send("POST", path+"/restore", nil).refused(t, 409, "conflict", "", "has begun and can't be undone")
}
