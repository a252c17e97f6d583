package workers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
)

// access applies who may see a pipeline's site. Before the pipeline has a
// distribution there is nothing to do: provisioning applies it.
func (w *Workers) access(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	if p.DistributionID == nil {
		return nil
	}
	err = w.applyAccess(ctx, c, p.ID, *p.DistributionID)
	if errors.Is(err, cloud.ErrNotFound) && p.Status.InDeletion() {
		return nil
	}
	return err
}

// applyAccess makes the cloud protect a site as its row says, and records it.
func (w *Workers) applyAccess(ctx context.Context, c *claim, pipeline uuid.UUID, distribution string) error {
	wanted, err := w.q.AccessWanted(ctx, pipeline)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // never protected
	}
	if err != nil {
		return fmt.Errorf("read who may see the site: %w", err)
	}
	p, err := w.protection(pipeline, wanted)
	if err != nil {
		return err
	}
	protector, ok := w.deps.Cloud.CDN.(cloud.Protector)
	switch {
	case ok:
		err = protector.Protect(ctx, distribution, p)
	case !p.Public():
		return troy.Errorf(troy.Conflict, "the site is to be protected, but sites can't be protected where this installation serves them; run: troy access P off")
	}
	if stale, ok := errors.AsType[*cloud.StaleProtectionError](err); ok {
		if p.Sequence, err = w.resequenceAccess(ctx, c, pipeline, p.Sequence, stale.InForce); err == nil {
			err = protector.Protect(ctx, distribution, p)
		}
	}
	if err != nil {
		return fmt.Errorf("protect the site: %w", err)
	}
	if err := w.q.AccessRecordApplied(ctx, p.Sequence, pipeline); err != nil {
		return fmt.Errorf("record that the protection holds: %w", err)
	}
	c.log.Info("protection applied", "pipeline", pipeline, "generation", p.Sequence, "passwords", len(p.Passwords), "networks", len(p.Networks), "previews_signed_in", p.PreviewKey != nil)
	return nil
}

// awaitProtection comes back later if a site is to be protected and never was.
func (w *Workers) awaitProtection(ctx context.Context, pipeline uuid.UUID) error {
	wanted, err := w.q.AccessWanted(ctx, pipeline)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read who may see the site: %w", err)
	}
	if wanted.Applied == 0 && (len(wanted.Names)+len(wanted.Networks) > 0 || wanted.PreviewKey != nil) {
		return comeBack(previewUnready, "the site's protection is not applied yet")
	}
	return nil
}

// resequenceAccess is for a protection that is older than the one in force. If
// a later one of this database is, the work for that one was requested with it.
// Otherwise the database was restored from a backup, and the protection gets a
// higher generation.
func (w *Workers) resequenceAccess(ctx context.Context, c *claim, pipeline uuid.UUID, generation, inForce int64) (int64, error) {
	next, err := w.q.AccessResequence(ctx, queries.AccessResequenceParams{InForce: inForce, PipelineID: pipeline, Generation: generation})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errMoved
	}
	if err != nil {
		return 0, fmt.Errorf("take a later generation: %w", err)
	}
	c.log.Warn("the protection in force is later than the database's; was the database restored from a backup?", "in_force", inForce, "generation", next)
	return next, nil
}

// protection opens the sealed secrets of a protection.
func (w *Workers) protection(pipeline uuid.UUID, wanted queries.AccessWantedRow) (site.Protection, error) {
	p := site.Protection{Sequence: wanted.Generation, PreviewsOnly: wanted.Scope == intake.ScopePreviews}
	for _, text := range wanted.Networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return p, fmt.Errorf("read the network %q: %w", text, err)
		}
		p.Networks = append(p.Networks, network)
	}
	if w.deps.Secrets == nil && (len(wanted.Names) > 0 || wanted.PreviewKey != nil) {
		return p, errors.New("the site's passwords and keys are sealed, but TROY_SECRET_KEY is not set")
	}
	if wanted.PreviewKey != nil {
		key, err := w.deps.Secrets.Open(wanted.PreviewKey, secret.PreviewKey(pipeline))
		if err != nil {
			return p, err
		}
		p.PreviewKey = key
	}
	for i, name := range wanted.Names {
		plain, err := w.deps.Secrets.Open(wanted.Secrets[i], secret.Access(pipeline, name))
		if err != nil {
			return p, err
		}
		w, err := site.DecodePassword(wanted.Ids[i].String(), plain)
		if err != nil {
			return p, fmt.Errorf("read the password %s: %w", name, err)
		}
		p.Passwords = append(p.Passwords, w)
	}
	return p, nil
}

// accessAnewDelay is the wait before a protection that could not be applied is
// tried anew. It is short: someone believes that the site is protected.
const accessAnewDelay = time.Minute

// giveUpAccess starts again after a delay: an accepted protection is never
// dropped. The API and the pages say that it does not hold.
func (w *Workers) giveUpAccess(ctx context.Context, c *claim, cause string) error {
	c.log.Error("who may see a site could not be applied repeatedly; the earlier protection still holds", "pipeline", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, accessAnewDelay, cause)
}
