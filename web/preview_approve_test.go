package web_test

import (
	"strings"
	"testing"
)

// TestApprovePreview approves a stranger's commit, and others.
func TestApprovePreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	first, second := strings.Repeat("1", 40), strings.Repeat("2", 40)
	const path = "/v1/pipelines/blog/previews/pr-7/approve"
	w.send("POST", path, `{"commit":"`+first+`"}`).refused(t, 404, "not_found", "", "no preview pr-7")
	w.exec(`INSERT INTO previews (id, pipeline_id, kind, source, label, repository_id, number, created_by, expires_at, trusted, head_commit)
		VALUES (gen_random_uuid(), $1, 'pull_request', '1#7', 'pr-7', '1', 7, 'eve', now() + interval '1 day', false, $2)`, p.ID, second)
	w.send("POST", path, `{}`).refused(t, 400, "invalid", "commit", "missing")
	w.send("POST", path, `{"commit":"`+first+`"}`).refused(t, 412, "precondition_failed", "commit", "the newest commit is "+second)
	if n := w.count("SELECT count(*) FROM deployments WHERE preview_id IS NOT NULL"); n != 0 {
		t.Errorf("%d deployments after a refusal", n)
	}
	var v struct {
		State      string `json:"state"`
		Deployment int64  `json:"deployment"`
	}
	decode := w.send("POST", path, `{"commit":"`+second+`"}`)
	if decodeLoose(t, decode.body, &v); decode.status != 202 || v.State != "waiting" || v.Deployment == 0 {
		t.Errorf("approved it is %d %s", decode.status, decode.body)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE commit_sha = $1 AND NOT trusted", second); n != 1 {
		t.Errorf("%d deployments without trust, want 1", n)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'preview.approve' AND detail = $1", second); n != 1 {
		t.Errorf("%d audited approvals, want 1", n)
	}
	w.exec("UPDATE previews SET trusted = true")
	w.send("POST", path, `{"commit":"`+second+`"}`).refused(t, 409, "conflict", "", "no commit that needs an approval")
}
