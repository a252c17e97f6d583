package main

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// preview makes a preview, or finds it, with a new deployment.
func (p *doublePipeline) preview(label string, kind troy.PreviewKind, x *client.Deployment) *client.Preview {
	now := time.Now()
	i := slices.IndexFunc(p.previews, func(v client.Preview) bool { return v.Label == label })
	if i < 0 {
		p.previews = append(p.previews, client.Preview{Label: label, Kind: kind, CreatedAt: now, Trusted: true})
		i = len(p.previews) - 1
	}
	v := &p.previews[i]
	expires := now.Add(14 * 24 * time.Hour)
	v.Host = label + "--" + p.Slug + ".sites.test"
	v.URL = "https://" + v.Host
	v.PushedAt, v.ExpiresAt, v.Author, v.Title, v.Deployment = now, &expires, "ada", x.Message, x.Number
	return v
}

// seen updates a preview from its newest deployment.
func (p *doublePipeline) seen(v *client.Preview) client.Preview {
	if v.Deployment == 0 {
		v.State = troy.PreviewNeedsApproval
		v.StateName = v.State.String()
		return *v
	}
	x := p.deployments[v.Deployment-1]
	switch {
	case v.ClosedAt != nil:
		v.State = troy.PreviewRemoved
	case x.State == troy.Succeeded:
		v.State, v.Shown, v.ShownAt = troy.PreviewReady, x.Number, x.FinishedAt
	case x.State.Ended():
		v.State, v.Cause = troy.PreviewFailed, x.Cause
	default:
		v.State = troy.PreviewState(x.State)
	}
	v.StateName = v.State.String()
	return *v
}

func (d *double) listPreviews(_ *http.Request, p *doublePipeline) (answer, error) {
	list := []client.Preview{}
	for i := range p.previews {
		if p.previews[i].ClosedAt == nil {
			list = append(list, p.seen(&p.previews[i]))
		}
	}
	return answer{200, map[string]any{"previews": list}}, nil
}

func (d *double) onPreview(status int, change func(p *doublePipeline, v *client.Preview) error) func(*http.Request, *doublePipeline) (answer, error) {
	return func(r *http.Request, p *doublePipeline) (answer, error) {
		for i := range p.previews {
			if v := &p.previews[i]; v.Label == r.PathValue("label") {
				if err := change(p, v); err != nil {
					return answer{}, err
				}
				return answer{status, p.seen(v)}, nil
			}
		}
		return fail(troy.NotFound, "the pipeline %s has no preview %s", p.Slug, r.PathValue("label"))
	}
}

func (d *double) createPreview(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct{ Branch string }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if err := troy.CheckBranch(body.Branch); err != nil {
		return answer{}, err
	}
	x := p.deploy(uuid.New(), troy.Preview, "a change of "+body.Branch, false)
	v := p.preview(troy.BranchLabel(body.Branch, p.Slug), troy.BranchPreview, x)
	v.Branch, v.Commit = body.Branch, strings.Repeat("a", 40)
	if body.Branch == "eve/topic" { // stands for a pull request
		v.Host = "pr-7--" + p.Slug + ".sites.test"
		v.URL = "https://" + v.Host
		v.Label, v.Kind, v.PullRequest, v.Trusted, v.Deployment, v.Commit = "pr-7", troy.PullRequestPreview, 7, false, 0, strings.Repeat("7", 40)
		return fail(troy.Conflict, "it is the branch of a pull request")
	}
	return answer{202, p.seen(v)}, nil
}

// approvePreview approves the stranger's commit that createPreview made.
func (d *double) approvePreview(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct{ Commit string }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	return d.onPreview(202, func(_ *doublePipeline, v *client.Preview) error {
		switch {
		case v.Trusted:
			return troy.Errorf(troy.Conflict, "the preview %s has no commit that needs an approval", v.Label)
		case body.Commit != v.Commit:
			return troy.Errorf(troy.Moved, "the newest commit is %s; approve that one after you have read it", v.Commit).At("commit")
		}
		v.Deployment = p.deploy(uuid.New(), troy.Preview, v.Title, false).Number
		return nil
	})(r, p)
}

func (d *double) promotePreview(r *http.Request, p *doublePipeline) (answer, error) {
	for i := range p.previews {
		if v := &p.previews[i]; v.Label == r.PathValue("label") {
			if p.seen(v); v.Shown == 0 {
				return fail(troy.Conflict, "the preview %s shows nothing yet, so nothing can be promoted", v.Label)
			}
			return p.again(troy.Promotion, p.deployments[v.Shown-1].ID)
		}
	}
	return fail(troy.NotFound, "the pipeline %s has no preview %s", p.Slug, r.PathValue("label"))
}

func deleted(_ *doublePipeline, v *client.Preview) error {
	now := time.Now()
	v.ClosedAt, v.ExpiresAt, v.Cause, v.Shown = &now, nil, "deleted by token ci", 0
	return nil
}

func pinned(yes bool) func(*doublePipeline, *client.Preview) error {
	return func(_ *doublePipeline, v *client.Preview) error {
		if v.ClosedAt != nil {
			return troy.Errorf(troy.Conflict, "the preview %s was deleted", v.Label)
		}
		expires := time.Now().Add(14 * 24 * time.Hour)
		v.Pinned, v.ExpiresAt = yes, nil
		if !yes {
			v.ExpiresAt = &expires
		}
		return nil
	}
}

func unchanged(*doublePipeline, *client.Preview) error { return nil }
