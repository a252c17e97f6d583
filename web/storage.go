package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/reply"
)

// usageJSON is what a pipeline stores, and what it may.
type usageJSON struct {
	PipelineID   uuid.UUID  `json:"pipeline_id"`
	Bytes        int64      `json:"bytes"`
	Files        int64      `json:"files"`
	OpenReleases int64      `json:"open_releases"`
	CountedAt    *time.Time `json:"counted_at,omitempty"`
	// Quota has the limits that apply; 0 means no limit.
	Quota quotaJSON `json:"quota"`
	// Own has those that differ from the installation's.
	Own ownQuotaJSON `json:"own_quota"`
}

type quotaJSON struct {
	Bytes        int64 `json:"bytes"`
	Files        int64 `json:"files"`
	OpenReleases int64 `json:"open_releases"`
}

type ownQuotaJSON struct {
	Bytes        *int64 `json:"bytes"`
	Files        *int64 `json:"files"`
	OpenReleases *int64 `json:"open_releases"`
}

func (s *server) storageGet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	return s.replyUsage(c, p.ID)
}

func (s *server) replyUsage(c *gin.Context, pipeline uuid.UUID) error {
	stored, err := s.deps.Intake.StorageOf(c.Request.Context(), s.q, pipeline)
	if err != nil {
		return err
	}
	answer := usageJSON{
		PipelineID: pipeline, Bytes: stored.Bytes, Files: stored.Files, OpenReleases: stored.OpenReleases,
		Quota: quotaJSON(stored.Quota), Own: ownQuotaJSON(stored.Own),
	}
	if stored.CountedAt != nil {
		at := stored.CountedAt.UTC()
		answer.CountedAt = &at
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// maxQuota is the maximum quota, in bytes.
const maxQuota = 1 << 50

// quotaSet sets the limits of a pipeline that differ from the installation's. A
// limit that is null or absent is the installation's.
func (s *server) quotaSet(c *gin.Context, who caller) error {
	if err := who.MustAll("only an unlimited admin may set quotas"); err != nil {
		return err
	}
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body ownQuotaJSON
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	for _, limit := range []struct {
		name string
		n    *int64
	}{{"bytes", body.Bytes}, {"files", body.Files}, {"open_releases", body.OpenReleases}} {
		if limit.n != nil && (*limit.n < 0 || *limit.n > maxQuota) {
			return troy.Errorf(troy.Invalid, "it is %d; expected from 0 (no limit) to %d, or null for the installation's", *limit.n, int64(maxQuota)).At(limit.name)
		}
	}
	if err := s.deps.Intake.SetQuota(c.Request.Context(), p.ID, intake.OwnQuota(body), who.Actor()); err != nil {
		return err
	}
	return s.replyUsage(c, p.ID)
}

// pruningJSON is what a prune removes.
type pruningJSON struct {
	DryRun      bool         `json:"dry_run"`
	Deployments []prunedJSON `json:"deployments"`
	Files       int64        `json:"files"`
	Bytes       int64        `json:"bytes"`
}

type prunedJSON struct {
	ID        uuid.UUID            `json:"id"`
	Number    int64                `json:"number"`
	Kind      troy.DeploymentKind  `json:"kind"`
	State     troy.DeploymentState `json:"state"`
	Message   string               `json:"message"`
	Files     int64                `json:"files"`
	Bytes     int64                `json:"bytes"`
	CreatedAt time.Time            `json:"created_at"`
}

// pipelinePrune removes the files of old deployments, or with dry_run says
// which it would remove.
func (s *server) pipelinePrune(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	var body struct {
		Keep   int  `json:"keep"`
		DryRun bool `json:"dry_run"`
	}
	if err := decodeOptional(c, &body); err != nil {
		return err
	}
	body.Keep = cmp.Or(body.Keep, intake.KeepAtLeast)
	status := http.StatusAccepted
	var plan intake.Pruning
	if body.DryRun {
		status = http.StatusOK
		plan, err = s.planPrune(ctx, p, body.Keep)
	} else {
		plan, err = s.deps.Intake.Prune(ctx, s.deps.Store, p.ID, body.Keep, who.Actor())
	}
	if err != nil {
		return err
	}
	answer := pruningJSON{DryRun: body.DryRun, Deployments: make([]prunedJSON, 0, len(plan.Deployments)), Files: plan.Files, Bytes: plan.Bytes}
	for _, d := range plan.Deployments {
		if !d.HasFiles {
			continue // it ended before it had any
		}
		answer.Deployments = append(answer.Deployments, prunedJSON{d.ID, d.Number, d.Kind, d.State, d.Message, d.Files, d.Bytes, d.CreatedAt.UTC()})
	}
	reply.JSON(c.Writer, status, answer)
	return nil
}

func (s *server) planPrune(ctx context.Context, p queries.Pipeline, keep int) (intake.Pruning, error) {
	if p.Status.InDeletion() {
		return intake.Pruning{}, intake.Refuse(p, intake.Pruned)
	}
	return s.deps.Intake.PlanPrune(ctx, s.deps.Store, p.ID, keep)
}

// prunedAgain answers a repeated prune: the first one removed everything.
func (s *server) prunedAgain(c *gin.Context, _ uuid.UUID) error {
	reply.JSON(c.Writer, http.StatusAccepted, pruningJSON{Deployments: []prunedJSON{}})
	return nil
}

// count counts a declared release against the pipeline's quota. It gives up one
// that has no room, so that nothing of it stays.
func (s *server) count(ctx context.Context, r queries.ReleaseGetRow, m site.Manifest, missing []site.File) error {
	err := s.deps.Intake.CountTree(ctx, s.deps.Store, site.Tree{Pipeline: r.PipelineID, Deployment: r.ID}, m, missing)
	if troy.KindOf(err) == troy.OverQuota {
		if giveUpErr := s.q.ReleaseGiveUp(ctx, r.ID); giveUpErr != nil {
			return fmt.Errorf("give up release %s, which has no room: %w", r.ID, giveUpErr)
		}
		s.uploads.forget(r.ID)
		gone, idleErr := s.giveUpIdle(ctx, s.q, r.PipelineID, nil, idleRelease)
		if idleErr != nil {
			return idleErr
		}
		if gone > 0 {
			return troy.Errorf(troy.OverQuota, "%w. Troy removes %s now; try again in a minute", err, troy.Count(gone, "idle release", "idle releases"))
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("count release %s: %w", r.ID, err)
	}
	return nil
}

// counted counts a release whose declaration ended before it was counted.
func (s *server) counted(ctx context.Context, r queries.ReleaseGetRow, m site.Manifest) error {
	counted, err := s.q.TreeCounted(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("read whether release %s is counted: %w", r.ID, err)
	}
	if counted {
		return nil
	}
	missing, err := s.deps.Store.Begin(ctx, site.Tree{Pipeline: r.PipelineID, Deployment: r.ID}, m)
	if err != nil {
		return fmt.Errorf("find the missing files of release %s: %w", r.ID, err)
	}
	return s.count(ctx, r, m, missing)
}
