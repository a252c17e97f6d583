package intake

import (
	"context"
	"fmt"
	"net"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// The actions of the audit trail. Changes of a pipeline's status are its events.
const (
	TokenCreate          = "token.create"
	TokenRevoke          = "token.revoke"
	TokenExchange        = "token.exchange" // by a job of CI
	TrustAdd             = "trust.add"
	TrustRemove          = "trust.remove"
	ScheduleSet          = "schedule.set"
	ScheduleRemove       = "schedule.remove"
	HookCreate           = "hook.create"
	HookDelete           = "hook.delete"
	VariableSet          = "variable.set"
	VariableRemove       = "variable.remove"
	Configured           = "pipeline.configure"
	Locked               = "pipeline.lock"
	Unlocked             = "pipeline.unlock"
	Purged               = "pipeline.purge"
	CacheCleared         = "pipeline.clear-cache"
	QuotaSet             = "pipeline.quota"
	DeploymentsPruned    = "pipeline.prune"
	DeletedNow           = "pipeline.delete-now" // ended the grace period of a deletion
	DeploymentCancel     = "deployment.cancel"
	PreviewApprove       = "preview.approve"
	PreviewDelete        = "preview.delete"
	PreviewPin           = "preview.pin"
	PreviewUnpin         = "preview.unpin"
	AccessPasswordSet    = "access.password-set"
	AccessPasswordRemove = "access.password-remove"
	AccessAllow          = "access.allow"
	AccessDisallow       = "access.disallow"
	AccessOff            = "access.off"
	AccessScope          = "access.scope"
	AccessPreviews       = "access.previews"
	AppImport            = "app.import"
	DomainAdd            = "domain.add"
	DomainMove           = "domain.move" // from one pipeline to another
	DomainRemove         = "domain.remove"
	DomainPrimary        = "domain.primary"
	DomainState          = "domain.state" // by the worker that checks it
	SessionCreate        = "session.create"
	SessionRefuse        = "session.refuse"
	SessionRevoke        = "session.revoke"
	QueuePause           = "queue.pause"
	QueueResume          = "queue.resume"
	NotifierAdd          = "notifier.add"
	NotifierEnable       = "notifier.enable"
	NotifierRemove       = "notifier.remove"
	NotifierRotate       = "notifier.rotate"
	WorkRing             = "work.ring"
	WorkRetry            = "work.retry"
)

type byKey struct{}

// by says who makes the changes of a context, and from which address.
type by struct{ actor, remote string }

// By returns a context whose changes are recorded as made by actor from the
// remote address, which may have a port.
func By(ctx context.Context, actor, remote string) context.Context {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	return context.WithValue(ctx, byKey{}, by{actor, remote})
}

// Change is an entry of the audit trail.
type Change struct {
	Action, Subject, Detail string
	// Actor is by default the one of the context.
	Actor      string
	Pipeline   *queries.Pipeline // nil if it concerns all
	Deployment uuid.UUID         // uuid.Nil if it concerns none
}

// Audit records a change. q belongs to the change's transaction.
func Audit(ctx context.Context, q *queries.Queries, c Change) error {
	who, _ := ctx.Value(byKey{}).(by)
	args := queries.AuditAddParams{Actor: c.Actor, Action: c.Action, Subject: c.Subject, Detail: c.Detail, Remote: who.remote}
	if args.Actor == "" {
		args.Actor = who.actor
	}
	if p := c.Pipeline; p != nil {
		args.PipelineID, args.Slug = &p.ID, p.Slug
	}
	if c.Deployment != uuid.Nil {
		args.DeploymentID = &c.Deployment
	}
	if err := q.AuditAdd(ctx, args); err != nil {
		return fmt.Errorf("record %s of %q: %w", c.Action, c.Subject, err)
	}
	return nil
}

// Recorded runs a change in a transaction and records what it returns in the
// audit trail. It is for changes that another package makes.
func (in *Intake) Recorded(ctx context.Context, change func(queries.DBTX) (Change, error)) error {
	return transaction(ctx, in.db, func(tx pgx.Tx, q *queries.Queries) error {
		c, err := change(tx)
		if err != nil {
			return err
		}
		return Audit(ctx, q, c)
	})
}
