package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
	"github.com/troy-iaas/troy/web/reply"
)

type releaseJSON struct {
	ID         uuid.UUID   `json:"id"`
	PipelineID uuid.UUID   `json:"pipeline_id"`
	Missing    []site.File `json:"missing"`
	AllMissing bool        `json:"all_missing,omitzero"`
	Limits     limitsJSON  `json:"limits"`
	ExpiresAt  time.Time   `json:"expires_at"`
	Finalized  bool        `json:"finalized"`
	// Direct reports that files can be sent directly to the store.
	Direct bool `json:"direct"`
	// Batch is set if many files can be sent in one request.
	Batch *site.BatchLimits `json:"batch,omitempty"`
}

type limitsJSON struct {
	Files      int   `json:"files"`
	FileBytes  int64 `json:"file_bytes"`
	TotalBytes int64 `json:"total_bytes"`
}

// manifestBytes is the maximum size of a manifest's JSON: 640 bytes for a file,
// 64 MB for 100,000.
func manifestBytes(files int) int64 { return maxJSON + 640*int64(files) }

// idempotencyKey reads the header; it returns nil if the header is absent.
func idempotencyKey(r *http.Request) (*string, error) {
	const name, most = "Idempotency-Key", 128
	values := r.Header.Values(name)
	switch {
	case len(values) == 0:
		return nil, nil
	case len(values) > 1 || values[0] == "" || len(values[0]) > most:
		return nil, troy.Errorf(troy.Invalid, "expected the header once, with 1 to %d characters", most).At(name)
	}
	for _, r := range values[0] {
		if r < ' ' || r > '~' {
			return nil, troy.Errorf(troy.Invalid, "expected only printable ASCII characters in the header").At(name)
		}
	}
	return &values[0], nil
}

// releaseBegin records the release before it declares its tree, so that every
// tree has a row that gets it removed.
func (s *server) releaseBegin(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	key, err := idempotencyKey(c.Request)
	if err != nil {
		return err
	}
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	if p.Status.InDeletion() {
		return intake.Refuse(p, intake.Deploy)
	}
	body := newDeclaration(s.cfg.Limits)
	if err := decode(c, manifestBytes(s.cfg.Limits.Files)+configBytes, body); err != nil {
		return err
	}
	m, err := s.releaseFiles(ctx, p, listedFiles{body.Files.all, body.Manifest, body.Base, body.Removed.all})
	if err != nil {
		return err
	}
	brief, err := isBrief(c)
	if err != nil {
		return err
	}
	r, again, missing, err := s.begin(ctx, p, m, body.Message, declaredRules{body.Config.all, body.Strict}, key, who)
	if err != nil {
		return err
	}
	if r.FinalizedAt != nil {
		s.replyRelease(c, http.StatusOK, r, nil)
		return nil
	}
	status := http.StatusCreated
	if again {
		status = http.StatusOK
	}
	c.Header("Location", fmt.Sprintf("/v1/pipelines/%s/releases/%s", p.ID, r.ID))
	answer := s.releaseAnswer(r, missing)
	if u := s.uploads.get(r.ID); brief && u != nil && u.isAll(len(missing)) {
		answer.Missing, answer.AllMissing = []site.File{}, true
	}
	reply.LargeJSON(c.Writer, status, answer)
	return nil
}

// isBrief reads the query's brief.
func isBrief(c *gin.Context) (bool, error) {
	switch brief := c.Query("brief"); brief {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, troy.Errorf(troy.Invalid, "it is %q; expected true or false", troy.Clip(brief)).At("brief")
	}
}

// begin checks and records a release, or finds the one with the same key, and
// declares its tree. It returns the files that the store lacks, unless the
// release was finalized before.
func (s *server) begin(ctx context.Context, p queries.Pipeline, m site.Manifest, message string, declared declaredRules, key *string, who caller) (r queries.ReleaseGetRow, again bool, missing []site.File, err error) {
	if err := intake.CheckMessage(message); err != nil {
		return r, false, nil, err
	}
	m.Carried, m.Rules = nil, nil
	if m, err = m.Checked(s.cfg.Limits); err != nil {
		return r, false, nil, err
	}
	m.Prepare()
	if err := rules.CheckConfig(declared.config); err != nil {
		return r, false, nil, err
	}
	settings, err := sourceOf(p)
	if err != nil {
		return r, false, nil, err
	}
	m.TrailingSlash = site.TrailingSlash(settings.Build.TrailingSlash)
	if policy := rules.Policy(declared.config); policy != "" {
		m.TrailingSlash = policy
	}
	r, again, err = s.writeRelease(ctx, p, m, message, key, who, declared)
	if err != nil {
		return r, again, nil, err
	}
	note(ctx).deployment = r.ID.String()
	if r.FinalizedAt != nil {
		return r, again, nil, nil
	}
	if err := s.batches.settle(ctx, p.ID); err != nil {
		return r, again, nil, err
	}
	missing, err = s.deps.Store.Begin(ctx, site.Tree{Pipeline: p.ID, Deployment: r.ID}, m)
	if err != nil {
		s.relieve(ctx, err)
		return r, again, nil, fmt.Errorf("begin release %s: %w", r.ID, err)
	}
	if err := s.count(ctx, r, m, missing); err != nil {
		return r, again, nil, err
	}
	if len(missing) == 0 {
		s.uploads.complete(r.ID)
	} else {
		s.uploads.keep(r.ID, newUpload(p, r, m, missing))
	}
	return r, again, missing, nil
}

// writeRelease makes the release's row, or finds the one with the same key.
func (s *server) writeRelease(ctx context.Context, p queries.Pipeline, m site.Manifest, message string, key *string, who caller, declared declaredRules) (r queries.ReleaseGetRow, again bool, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return r, false, err
	}
	digest := m.Digest().String()
	// Behind the pipeline's lock, so that concurrent requests don't all find
	// room.
	err = pgx.BeginFunc(ctx, s.deps.DB, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if _, err := q.PipelineLock(ctx, p.ID); err != nil {
			return err
		}
		if err := s.makeRoom(ctx, q, p, m, key); err != nil {
			return err
		}
		if _, err := q.ReleaseCreate(ctx, queries.ReleaseCreateParams{
			ID: id, PipelineID: p.ID, IdempotencyKey: key, ManifestDigest: digest, Files: int64(len(m.Files)), Bytes: totalBytes(m),
			Message: message, Actor: who.Actor(), ValidSeconds: s.cfg.ReleaseValidity.Seconds(),
		}); err != nil {
			return err
		}
		return declared.store(ctx, q, p.ID, id)
	})
	if err == nil {
		r, err = s.q.ReleaseGet(ctx, id, p.ID)
		return r, false, err
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return r, false, fmt.Errorf("record a release of %s: %w", p.ID, err)
	}
	if key != nil {
		first, err := s.q.ReleaseGetByKey(ctx, p.ID, *key)
		if err == nil {
			r, err = s.q.ReleaseGet(ctx, first.ID, p.ID)
		}
		if err == nil {
			return r, true, sameRelease(r, digest)
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return r, false, fmt.Errorf("find release %q of %s: %w", *key, p.ID, err)
		}
	}
	// The pipeline moved after it was read.
	now, err := s.q.PipelineGet(ctx, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, false, noPipeline(p.Slug)
	}
	if err != nil {
		return r, false, fmt.Errorf("read pipeline %s: %w", p.ID, err)
	}
	return r, false, intake.Refuse(now, intake.Deploy)
}

// sameRelease refuses a key that was used for another release.
func sameRelease(r queries.ReleaseGetRow, digest string) error {
	if r.ManifestDigest != digest {
		return troy.Errorf(troy.Conflict, "the key was used for a release of other files; use another key").At("Idempotency-Key")
	}
	if r.FinalizedAt == nil && r.Expired {
		return troy.Errorf(troy.Conflict, "the release with this key expired at %s; use another key", r.ExpiresAt.UTC().Format(time.RFC3339)).At("Idempotency-Key")
	}
	return nil
}

func (s *server) replyRelease(c *gin.Context, status int, r queries.ReleaseGetRow, missing []site.File) {
	reply.LargeJSON(c.Writer, status, s.releaseAnswer(r, missing))
}

func (s *server) releaseAnswer(r queries.ReleaseGetRow, missing []site.File) releaseJSON {
	if missing == nil {
		missing = []site.File{}
	}
	_, direct := s.deps.Store.(cloud.Signer)
	var batch *site.BatchLimits
	if limits := s.cfg.Batch; !direct {
		batch = &limits
	}
	return releaseJSON{
		Direct: direct, Batch: batch,
		ID: r.ID, PipelineID: r.PipelineID, Missing: missing, ExpiresAt: r.ExpiresAt.UTC(), Finalized: r.FinalizedAt != nil,
		Limits: limitsJSON{s.cfg.Limits.Files, s.cfg.Limits.FileBytes, s.cfg.Limits.TotalBytes},
	}
}

// release finds the path's release, which must belong to the path's pipeline.
func (s *server) release(ctx context.Context, c *gin.Context, who caller) (queries.Pipeline, queries.ReleaseGetRow, error) {
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return p, queries.ReleaseGetRow{}, err
	}
	id, err := pathID(c, "release")
	if err != nil {
		return p, queries.ReleaseGetRow{}, err
	}
	r, err := s.q.ReleaseGet(ctx, id, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, r, noRelease(id)
	}
	if err != nil {
		return p, r, fmt.Errorf("read release %s: %w", id, err)
	}
	return p, r, nil
}

func noRelease(id uuid.UUID) error {
	return troy.Errorf(troy.NotFound, "the pipeline has no release %s; it may have expired", id)
}

// open refuses a release that accepts no more files.
func open(p queries.Pipeline, r queries.ReleaseGetRow) error {
	switch {
	case p.Status.InDeletion():
		return intake.Refuse(p, intake.Deploy)
	case r.FinalizedAt != nil:
		return troy.Errorf(troy.Conflict, "the release is finalized; start another one")
	case r.Expired:
		return troy.Errorf(troy.Conflict, "the release expired at %s; start another one", r.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return nil
}

func treeOf(r queries.ReleaseGetRow) site.Tree {
	return site.Tree{Pipeline: r.PipelineID, Deployment: r.ID}
}

// missing asks the store which files of a release have to be sent.
func (s *server) missing(ctx context.Context, tree site.Tree) ([]site.File, error) {
	if err := s.batches.settle(ctx, tree.Pipeline); err != nil {
		return nil, err
	}
	m, err := s.deps.Store.Manifest(ctx, tree)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil, notDeclared()
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest of release %s: %w", tree.Deployment, err)
	}
	files, err := s.deps.Store.Begin(ctx, tree, m)
	if err != nil {
		return nil, fmt.Errorf("find the missing files of release %s: %w", tree.Deployment, err)
	}
	return files, nil
}

// notDeclared is the error for a row whose tree was never declared, or was
// deleted with its pipeline.
func notDeclared() error {
	return troy.Errorf(troy.Conflict, "the release was not declared completely, or its files are being removed; start it again")
}

func (s *server) releaseGet(c *gin.Context, who caller) error {
	p, r, err := s.release(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	if r.FinalizedAt != nil {
		s.replyRelease(c, http.StatusOK, r, nil)
		return nil
	}
	if err := open(p, r); err != nil {
		return err
	}
	missing, err := s.missing(c.Request.Context(), treeOf(r))
	if err != nil {
		return err
	}
	s.replyRelease(c, http.StatusOK, r, missing)
	return nil
}

// discardedOfUpload is how many bytes of a failed upload are read before the
// answer.
const discardedOfUpload = 64 << 20

func (s *server) releaseUpload(c *gin.Context, who caller) error {
	digest, err := site.ParseDigest(c.Param("sha256"))
	if err != nil {
		return troy.Errorf(troy.Invalid, "%w", err).At("sha256")
	}
	u, id, err := s.upload(c, who)
	if err != nil {
		return err
	}
	f, declared := u.file(digest)
	size := c.Request.ContentLength
	switch {
	case !declared:
		return troy.Errorf(troy.NotFound, "the release declares no file with the SHA-256 %s", digest).At("sha256")
	case size < 0:
		return troy.Errorf(troy.Invalid, "the header is missing; the file has %d bytes", f.Size).At("Content-Length")
	case size > s.cfg.Limits.FileBytes:
		return troy.Errorf(troy.TooLarge, "the body has %d bytes; expected at most %d", size, s.cfg.Limits.FileBytes).At("Content-Length")
	case size != f.Size:
		return troy.Errorf(troy.Invalid, "the body has %d bytes; expected %d as declared", size, f.Size).At("Content-Length")
	}
	body := s.touching(c.Request.Context(), id, c.Request.Body)
	refuse, err := refusesSecrets(c)
	if err != nil {
		return err
	}
	if refuse {
		body = site.RefuseLeaks(body, f)
	}
	err = s.deps.Store.Put(c.Request.Context(), site.Tree{Pipeline: u.pipeline, Deployment: id}, f, body)
	if err != nil {
		// A sender that is still writing would see a reset instead of the
		// answer.
		_, _ = io.CopyN(io.Discard, c.Request.Body, discardedOfUpload)
	}
	if errors.Is(err, cloud.ErrNotFound) {
		s.uploads.forget(id)
		return noRelease(id)
	}
	if err != nil {
		s.relieve(c.Request.Context(), err)
		return fmt.Errorf("store a file of release %s: %w", id, err)
	}
	s.uploads.arrived(id, u, f)
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

func (s *server) releaseFinalize(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	var body finalization
	p, r, err := s.release(ctx, c, who)
	if err != nil {
		return err
	}
	if err := decodeOptional(c, &body); err != nil {
		return err
	}
	d, err := s.finalize(ctx, p, r, body, who)
	if err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusAccepted, d)
}

// finalization says what to do with the files of a complete release.
type finalization struct {
	Publish    *bool  `json:"publish"`
	ExpectLive string `json:"expect_live"`
	Preview    string `json:"preview"`
}

func (f finalization) check(who caller) error {
	if who.PreviewsOnly && f.Preview == "" {
		return previewsOnly()
	}
	if f.Preview != "" && (f.Publish != nil || f.ExpectLive != "") {
		return troy.Errorf(troy.Invalid, "it can't be combined with publish and expect_live, which are for the site").At("preview")
	}
	return nil
}

// finalize makes a deployment of a complete release, or finds the one that was
// made before.
func (s *server) finalize(ctx context.Context, p queries.Pipeline, r queries.ReleaseGetRow, asked finalization, who caller) (queries.Deployment, error) {
	if err := asked.check(who); err != nil {
		return queries.Deployment{}, err
	}
	f := intake.Finalization{
		Pipeline: p.ID, Release: r.ID, Publish: (asked.Publish == nil || *asked.Publish) && asked.Preview == "",
		ExpectLive: asked.ExpectLive, Preview: asked.Preview, Actor: who.Actor(),
	}
	if r.FinalizedAt == nil {
		if err := open(p, r); err != nil {
			return queries.Deployment{}, err
		}
		if err := s.complete(ctx, r, f.Publish || f.Preview != ""); err != nil {
			return queries.Deployment{}, err
		}
	}
	d, err := s.deps.Intake.Finalize(ctx, f)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, troy.Errorf(troy.NotFound, "the deployment of the release %s was removed", r.ID)
	}
	if err == nil {
		s.uploads.forget(r.ID)
	}
	return d, err
}

// complete refuses a release with missing files. It seals a release that is not
// published, since no worker does. It does not ask the store again if the store
// had all files at the start or got the others from this process: it keeps them
// for the declared tree.
func (s *server) complete(ctx context.Context, r queries.ReleaseGetRow, publish bool) error {
	if !s.uploads.isComplete(r.ID) {
		missing, err := s.missing(ctx, treeOf(r))
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return missingFiles(paths(missing))
		}
	}
	if publish {
		return nil
	}
	tree := treeOf(r)
	compiled, err := intake.CompileRules(ctx, s.q, s.deps.Store, tree, s.deps.Functions)
	if err == nil {
		err = s.deps.Store.Seal(ctx, tree, nil, compiled)
	}
	if errors.Is(err, cloud.ErrNotFound) {
		return notDeclared()
	}
	if err != nil {
		return fmt.Errorf("seal release %s: %w", r.ID, err)
	}
	return nil
}
