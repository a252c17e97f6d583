package web

import (
	"cmp"
	"context"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/dashboard"
)

// dashboard makes the pages, whose requests are logged like those of the API.
func (s *server) dashboard(host string) (*dashboard.Dashboard, error) {
	return dashboard.New(dashboard.Config{Host: host, URL: s.cfg.URL, SiteURL: s.siteURL, Limits: s.cfg.Limits, Proxies: s.cfg.Proxies, AccessLogs: s.cfg.AccessLogs, Functions: s.deps.Functions, EdgeAddresses: s.cfg.EdgeAddresses}, dashboard.Deps{
		DB: s.deps.DB, Intake: s.deps.Intake, Tokens: s.tokens, Sessions: s.sessions, Issuer: s.deps.Issuer, System: s.deps.System, Now: s.now, Files: s.trees.files, Repositories: s.repositories.find, Inspect: s.repositories.inspect, Stopping: s.deps.Stopping, Log: s.deps.Log,
		SetPassword: func(ctx context.Context, p queries.Pipeline, name, text, actor string) error {
			return s.setAccessPassword(ctx, p, name, typedPassword{text: text}, actor)
		}, Variables: s.variablesShown,
		NewHook: func(ctx context.Context, pipeline uuid.UUID, name, branch, actor string) (string, error) {
			_, address, err := s.newDeployHook(ctx, pipeline, name, branch, actor)
			return address, err
		},
		AddNotifier: s.addNotifier, RotateNotifier: s.rotateNotifier, Traffic: s.traffic, DomainProof: s.deps.DomainProof,
		SetVariable: func(ctx context.Context, pipeline uuid.UUID, name, of, value string, hidden bool) error {
			_, err := s.setVariable(ctx, pipeline, name, of, &value, hidden)
			return err
		},
		PausedInRedis: func(ctx context.Context) ([]string, error) { return tasks.Paused(ctx, s.deps.Redis) },
		Note: func(ctx context.Context, n dashboard.Note) {
			e := note(ctx)
			e.route, e.actor = cmp.Or(n.Route, e.route), cmp.Or(n.Actor, e.actor)
			e.pipeline, e.deployment = cmp.Or(n.Pipeline, e.pipeline), cmp.Or(n.Deployment, e.deployment)
			if n.Err != nil {
				e.err = n.Err
			}
		},
	})
}

// variablesShown lists the variables of a pipeline for a page.
func (s *server) variablesShown(ctx context.Context, pipeline uuid.UUID) ([]dashboard.Variable, error) {
	list, err := s.variablesOf(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	out := make([]dashboard.Variable, 0, len(list))
	for _, v := range list {
		out = append(out, dashboard.Variable{Name: v.Name, Context: v.Context, Secret: v.Secret, Value: deref(v.Value), ChangedAt: v.ChangedAt, Problem: v.Problem})
	}
	return out, nil
}
