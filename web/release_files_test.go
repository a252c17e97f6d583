package web_test

import (
	"os"
	"slices"
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

// TestReleaseOfTheLiveFilesAlone takes nothing but files from the live deployment:
// not the policy for addresses, which the new release may have changed.
func TestReleaseOfTheLiveFilesAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	files := []site.File{file("a.html", "a")}
	digest := site.Manifest{Files: files}.Digest()
	config := []map[string]string{{"name": "troy.toml", "text": "[site]\ntrailing_slash = \"always\"\n"}}
	begin := func(body map[string]any, want site.TrailingSlash) (r release) {
		t.Helper()
		w.send("POST", releases(p), body).into(t, 201, &r)
		m, err := w.deps.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: r.ID})
		if err != nil || m.TrailingSlash != want {
			t.Errorf("the policy is %q, %v; want %q", m.TrailingSlash, err, want)
		}
		return r
	}
	r := begin(map[string]any{"files": files, "config": config}, site.SlashAlways)
	w.upload(p, r, "a").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
	w.goLive(p, r.ID)
	begin(map[string]any{"manifest": digest}, "")
	begin(map[string]any{"base": digest, "files": []site.File{file("b.html", "a")}}, "")
	begin(map[string]any{"base": digest, "config": config}, site.SlashAlways)
}

// TestReleaseOfDifferences begins releases by how they differ from the live
// deployment. Their trees are those of whole lists.
func TestReleaseOfDifferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := w.create("Blog"), w.create("Other")
	w.put(p, troy.ReadyForDeployment)
	w.put(other, troy.ReadyForDeployment)
	files := []site.File{file("a.html", "a"), file("b.html", "b"), file("c.html", "c")}
	base := site.Manifest{Files: files}.Digest()
	begin := func(body map[string]any, options ...option) answer {
		return w.send("POST", releases(p), body, options...)
	}
	const unknown = "live deployment; list the files"

	publish := func(p pipeline, files []site.File, texts ...string) release {
		t.Helper()
		r := w.begin(p, nil, files...)
		for _, text := range texts {
			w.upload(p, r, text).into(t, 204, nil)
		}
		w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
		w.goLive(p, r.ID)
		return r
	}
	begin(map[string]any{"base": base, "removed": []string{"a.html"}}).refused(t, 409, "conflict", "base", unknown)
	live := publish(p, files, "a", "b", "c")
	secrets := []site.File{file("secret.html", "secret")}
	publish(other, secrets, "secret")

	for name, bad := range map[string]struct {
		body               map[string]any
		status             int
		code, field, words string
	}{
		"another base":            {map[string]any{"base": site.Manifest{Files: files[:1]}.Digest()}, 409, "conflict", "base", unknown},
		"another pipeline's base": {map[string]any{"base": site.Manifest{Files: secrets}.Digest(), "files": files}, 409, "conflict", "base", unknown},
		"no digest":               {map[string]any{"base": "x"}, 400, "invalid", "base", "64 hexadecimal digits"},
		"base and manifest":       {map[string]any{"base": base, "manifest": base}, 400, "invalid", "manifest", "can't be combined"},
		"removed without a base":  {map[string]any{"removed": []string{"a.html"}, "files": files}, 400, "invalid", "removed", "needs base"},
		"not there":               {map[string]any{"base": base, "removed": []string{"a.html", "secret.html"}}, 400, "invalid", "removed[1]", `no file "secret.html"`},
		"a bad path":              {map[string]any{"base": base, "files": []map[string]any{{"path": "../x", "sha256": base, "size": 1}}}, 400, "invalid", "files[0].path", "segment"},
		"nothing is left":         {map[string]any{"base": base, "removed": []string{"a.html", "b.html", "c.html"}}, 400, "invalid", "removed", "no files"},
	} {
		t.Run(name, func(t *testing.T) {
			begin(bad.body).refused(t, bad.status, bad.code, bad.field, bad.words)
		})
	}
	// Another pipeline's file is to be sent, as any other.
	var r release
	begin(map[string]any{"base": base, "files": secrets}).into(t, 201, &r)
	if len(r.Missing) != 1 || r.Missing[0] != secrets[0] {
		t.Errorf("%v are missing", r.Missing)
	}

	now := []site.File{file("a.html", "other"), file("b.html", "b"), file("d.html", "a")}
	key := header("Idempotency-Key", "k")
	change := map[string]any{"base": base, "removed": []string{"c.html"}, "files": []site.File{now[2], now[0]}, "message": "m"}
	begin(change, key).into(t, 201, &r)
	if len(r.Missing) != 1 || r.Missing[0] != now[0] {
		t.Errorf("%v are missing", r.Missing)
	}
	var again release
	begin(map[string]any{"files": now, "message": "m"}, key).into(t, 200, &again)
	if again.ID != r.ID {
		t.Error("the whole list begins another release with the same key")
	}
	w.upload(p, r, "other").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
	m, err := w.deps.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: r.ID})
	if err != nil || !slices.Equal(m.Files, now) {
		t.Errorf("the manifest is %v, %v", m.Files, err)
	}

	// The live tree's manifest is damaged. A whole list needs it not.
	name := (site.Layout{Root: w.dir}).Tree(site.Tree{Pipeline: p.ID, Deployment: live.ID})
	if err := os.WriteFile(name, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin(change).refused(t, 500, "internal", "", "")
	begin(map[string]any{"files": now}).into(t, 201, nil)

	// It is another one than its row says.
	if err := w.deps.Store.Remove(t.Context(), p.ID, live.ID); err != nil {
		t.Fatal(err)
	}
	begin(change).refused(t, 409, "conflict", "base", unknown)
	if _, err := w.deps.Store.Begin(t.Context(), site.Tree{Pipeline: p.ID, Deployment: live.ID}, site.Manifest{Files: files[:2]}); err != nil {
		t.Fatal(err)
	}
	begin(change).refused(t, 409, "conflict", "base", unknown)
}
