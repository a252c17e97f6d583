package web_test

import (
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// TestReleaseOfTheLiveFiles begins releases by the digest of the live manifest in
// place of a list of files.
func TestReleaseOfTheLiveFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	files := []site.File{file("a.html", "a"), file("b.html", "b")}
	digest := site.Manifest{Files: files}.Digest()
	begin := func(body map[string]any) answer { return w.send("POST", releases(p), body) }
	const other = "live deployment; list the files"

	begin(map[string]any{"manifest": digest}).refused(t, 409, "conflict", "manifest", other)
	r := w.begin(p, nil, files...)
	w.upload(p, r, "a").into(t, 204, nil)
	w.upload(p, r, "b").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
	begin(map[string]any{"manifest": digest}).refused(t, 409, "conflict", "manifest", other) // it is not live yet
	w.goLive(p, r.ID)

	for _, bad := range []struct {
		body               map[string]any
		status             int
		code, field, words string
	}{
		{map[string]any{"manifest": site.Manifest{Files: files[:1]}.Digest()}, 409, "conflict", "manifest", other},
		{map[string]any{"manifest": "x"}, 400, "invalid", "manifest", "64 hexadecimal digits"},
		{map[string]any{"manifest": digest, "files": files}, 400, "invalid", "manifest", "can't be combined with files"},
		{map[string]any{"manifest": digest, "files": []site.File{}}, 400, "invalid", "manifest", "can't be combined with files"},
		{map[string]any{"manifest": ""}, 400, "invalid", "files", "no files"},
	} {
		begin(bad.body).refused(t, bad.status, bad.code, bad.field, bad.words)
	}

	var again release
	begin(map[string]any{"manifest": digest, "message": "the same"}).into(t, 201, &again)
	if len(again.Missing) > 0 {
		t.Errorf("%v are missing", again.Missing)
	}
	var d deployment
	w.send("POST", releases(p)+"/"+again.ID.String()+"/finalize", nil).into(t, 202, &d)
	if d.Files != 2 || d.Message != "the same" {
		t.Errorf("the deployment is %+v", d)
	}
	m, err := w.deps.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: again.ID})
	if err != nil || m.Digest() != digest {
		t.Errorf("the manifest is %v, %v", m, err)
	}

	// The row outlives its files.
	if err := w.deps.Store.Remove(t.Context(), p.ID, r.ID); err != nil {
		t.Fatal(err)
	}
	begin(map[string]any{"manifest": digest}).refused(t, 409, "conflict", "manifest", other)
}
