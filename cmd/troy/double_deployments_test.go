package main

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func (p *doublePipeline) golive(x *client.Deployment) {
	for _, other := range p.deployments {
		other.Live, other.URL = false, ""
	}
	x.Live, x.URL = true, p.URL
	p.LiveDeploymentID = &x.ID
	p.Live = &client.Brief{ID: x.ID, Number: x.Number, Kind: x.Kind, State: x.State, Commit: x.Commit, Message: x.Message, By: x.Actor, Since: time.Now()}
	p.wasLive = append(p.wasLive, x.ID)
	p.become(troy.Deployed, "", x.ID)
}

func (d *double) rollback(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct{ Deployment *uuid.UUID }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Deployment == nil {
		if len(p.wasLive) < 2 {
			return fail(troy.Conflict, "nothing was live before")
		}
		body.Deployment = &p.wasLive[len(p.wasLive)-2]
	}
	return p.again(troy.Rollback, *body.Deployment)
}

func (d *double) purge(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct{ Path string }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Path != "" && body.Path != "assets/" {
		return fail(troy.NotFound, "the double knows assets/ only, not %q", body.Path)
	}
	return answer{202, p.Pipeline}, nil
}

func (d *double) promote(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct{ Deployment uuid.UUID }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	return p.again(troy.Promotion, body.Deployment)
}

func (p *doublePipeline) again(kind troy.DeploymentKind, id uuid.UUID) (answer, error) {
	source, err := p.deployment(id.String())
	if err != nil {
		return answer{}, err
	}
	if source.State != troy.Succeeded {
		return fail(troy.Conflict, "deployment %d is %s; only one that Succeeded can be published", source.Number, source.State)
	}
	x := p.deploy(uuid.New(), kind, "", true)
	x.SourceDeploymentID, x.Files, x.Bytes = &source.ID, source.Files, source.Bytes
	return answer{202, *x}, nil
}
