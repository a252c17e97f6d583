package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func (d *double) system(*http.Request) (answer, error) {
	now := time.Now()
	return answer{200, client.System{
		At: now, Version: "v1.2.3", Commit: "0123456789ab", Go: "go1.26", Schema: 22, SweptAt: now, Redis: false,
		Findings: []client.Finding{
			{Part: "Postgres", Said: "answers, and its schema is this version's"},
			{Part: "Redis", Said: "connection refused \x1b]0;evil\x07", Remedy: "start it, or set TROY_REDIS_URL to its address"},
		},
		Workers: []client.Worker{
			{ID: uuid.New(), Host: "box", PID: 7, Version: "v1.2.3", Slots: 10, BuildSlots: 2, StartedAt: now.Add(-time.Hour), SeenAt: now, Running: []client.Running{
				{Kind: "deployment:build", Pipeline: "blog", Number: 7}, {Kind: "pipeline:teardown-start", Pipeline: "old"},
			}},
			{ID: uuid.New(), Host: "gone", PID: 8, Version: "v1.2.2", StartedAt: now.Add(-2 * time.Hour), SeenAt: now.Add(-time.Hour), Silent: true},
		},
		Forges:    []client.ForgeAccess{{Provider: "github", Account: "team", ID: "42", State: "suspended", ChangedAt: now.Add(-time.Hour)}},
		SignIn:    &client.SignIn{Issuer: "id.example.com", Answers: true, Groups: []client.Group{{Name: "platform", Role: "admin"}}},
		Retention: client.Retention{Deployments: 10, CarryAssetsSeconds: 7 * 86400, UploadsValidSeconds: 86400, DeliveriesDays: 30},
	}}, nil
}

func (d *double) users(r *http.Request) (answer, error) {
	return page("users", slices.DeleteFunc([]client.User{
		{ID: uuid.MustParse("0190a000-0000-7000-8000-0000000000ad"), Name: "ada@example.com", FullName: "Ada", Email: "ada@example.com", Role: "admin", Groups: []string{"platform"}, SignedInAt: time.Now()},
		{ID: uuid.MustParse("0190a000-0000-7000-8000-0000000000b0"), Name: "Bob (bob-1)", Role: "deployer", Pipelines: []string{"blog", "docs"}, Groups: []string{"web"}, SignedInAt: time.Now().Add(-2 * time.Hour)},
	}, func(u client.User) bool { return u.ID == d.forgotten }), r)
}

func (d *double) userForget(r *http.Request) (answer, error) {
	d.forgotten = uuid.MustParse(r.PathValue("id"))
	return answer{204, nil}, nil
}

func (d *double) storage(r *http.Request) (answer, error) {
	return page("storage", []client.Storage{
		{Pipeline: "blog", Name: "Blog", Deployments: 3, Files: 1200, Bytes: 5 << 20, UsedFiles: 900, UsedBytes: 2 << 20}, {Pipeline: "old", Name: "Old", Deployments: 1, Files: 2, Bytes: 700},
	}, r)
}

// The double has sessions until this one is revoked.
var onlySession = strings.Repeat("0123456789abcdef", 4)

func (d *double) sessionList(r *http.Request) (answer, error) {
	list := []client.Session{}
	if !d.signedOut {
		now := time.Now()
		list = append(list, client.Session{ID: onlySession, Kind: "user", Name: "ada@example.com", Role: "admin", CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(23*time.Hour + 30*time.Minute), Browser: "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0 Safari/537.36"})
		for i := range 5 {
			list = append(list, client.Session{ID: strings.Repeat(fmt.Sprint("e", i), 32), Kind: "token", Name: fmt.Sprint("ci-", i), Role: "viewer"})
		}
	}
	return page("sessions", list, r)
}

func (d *double) sessionRevoke(r *http.Request) (answer, error) {
	if d.signedOut || r.PathValue("id") != onlySession {
		return fail(troy.NotFound, "the session has ended already")
	}
	d.signedOut = true
	return answer{204, nil}, nil
}

// doubleStored is what each pipeline of the double stores, in bytes.
const doubleStored = 5 << 20

func (d *double) usage(_ *http.Request, p *doublePipeline) (answer, error) {
	counted := time.Now().Add(-time.Hour)
	u := client.Usage{PipelineID: p.ID, Bytes: doubleStored, Files: 1200, OpenReleases: 1, CountedAt: &counted, Quota: client.Quota{Bytes: 1 << 30, OpenReleases: 50}, OwnQuota: p.quota}
	for _, limit := range []struct{ own, of *int64 }{{p.quota.Bytes, &u.Quota.Bytes}, {p.quota.Files, &u.Quota.Files}, {p.quota.OpenReleases, &u.Quota.OpenReleases}} {
		if limit.own != nil {
			*limit.of = *limit.own
		}
	}
	return answer{200, u}, nil
}

func (d *double) setQuota(r *http.Request, p *doublePipeline) (answer, error) {
	if err := decode(r, &p.quota); err != nil {
		return answer{}, err
	}
	return d.usage(r, p)
}

func (d *double) prune(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Keep   int  `json:"keep"`
		DryRun bool `json:"dry_run"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Keep != 0 && body.Keep < 10 {
		return answer{}, troy.Errorf(troy.Invalid, "it is %d; expected from 10 to 10000", body.Keep).At("keep")
	}
	out := client.Pruning{DryRun: body.DryRun, Deployments: []client.Pruned{}}
	if !p.pruned {
		out.Files, out.Bytes = 12, 3<<20
		for n := int64(2); n > 0; n-- {
			out.Deployments = append(out.Deployments, client.Pruned{Number: n, Kind: troy.Release, State: troy.Succeeded, Message: "first\x1b[31m tries", Files: 8, Bytes: 2 << 20, CreatedAt: time.Now().Add(-48 * time.Hour)})
		}
	}
	p.pruned = p.pruned || !body.DryRun
	return answer{map[bool]int{true: 200, false: 202}[body.DryRun], out}, nil
}
