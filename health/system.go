package health

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/internal/checkup"
	"github.com/troy-iaas/troy/queries"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// systemFor is how long a System is kept, so that frequent requests cost
	// nothing.
	systemFor = 10 * time.Second
	// examineTime bounds the checks of a System.
	examineTime = 3 * time.Second
	// sweepLate is the age of the last sweep from which on something is wrong.
	sweepLate = time.Minute
	// mostRunning is how many running tasks a System assigns to workers.
	mostRunning = 1000
	// mostInstallations is how many of them a System lists.
	mostInstallations = 100
)

// System describes an installation of Troy.
type System struct {
	At        time.Time     `json:"at"`
	Version   string        `json:"version"`
	Commit    string        `json:"commit,omitempty"`
	Go        string        `json:"go"`
	Schema    int64         `json:"schema"` // the newest migration that was applied
	SweptAt   time.Time     `json:"swept_at"`
	Redis     bool          `json:"redis"` // whether it answers
	Findings  []Finding     `json:"findings"`
	Workers   []Worker      `json:"workers"`
	Forges    []ForgeAccess `json:"forges"`
	SignIn    *SignIn       `json:"sign_in,omitempty"`
	Retention Retention     `json:"retention"`
}

// Finding is the result of a check. Its remedy is empty if all is well.
type Finding struct {
	Part   string `json:"part"`
	Said   string `json:"said"`
	Remedy string `json:"remedy,omitempty"`
}

// Worker is a process that runs the workers.
type Worker struct {
	ID         uuid.UUID `json:"id"`
	Host       string    `json:"host"`
	PID        int64     `json:"pid"`
	Version    string    `json:"version"`
	Slots      int32     `json:"slots"`
	BuildSlots int32     `json:"build_slots"`
	StartedAt  time.Time `json:"started_at"`
	SeenAt     time.Time `json:"seen_at"`
	Silent     bool      `json:"silent"` // it was killed, or can't reach Postgres
	Running    []Running `json:"running"`
}

// Running is a task that a worker carries out.
type Running struct {
	Kind     string    `json:"kind"`
	Subject  uuid.UUID `json:"subject_id"`
	Pipeline string    `json:"pipeline,omitempty"`
	Number   int64     `json:"number,omitempty"` // of the deployment
}

// ForgeAccess is an installation at a forge.
type ForgeAccess struct {
	Provider  string    `json:"provider"`
	Account   string    `json:"account"`
	ID        string    `json:"id"`
	State     string    `json:"state"`
	ChangedAt time.Time `json:"changed_at"`
}

// SignIn is the issuer with which people sign in.
type SignIn struct {
	Issuer  string  `json:"issuer"`
	Answers bool    `json:"answers"`
	Groups  []Group `json:"groups"`
}

// Group is a group that may use Troy.
type Group struct {
	Name      string           `json:"name"`
	Role      credentials.Role `json:"role"`
	Pipelines []string         `json:"pipelines"` // null means all
}

// Retention is what Troy keeps, and for how long.
type Retention struct {
	Deployments         int   `json:"deployments"` // of each pipeline, besides the live one
	CarryAssetsSeconds  int64 `json:"carry_assets_seconds"`
	UploadsValidSeconds int64 `json:"uploads_valid_seconds"`
	DeliveriesDays      int   `json:"deliveries_days"`
}

// Tell receives a finding of a check.
type Tell = checkup.Tell

// Overseer describes an installation for people.
type Overseer struct {
	DB        queries.DBTX
	Issuer    *credentials.Issuer // nil if there is none
	Retention Retention
	// Examine are the checks that are cheap enough for a page. Each runs at the
	// same time as the others.
	Examine []func(context.Context, Tell)

	mu   sync.Mutex
	last System
}

// Build returns the version of the running program, and its commit if known.
func Build() (version, commit string) {
	version = "devel"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		version = v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			commit = setting.Value[:min(12, len(setting.Value))]
		}
	}
	return version, commit
}

// Look describes the installation as it was within the last seconds.
func (o *Overseer) Look(ctx context.Context) (System, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.last.At.IsZero() && time.Since(o.last.At) < systemFor {
		return o.last, nil
	}
	// A visitor who leaves must not end it for those who wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*examineTime)
	defer cancel()
	s, err := o.read(ctx)
	if err != nil {
		return System{}, err
	}
	o.last = s
	return s, nil
}

func (o *Overseer) read(ctx context.Context) (s System, err error) {
	q := queries.New(o.DB)
	s = System{At: time.Now().UTC(), Go: runtime.Version(), Retention: o.Retention, Forges: []ForgeAccess{}}
	s.Version, s.Commit = Build()
	if s.Schema, err = schema.Version(ctx, o.DB); err != nil {
		return s, fmt.Errorf("read the schema's version: %w", err)
	}
	bell, err := q.BellGet(ctx)
	if err != nil {
		return s, fmt.Errorf("read when the last sweep was: %w", err)
	}
	swept := time.Duration(min(bell.SweptSecondsAgo, 1e9) * float64(time.Second))
	s.SweptAt = s.At.Add(-swept)
	if s.Workers, err = workersOf(ctx, q); err != nil {
		return s, err
	}
	installations, err := q.ForgeAccessList(ctx, mostInstallations)
	if err != nil {
		return s, fmt.Errorf("list the installations at forges: %w", err)
	}
	for _, i := range installations {
		s.Forges = append(s.Forges, ForgeAccess{i.Provider, i.Account, i.ID, i.State, i.ChangedAt.UTC()})
	}
	s.Findings = o.examine(ctx)
	s.Redis = true
	for _, f := range s.Findings {
		s.Redis = s.Redis && (f.Part != "Redis" || f.Remedy == "")
	}
	s.Findings = append(s.Findings, work(s.Workers, swept))
	if o.Issuer != nil {
		s.SignIn = o.signIn(ctx)
		if !s.SignIn.Answers {
			s.Findings = append(s.Findings, Finding{"sign-in", o.Issuer.Name() + " does not answer", "check TROY_OIDC_ISSUER and the way there; until then, people sign in with tokens"})
		}
	}
	return s, nil
}

// work says whether work is carried out.
func work(workers []Worker, swept time.Duration) Finding {
	alive := 0
	for _, w := range workers {
		if !w.Silent {
			alive++
		}
	}
	switch {
	case alive == 0:
		return Finding{"workers", "no worker runs", "start `troyd work`: until then, what is requested waits"}
	case swept > 365*24*time.Hour:
		return Finding{"sweep", "there was none yet", "wait some seconds; if it stays, look at the log of `troyd work` for lines with \"sweep\""}
	case swept > sweepLate:
		return Finding{"sweep", fmt.Sprintf("the last one was %s ago", swept.Round(time.Second)), "look at the log of `troyd work` for lines with \"sweep\""}
	}
	return Finding{"workers", fmt.Sprintf("%d alive; the last sweep was %s ago", alive, swept.Round(time.Second)), ""}
}

func (o *Overseer) signIn(ctx context.Context) *SignIn {
	s := &SignIn{Issuer: o.Issuer.Name(), Answers: o.Issuer.Look(ctx) == nil}
	for _, g := range o.Issuer.Groups() {
		s.Groups = append(s.Groups, Group(g))
	}
	return s
}

// examine runs the checks. One that takes too long is a finding itself.
func (o *Overseer) examine(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	found := make([][]Finding, len(o.Examine))
	var wg sync.WaitGroup
	for i, check := range o.Examine {
		wg.Go(func() {
			check(ctx, func(f checkup.Finding) { found[i] = append(found[i], Finding(f)) })
		})
	}
	wg.Wait()
	all := []Finding{}
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

func workersOf(ctx context.Context, q *queries.Queries) ([]Worker, error) {
	rows, err := q.WorkerList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	held, err := q.QueueRunning(ctx, queries.QueueRunningParams{Kinds: tasks.Kinds(), PageLimit: mostRunning})
	if err != nil {
		return nil, fmt.Errorf("list the running work: %w", err)
	}
	type task struct {
		kind    string
		subject uuid.UUID
	}
	known := map[task]queries.QueueRunningRow{}
	for _, h := range held {
		known[task{h.Kind, h.SubjectID}] = h
	}
	list := make([]Worker, 0, len(rows))
	for _, r := range rows {
		w := Worker{
			ID: r.ID, Host: r.Host, PID: r.Pid, Version: r.Version, Slots: r.Slots, BuildSlots: r.BuildSlots,
			StartedAt: r.StartedAt.UTC(), SeenAt: r.SeenAt.UTC(), Silent: r.Silent, Running: []Running{},
		}
		var running []Running
		if err := json.Unmarshal(r.Running, &running); err != nil {
			return nil, fmt.Errorf("read what worker %s runs: %w", r.ID, err)
		}
		for _, t := range running {
			// What it no longer holds has ended since.
			if h, ok := known[task{t.Kind, t.Subject}]; ok && !r.Silent {
				w.Running = append(w.Running, Running{t.Kind, t.Subject, h.Slug, h.DeploymentNumber})
			}
		}
		list = append(list, w)
	}
	return list, nil
}
