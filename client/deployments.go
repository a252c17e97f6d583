package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site/rules"
)

const (
	pollFirst = 10 * time.Millisecond
	pollMost  = 2 * time.Second
	// silence is how long Wait and the calls of a release tolerate a server
	// that does not answer. It exceeds the duration of an upgrade.
	silence = 2 * time.Minute
)

// Deployments yields a pipeline's deployments, newest first. It stops after the
// first error.
func (c *Client) Deployments(ctx context.Context, pipeline string) iter.Seq2[Deployment, error] {
	type page struct {
		Deployments []Deployment `json:"deployments"`
		Next        string       `json:"next"`
	}
	return pages(func(after string) ([]Deployment, string, error) {
		var p page
		path, err := pipelinePath(pipeline)
		if err == nil {
			err = c.get(ctx, path+"/deployments", pageQuery(nil, after), &p)
		}
		return p.Deployments, p.Next, err
	})
}

// Deployment returns one deployment.
func (c *Client) Deployment(ctx context.Context, pipeline string, id uuid.UUID) (Deployment, error) {
	var d Deployment
	path, err := pipelinePath(pipeline)
	if err != nil {
		return d, err
	}
	return d, c.get(ctx, path+"/deployments/"+id.String(), nil, &d)
}

// RulesReport is the report on the rules of a deployment.
type RulesReport struct {
	rules.Report
	// Compiled is false until the deployment is being published.
	Compiled bool `json:"compiled"`
	// Unlisted is the number of problems that are counted but not listed.
	Unlisted int `json:"omitted"`
}

// DeploymentRules returns the report on the rules of a deployment.
func (c *Client) DeploymentRules(ctx context.Context, pipeline string, id uuid.UUID) (RulesReport, error) {
	var r RulesReport
	path, err := pipelinePath(pipeline)
	if err != nil {
		return r, err
	}
	return r, c.get(ctx, path+"/deployments/"+id.String()+"/rules", nil, &r)
}

// DeploymentByNumber returns the deployment of a pipeline with this number.
func (c *Client) DeploymentByNumber(ctx context.Context, pipeline string, number int64) (Deployment, error) {
	var d Deployment
	path, err := pipelinePath(pipeline)
	if err != nil {
		return d, err
	}
	return d, c.get(ctx, fmt.Sprintf("%s/deployments/%d", path, number), nil, &d)
}

// CancelDeployment stops a deployment that has not gone live.
func (c *Client) CancelDeployment(ctx context.Context, pipeline string, id uuid.UUID) (Deployment, error) {
	return c.newDeployment(ctx, pipeline, "/deployments/"+id.String()+"/cancel", nil)
}

// Rollback publishes an earlier deployment again: the one with this id or, for
// uuid.Nil, the previous live one. It returns the new deployment.
func (c *Client) Rollback(ctx context.Context, pipeline string, to uuid.UUID) (Deployment, error) {
	body := map[string]any{}
	if to != uuid.Nil {
		body["deployment"] = to
	}
	return c.newDeployment(ctx, pipeline, "/rollback", body)
}

// Promote publishes any deployment that succeeded. It returns the new
// deployment.
func (c *Client) Promote(ctx context.Context, pipeline string, id uuid.UUID) (Deployment, error) {
	return c.newDeployment(ctx, pipeline, "/promote", map[string]any{"deployment": id})
}

func (c *Client) newDeployment(ctx context.Context, pipeline, action string, body any) (Deployment, error) {
	var d Deployment
	path, err := pipelinePath(pipeline)
	if err != nil {
		return d, err
	}
	return d, c.post(ctx, path+action, body, &d)
}

// Wait polls a deployment until it has ended, successfully or not: see its
// State. It calls seen, if not nil, with each result. It tolerates a server
// that is away for less than two minutes.
func (c *Client) Wait(ctx context.Context, pipeline string, id uuid.UUID, seen func(Deployment)) (Deployment, error) {
	answered := time.Now()
	pause := pollFirst
	for {
		d, err := c.Deployment(ctx, pipeline, id)
		switch {
		case ctx.Err() != nil:
			return d, fmt.Errorf("wait for deployment %s: %w", id, context.Cause(ctx))
		case err == nil:
			answered = time.Now()
			if seen != nil {
				seen(d)
			}
			if d.State.Ended() {
				return d, nil
			}
		case troy.KindOf(err) != troy.Unavailable || time.Since(answered) > silence:
			return d, fmt.Errorf("wait for deployment %s: %w", id, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return d, fmt.Errorf("wait for deployment %s: %w", id, context.Cause(ctx))
		case <-timer.C:
		}
		// Waiting is a sixth of the duration at most.
		pause = min(pause*6/5, pollMost)
	}
}
