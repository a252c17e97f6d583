// Package intake records requests from outside: an app event, a complete
// release, an operator's action. Each is one function and one transaction,
// followed by a ring of the workers' queue; the workers do the work itself.
// Web, the queues' consumers and `troyd enqueue` call it with verified input.
package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/queries"
)

// Config is the operator's settings.
type Config struct {
	// SitesSuffix is the suffix of a site's host: the slug "blog" is served at
	// "blog." + SitesSuffix.
	SitesSuffix string
	// AutoProvision requests provisioning for the pipelines that app events
	// make.
	AutoProvision bool
	// CarryAssets is how long the hashed assets of earlier deployments stay
	// reachable, and so how long a purge applies.
	CarryAssets time.Duration
	// DeleteGrace is how long the deletion of a pipeline by a person can be
	// undone. 0 means that it begins at once.
	DeleteGrace time.Duration
	// NoPasswords says why sites can't have passwords where this installation
	// serves them; "" means that they can.
	NoPasswords string
	// OwnHosts are the hosts of Troy itself, which can't be custom domains.
	OwnHosts []string
	// NoDomains says why sites can't have custom domains where this
	// installation serves them; "" means that they can.
	NoDomains string
	// PreviewSuffix is the suffix of the hosts of previews; "" means SitesSuffix.
	PreviewSuffix string
	// NoPreviews says why sites can't have previews where this installation
	// serves them; "" means that they can.
	NoPreviews string
	// PreviewKey makes a sealed key of a pipeline's previews for people who have
	// a session of the dashboard; nil means that nothing can be sealed.
	PreviewKey func(pipeline uuid.UUID) ([]byte, error)
	// NoSignedIn says why previews can't ask for such a session where this
	// installation serves them; "" means that they can.
	NoSignedIn string
	// PreviewsSignedIn means that the previews of new pipelines ask for one.
	PreviewsSignedIn bool
	// PreviewsExpire is how long a preview stays after its newest push; 0 means
	// the constant PreviewsExpire.
	PreviewsExpire time.Duration
	// Quota is what pipelines may store that have no limits of their own.
	Quota Quota
	// MaxPreviews is the maximum number of a pipeline's open previews; 0 means
	// the constant MaxPreviews.
	MaxPreviews int
	// BuildLimits are the most that pipelines may set for their builds.
	BuildLimits troy.BuildLimits
}

// Intake records requests. Its methods return *troy.Error for errors that a
// caller may read; any other error is a fault of Troy or its database.
type Intake struct {
	db     *pgxpool.Pool
	bell   *bell.Bell
	cfg    Config
	pushes *pushes
}

// New returns an Intake. It asks the bell to ring after each commit; the bell
// rings while its Run runs, and a short-lived process calls its Ring.
func New(db *pgxpool.Pool, b *bell.Bell, cfg Config) *Intake {
	in := &Intake{db: db, bell: b, cfg: cfg, pushes: newPushes(db)}
	in.pushes.in = in
	return in
}

// commit runs f in one transaction and rings after its commit.
func (in *Intake) commit(ctx context.Context, f func(tx pgx.Tx, q *queries.Queries) error) error {
	if err := transaction(ctx, in.db, f); err != nil {
		return err
	}
	in.ask("")
	return nil
}

// ask rings soon what was committed: the queue, whose work people wait for, at
// once, and the others a moment later. Without a queue, all are rung at once.
func (in *Intake) ask(first string) {
	if first == "" {
		in.bell.AskAny()
		return
	}
	in.bell.Ask(first)
	in.bell.AskSoon()
}

// locked locks a pipeline and runs f in one transaction. f sees everything that
// was committed before.
func (in *Intake) locked(ctx context.Context, id uuid.UUID, f func(q *queries.Queries, p queries.Pipeline) error) error {
	return in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		p, err := lock(ctx, q, id)
		if err != nil {
			return err
		}
		remember(ctx, id) // unless f sets it
		return f(q, p)
	})
}

// change is locked, and returns the pipeline after the change.
func (in *Intake) change(ctx context.Context, id uuid.UUID, f func(q *queries.Queries, p queries.Pipeline) error) (after queries.Pipeline, err error) {
	err = in.locked(ctx, id, func(q *queries.Queries, p queries.Pipeline) error {
		if err := f(q, p); err != nil {
			return err
		}
		after, err = q.PipelineGet(ctx, id)
		return err
	})
	return after, err
}

func lock(ctx context.Context, q *queries.Queries, id uuid.UUID) (queries.Pipeline, error) {
	p, err := q.PipelineLock(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, noPipeline(id)
	}
	if err != nil {
		return p, fmt.Errorf("lock pipeline %s: %w", id, err)
	}
	return p, nil
}

func noPipeline(id uuid.UUID) error {
	return troy.Errorf(troy.NotFound, "pipeline not found: %s", id)
}

// Action is an action on a pipeline.
type Action string

// The actions, as messages name them.
const (
	Provision        Action = "provisioning"
	Deploy           Action = "releases"
	Build            Action = "builds"
	Retrying         Action = "retries"
	GoBack           Action = "rollbacks"
	Promoting        Action = "promotions"
	Previewing       Action = "previews"
	Cancel           Action = "cancelling a deployment"
	Delete           Action = "deletion"
	Locking          Action = "locks"
	Configuring      Action = "changes to its configuration"
	Pruned           Action = "prunes"
	SettingVariables Action = "changes to its variables"
	Protecting       Action = "changes to who may see its site"
	Purging          Action = "purges"
	ChangingDomains  Action = "changes to its domains"
	ChangingTrusts   Action = "changes to its trust rules"
	Scheduling       Action = "changes to its schedule"
	ChangingHooks    Action = "changes to its deploy hooks"
	ClearingCache    Action = "clearing its build cache"
)

// Allowed lists the actions that a status allows.
func Allowed(s troy.Status) []Action {
	var allowed []Action
	if s.CanBecome(troy.ProvisionRequest) && !s.InDeletion() {
		allowed = append(allowed, Provision)
	}
	if !s.InDeletion() {
		allowed = append(allowed, Deploy, GoBack, Cancel)
	}
	if s.CanBecome(troy.ScheduledForDeletion) {
		allowed = append(allowed, Delete)
	}
	return allowed
}

// Refuse returns the Conflict for an action that the pipeline's status does not
// allow.
func Refuse(p queries.Pipeline, a Action) error {
	if p.DeleteDueAt != nil {
		return refuseDeleting(p, a)
	}
	allowed := Allowed(p.Status)
	if len(allowed) == 0 {
		return troy.Errorf(troy.Conflict, "the pipeline %s is %s%s, which does not allow %s; wait for the end of its deletion", p.Name, p.Status, askedBy(p), a)
	}
	names := make([]string, len(allowed))
	for i, name := range allowed {
		names[i] = string(name)
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is %s, which does not allow %s; only %s %s allowed", p.Name, p.Status, a, list(names), verb(len(names)))
}

// moved explains why a guarded statement returned no row: another process was
// faster, so the current status decides.
func moved(ctx context.Context, q *queries.Queries, id uuid.UUID, a Action) error {
	p, err := q.PipelineGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "pipeline not found: %s", id)
	}
	if err != nil {
		return fmt.Errorf("read pipeline %s: %w", id, err)
	}
	return Refuse(p, a)
}

func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func verb(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
