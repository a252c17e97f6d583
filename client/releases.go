package client

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// NewRelease describes the release to begin.
type NewRelease struct {
	Files   []site.File `json:"files"`
	Message string      `json:"message,omitempty"`
	// Config are the rules in the site's configuration files (rules.NewConfig).
	Config []rules.ConfigFile `json:"config,omitempty"`
	// Strict keeps the deployment from going live if its rules have problems.
	Strict bool `json:"strict,omitempty"`
	// Base, if not nil, probably has the files of the live deployment, sorted by
	// path, as Files then are. Only what differs from it is sent; if the live
	// deployment has others, all files are.
	Base *site.Manifest `json:"-"`
}

// Finalize are the options of FinalizeRelease.
type Finalize struct {
	// NoPublish keeps the deployment from going live. It can be promoted later.
	NoPublish bool
	// ExpectLive, if not empty, is the id of the deployment that must be live,
	// or "none". If another one is live, the error is of kind Moved.
	ExpectLive string
	// Preview, if not empty, is the label of the preview that is to show the
	// deployment. The site does not change then.
	Preview string
}

// BeginRelease declares a release and returns its missing files. key, of at
// most 128 characters, makes the call idempotent: the same key and files return
// the same release.
func (c *Client) BeginRelease(ctx context.Context, pipeline, key string, n NewRelease) (Release, error) {
	var r Release
	path, err := pipelinePath(pipeline)
	if err != nil {
		return r, err
	}
	begin := func(k call, err error) error {
		if err != nil {
			return err
		}
		k.patient = true
		if key != "" {
			k.header.Set("Idempotency-Key", key)
			k.repeatable = true
		}
		return c.do(ctx, k, &r)
	}
	if body, ok := n.differences(); ok {
		err := begin(jsonCall(http.MethodPost, path+"/releases", body))
		if !asksForList(err) {
			return r, err
		}
	}
	err = begin(manifestCall(path+"/releases", n))
	if r.AllMissing {
		r.Missing = oncePerDigest(n.Files)
	}
	return r, err
}

// oncePerDigest returns the first file with each digest.
func oncePerDigest(files []site.File) []site.File {
	once := make([]site.File, 0, len(files))
	listed := make(map[site.Digest]struct{}, len(files))
	for _, f := range files {
		if _, again := listed[f.SHA256]; !again {
			listed[f.SHA256] = struct{}{}
			once = append(once, f)
		}
	}
	return once
}

// asksForList reports whether a server can't take differences: an older one does
// not know the fields, the live deployment may be another one, or its manifest
// damaged. Whatever else is wrong, the answer to the list says it.
func asksForList(err error) bool {
	e, ok := errors.AsType[*troy.Error](err)
	return ok && slices.Contains([]troy.ErrorKind{troy.Conflict, troy.Invalid, troy.TooLarge, troy.Internal}, e.Kind)
}

// differences returns the body of a release that says how its files differ from
// those of its base. It returns false if the whole list is not much longer.
func (n NewRelease) differences() (body map[string]any, ok bool) {
	if n.Base == nil {
		return nil, false
	}
	body = map[string]any{"message": n.Message, "strict": n.Strict}
	if len(n.Config) > 0 {
		body["config"] = n.Config
	}
	if slices.Equal(n.Base.Files, n.Files) {
		body["manifest"] = n.Base.Digest()
		return body, true
	}
	e := site.Differences(n.Base.Files, n.Files)
	body["base"] = n.Base.Digest()
	if len(e.Put) > 0 {
		body["files"] = e.Put
	}
	if len(e.Removed) > 0 {
		body["removed"] = e.Removed
	}
	return body, len(e.Put)+len(e.Removed) <= len(n.Files)/2
}

// Release returns a release with the files that are still missing.
func (c *Client) Release(ctx context.Context, pipeline string, id uuid.UUID) (Release, error) {
	var r Release
	path, err := releasePath(pipeline, id)
	if err != nil {
		return r, err
	}
	return r, c.get(ctx, path, nil, &r)
}

// FinalizeRelease turns a release into the deployment with its id. If files are
// missing, the error is of kind Conflict and its Details list them.
func (c *Client) FinalizeRelease(ctx context.Context, pipeline string, id uuid.UUID, f Finalize) (Deployment, error) {
	var d Deployment
	path, err := releasePath(pipeline, id)
	if err != nil {
		return d, err
	}
	body := map[string]any{"publish": !f.NoPublish}
	if f.Preview != "" {
		body = map[string]any{"preview": f.Preview}
	}
	if f.ExpectLive != "" {
		body["expect_live"] = f.ExpectLive
	}
	k, err := jsonCall(http.MethodPost, path+"/finalize", body)
	if err != nil {
		return d, err
	}
	// Finalizing again returns the same deployment.
	k.repeatable, k.patient = true, true
	return d, c.do(ctx, k, &d)
}

func releasePath(pipeline string, id uuid.UUID) (string, error) {
	p, err := pipelinePath(pipeline)
	return p + "/releases/" + id.String(), err
}

// putCall returns the call that sends one file.
func putCall(release string, f site.File) call {
	return call{
		method:     http.MethodPut,
		path:       release + "/files/" + f.SHA256.String(),
		header:     http.Header{"Content-Type": {"application/octet-stream"}},
		size:       f.Size,
		repeatable: true,
		upload:     true,
		patient:    true,
	}
}
