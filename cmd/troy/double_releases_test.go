package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

func (d *double) begin(r *http.Request, p *doublePipeline) (answer, error) {
	d.begins++
	var n client.NewRelease
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	if p.Status.InDeletion() {
		return fail(troy.Conflict, "the pipeline is %s: it takes no releases", p.Status)
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" || len(key) > 128 {
		return fail(troy.Invalid, "Idempotency-Key has %d characters", len(key))
	}
	for _, x := range p.releases {
		if x.key == key {
			return answer{201, x.Release}, nil
		}
	}
	x := &doubleRelease{Release: client.Release{
		ID: uuid.New(), PipelineID: p.ID, ExpiresAt: time.Now().Add(time.Hour),
		Limits: client.Limits{Files: 100, FileBytes: 1 << 20, TotalBytes: 1 << 24},
	}, key: key, message: n.Message, files: n.Files, config: n.Config, strict: n.Strict}
	for i, f := range n.Files {
		if f.Size > x.Limits.FileBytes {
			return answer{}, troy.Errorf(troy.TooLarge, "the file %q has %d bytes; expected at most %d", f.Path, f.Size, x.Limits.FileBytes).At(fmt.Sprintf("files[%d].size", i))
		}
	}
	if len(n.Files) > 100 {
		return fail(troy.TooLarge, "the release has %d files; expected at most 100", len(n.Files))
	}
	if p.quota.Bytes != nil && *p.quota.Bytes == 1 {
		return fail(troy.OverQuota, "the files add 11 B to the 5.0 MiB that the pipeline stores; its quota is 1 B")
	}
	x.Missing = p.missing(n.Files)
	p.releases[x.ID] = x
	return answer{201, x.Release}, nil
}

func (p *doublePipeline) missing(files []site.File) []site.File {
	missing := []site.File{}
	seen := map[site.Digest]bool{}
	for _, f := range files {
		if !p.blobs[f.SHA256] && !seen[f.SHA256] {
			missing = append(missing, f)
		}
		seen[f.SHA256] = true
	}
	return missing
}

func (p *doublePipeline) release(r *http.Request) (*doubleRelease, error) {
	id, _ := uuid.Parse(r.PathValue("r"))
	if x, ok := p.releases[id]; ok {
		return x, nil
	}
	return nil, troy.Errorf(troy.NotFound, "release not found: %q", r.PathValue("r"))
}

func (d *double) showRelease(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.release(r)
	if err != nil {
		return answer{}, err
	}
	x.Missing = p.missing(x.files)
	return answer{200, x.Release}, nil
}

func (d *double) put(r *http.Request, p *doublePipeline) (answer, error) {
	if _, err := p.release(r); err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	digest := site.Digest(sha256.Sum256(b))
	if err != nil || digest.String() != r.PathValue("sha256") || r.ContentLength != int64(len(b)) {
		return fail(troy.Invalid, "the upload's SHA-256 is %s", digest)
	}
	if strings.HasPrefix(string(b), "refuse") {
		return fail(troy.TooLarge, "the server does not want this")
	}
	d.puts++
	p.blobs[digest] = true
	p.contents[digest] = b
	return answer{status: 204}, nil
}

// showRules compiles the rules of the release with the deployment's id.
func (d *double) showRules(r *http.Request, p *doublePipeline) (answer, error) {
	made, err := p.deployment(r.PathValue("d"))
	if err != nil {
		return answer{}, err
	}
	x, ok := p.releases[made.ID]
	if !ok {
		return answer{200, client.RulesReport{Report: rules.Report{Dialect: rules.Netlify, Problems: []rules.Problem{}}}}, nil
	}
	out, err := rules.FromTree(site.Manifest{Files: x.files}, func(f site.File) ([]byte, error) { return p.contents[f.SHA256], nil }, rules.Input{Config: x.config, Strict: x.strict})
	return answer{200, client.RulesReport{Report: out.Report, Compiled: true, Unlisted: out.Report.Omitted()}}, err
}

func (d *double) finalize(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.release(r)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		Publish    *bool
		ExpectLive string `json:"expect_live"`
		Preview    string
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if missing := p.missing(x.files); len(missing) > 0 {
		e := troy.Errorf(troy.Conflict, "%d files have not been uploaded", len(missing))
		for _, f := range missing {
			e.Details = append(e.Details, f.Path)
		}
		return answer{}, e
	}
	live := "none"
	if p.LiveDeploymentID != nil {
		live = p.LiveDeploymentID.String()
	}
	if body.ExpectLive != "" && body.ExpectLive != live {
		return fail(troy.Moved, "live is %s, not %s", live, body.ExpectLive)
	}
	x.Finalized = true
	kind := troy.Release
	if body.Preview != "" {
		kind, body.Publish = troy.Preview, new(bool)
	}
	made := p.deploy(x.ID, kind, x.message, body.Publish == nil || *body.Publish)
	if body.Preview != "" {
		made.Address = "https://d-" + strconv.FormatInt(made.Number, 10) + "--" + p.Slug + ".sites.test"
		p.preview(body.Preview, troy.ReleasePreview, made)
	}
	for _, f := range x.files {
		made.Files++
		made.Bytes += f.Size
	}
	return answer{202, *made}, nil
}
