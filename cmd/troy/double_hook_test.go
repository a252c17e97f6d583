package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func (d *double) listHooks(_ *http.Request, p *doublePipeline) (answer, error) {
	return answer{200, map[string]any{"hooks": append([]client.DeployHook{}, p.hooks...)}}, nil
}

func (d *double) createHook(r *http.Request, p *doublePipeline) (answer, error) {
	var n struct{ Name, Branch string }
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	if slices.ContainsFunc(p.hooks, func(h client.DeployHook) bool { return h.Name == n.Name }) {
		return answer{}, troy.Errorf(troy.Conflict, "the pipeline has a deploy hook %q; delete it or choose another name", n.Name).At("name")
	}
	h := client.DeployHook{ID: uuid.New(), Name: n.Name, Branch: n.Branch, CreatedAt: time.Now(), CreatedBy: "token ada"}
	p.hooks = append(p.hooks, h)
	h.URL = "https://troy.example.com/hooks/deploy/troyhook_secret"
	return answer{201, h}, nil
}

func (d *double) deleteHook(r *http.Request, p *doublePipeline) (answer, error) {
	before := len(p.hooks)
	p.hooks = slices.DeleteFunc(p.hooks, func(h client.DeployHook) bool { return h.ID.String() == r.PathValue("hook") })
	if len(p.hooks) == before {
		return fail(troy.NotFound, "the pipeline has no such deploy hook")
	}
	return answer{204, nil}, nil
}

func (d *double) getSchedule(_ *http.Request, p *doublePipeline) (answer, error) {
	if p.Schedule == nil {
		return fail(troy.NotFound, "the pipeline has no schedule")
	}
	return answer{200, p.Schedule}, nil
}

func (d *double) setSchedule(r *http.Request, p *doublePipeline) (answer, error) {
	var n struct{ Cron, Zone string }
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	if n.Cron == "0 0 31 2 *" {
		return answer{}, troy.Errorf(troy.Invalid, "%q never comes: no month that it names has such a day", n.Cron).At("cron")
	}
	p.Schedule = &client.Schedule{Cron: n.Cron, Zone: n.Zone, NextAt: time.Now().Add(14 * time.Hour), SetBy: "token ada", SetAt: time.Now()}
	return answer{200, p.Schedule}, nil
}

func (d *double) removeSchedule(r *http.Request, p *doublePipeline) (answer, error) {
	if p.Schedule == nil {
		return d.getSchedule(r, p)
	}
	p.Schedule = nil
	return answer{204, nil}, nil
}

func (d *double) listCaches(_ *http.Request, p *doublePipeline) (answer, error) {
	list := []client.Cache{}
	if !p.cleared {
		list = append(list, client.Cache{Scope: "site", Manager: "npm", Bytes: 120 << 20, UsedAt: time.Now(), Copies: 1},
			client.Cache{Scope: "branch feature/a-rather-long-name-of-a-branch-for-a-table", Manager: "pnpm", Bytes: 3 << 20, UsedAt: time.Now(), Copies: 2})
	}
	return answer{200, map[string]any{"caches": list}}, nil
}

func (d *double) clearCaches(_ *http.Request, p *doublePipeline) (answer, error) {
	p.cleared = true
	return answer{204, nil}, nil
}
