package intake

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// pushBatch is the maximum number of pushes in one commit.
	pushBatch = 32
	// pushLeaders is the number of concurrent batches: while one waits for the
	// disk, another can work.
	pushLeaders = 2
	// pushTimeout bounds a batch. The end of one sender's context does not end
	// its batch.
	pushTimeout = 10 * time.Second
)

// pushes accepts pushes in batches. Pushes come in floods, and most of a push's
// cost is the round trip to Postgres and the wait for the disk, so waiting
// pushes are committed together: a sender leads the next batch, and the others
// wait for it. On an idle system a batch is one push.
type pushes struct {
	db      *pgxpool.Pool
	in      *Intake // previews branches
	leaders chan struct{}

	mu      sync.Mutex
	waiting []*push
}

// push is a push that waits for its batch.
type push struct {
	delivery Delivery
	pushes   troy.PushEvent
	out      Outcome
	err      error
	done     chan struct{} // closed when out or err is set
}

func newPushes(db *pgxpool.Pool) *pushes {
	return &pushes{db: db, leaders: make(chan struct{}, pushLeaders)}
}

// take returns when the push is committed or refused. If the context ends
// first, the push may or may not have been accepted; a repetition is then a
// duplicate or new.
func (s *pushes) take(ctx context.Context, d Delivery, e troy.PushEvent) (Outcome, error) {
	p := &push{delivery: d, pushes: e, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, p)
	s.mu.Unlock()
	for {
		select {
		case <-p.done: // before it leads again
			return p.out, p.err
		default:
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			s.forget(p)
			return Outcome{}, ctx.Err()
		case s.leaders <- struct{}{}:
			s.leadOnce(context.WithoutCancel(ctx))
		}
	}
}

// leadOnce leads and always gives its place back: lost places would block all
// later pushes.
func (s *pushes) leadOnce(ctx context.Context) {
	defer func() { <-s.leaders }()
	s.lead(ctx)
}

// forget removes a push from the queue if it is still there.
func (s *pushes) forget(p *push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(other *push) bool { return other == p })
}

// lead accepts the waiting pushes. If a batch fails, it retries each push
// alone, so that one bad push does not block the others.
func (s *pushes) lead(ctx context.Context) {
	batch := s.next()
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	// Every waiting sender gets an answer, even after a panic.
	answered := 0
	defer func() {
		for _, p := range batch[answered:] {
			p.err = errors.New("the push's batch was aborted")
			close(p.done)
		}
	}()
	err := s.commit(ctx, batch)
	for _, p := range batch {
		if err != nil && len(batch) > 1 {
			p.err = s.commit(ctx, []*push{p})
		} else {
			p.err = err
		}
		close(p.done)
		answered++
	}
}

// next takes pushes from the head of the queue, one of each repository: a
// push's result depends on the previous one.
func (s *pushes) next() []*push {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch, rest []*push
	seen := map[string]bool{}
	for _, p := range s.waiting {
		repository := string(p.delivery.Provider) + " " + p.pushes.Repository.ID
		if len(batch) < pushBatch && !seen[repository] {
			batch = append(batch, p)
		} else {
			rest = append(rest, p)
		}
		seen[repository] = true
	}
	s.waiting = rest
	// Every batch locks in the same order.
	slices.SortFunc(batch, func(a, b *push) int {
		return cmp.Or(cmp.Compare(a.delivery.Provider, b.delivery.Provider), cmp.Compare(a.pushes.Repository.ID, b.pushes.Repository.ID))
	})
	return batch
}

// commit accepts a batch in one transaction.
func (s *pushes) commit(ctx context.Context, batch []*push) error {
	begin := queries.Begin(s.db)
	bound, err := record(ctx, queries.New(begin), batch)
	tx := begin.Tx()
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	q := queries.New(tx)
	pipelines, previews, err := lockBound(ctx, q, bound)
	if err != nil {
		return err
	}
	all, err := decideAll(ctx, q, batch, bound, pipelines)
	if err != nil {
		return err
	}
	if err := perform(ctx, q, all, settlements(batch, bound)); err != nil {
		return err
	}
	if err := s.previewBranches(ctx, q, batch, bound, pipelines, previews); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// record records the deliveries and the repositories' data in them. For each it
// returns the pipelines of the repository, or nil if the delivery was accepted
// before.
func record(ctx context.Context, q *queries.Queries, batch []*push) ([][]queries.PushRecordsRow, error) {
	params := make([]queries.PushRecordsParams, len(batch))
	for i, p := range batch {
		d, r := p.delivery, p.pushes.Repository
		params[i] = queries.PushRecordsParams{
			Provider: string(d.Provider), DeliveryID: d.ID, Type: d.Type, BodySha256: d.BodySHA256, InstallationID: optional(p.pushes.Installation),
			RepositoryID: r.ID, FullName: r.FullName, DefaultBranch: r.DefaultBranch,
		}
	}
	bound := make([][]queries.PushRecordsRow, len(batch))
	var failed error
	q.PushRecords(ctx, params).Query(func(i int, rows []queries.PushRecordsRow, err error) {
		failed = cmp.Or(failed, err)
		bound[i] = rows
	})
	return bound, failed
}

// lockBound locks the pipelines in order and reads them after that: a push that
// was committed meanwhile may have reported the same commit. It leaves out
// deleted pipelines. It also returns the open previews of the pipelines' branches.
func lockBound(ctx context.Context, q *queries.Queries, bound [][]queries.PushRecordsRow) (map[uuid.UUID]*queries.Pipeline, []queries.Preview, error) {
	var ids []uuid.UUID
	for _, rows := range bound {
		for _, row := range rows {
			if row.PipelineID != nil {
				ids = append(ids, *row.PipelineID)
			}
		}
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	locked := make(map[uuid.UUID]*queries.Pipeline, len(ids))
	if len(ids) == 0 {
		return locked, nil, nil
	}
	var failed error
	both := q.Together()
	locks, open := both.PipelineLocks(ctx, ids), both.PreviewsOfBranches(ctx, [][]uuid.UUID{ids})
	locks.QueryRow(func(_ int, p queries.Pipeline, err error) {
		switch {
		case err == nil:
			locked[p.ID] = &p
		case !errors.Is(err, pgx.ErrNoRows):
			failed = cmp.Or(failed, err)
		}
	})
	var previews []queries.Preview
	open.Query(func(_ int, found []queries.Preview, err error) {
		failed = cmp.Or(failed, err)
		previews = found
	})
	return locked, previews, failed
}

// decideAll decides what each push does to each pipeline.
func decideAll(ctx context.Context, q *queries.Queries, batch []*push, bound [][]queries.PushRecordsRow, pipelines map[uuid.UUID]*queries.Pipeline) ([]decision, error) {
	var all []decision
	for i, p := range batch {
		if len(bound[i]) == 0 {
			p.out = heardBefore()
			continue
		}
		if bound[i][0].PipelineID == nil {
			p.out = ignored(nil, "no pipeline builds %s", p.pushes.Repository.FullName)
			continue
		}
		var n notes
		for _, row := range bound[i] {
			pipeline := pipelines[*row.PipelineID]
			if pipeline == nil {
				continue
			}
			for _, one := range p.pushes.Pushes {
				all = append(all, decide(pipeline, row.DefaultBranch, one, "push by "+orUnknown(p.pushes.Pusher), &n))
			}
			if !p.pushes.Complete {
				if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: pipeline.ID}); err != nil {
					return nil, err
				}
				n.changed = true
				n.add("%s: the webhook has only a part of the push; the branch will be read", pipeline.Slug)
			}
		}
		p.out = n.outcome("the push moved nothing")
	}
	return all, nil
}

// settlements returns what became of the deliveries that are new.
func settlements(batch []*push, bound [][]queries.PushRecordsRow) []queries.DeliverySettleParams {
	var params []queries.DeliverySettleParams
	for i, p := range batch {
		if len(bound[i]) > 0 {
			params = append(params, settled(p.delivery, p.out))
		}
	}
	return params
}

// decision is what a push does to a pipeline: it makes a deployment, sets a
// head, reports a skipped commit, or nothing.
type decision struct {
	pipeline uuid.UUID
	head     *string
	create   *queries.DeploymentCreateParams
	// supersede means that the push stops a running build.
	supersede bool
	// look is a push that does not say enough, with its actor: the branch is read
	// and compared with the known head.
	look *queries.PipelineAskParams
	skip *queries.SkipCreatesParams
	// hold is kept until the pipeline is unlocked.
	hold *heldPush
	// problem is a new problem that prevents builds of pushes.
	problem *string
}

// follows reports whether a push starts at the known head. If not, Troy missed
// an earlier push or gets it later: neither the push's files nor its order are
// reliable.
func follows(p queries.Pipeline, push troy.Push) bool {
	return p.HeadCommit == nil || push.Before == "" || push.Before == *p.HeadCommit || push.After == *p.HeadCommit
}

// decide decides what a push does to a locked row of a pipeline, and updates
// the pipeline in memory.
func decide(p *queries.Pipeline, defaultBranch string, push troy.Push, actor string, n *notes) decision {
	h := decision{pipeline: p.ID}
	toBranch := push.Kind == troy.Branch && push.Name == branchOf(*p, defaultBranch)
	ours := toBranch && !push.Deleted
	if toBranch && (p.SourceProblem == "" || BranchProblem(p.SourceProblem)) {
		problem := ""
		if push.Deleted {
			problem = branchGone(push.Name)
		}
		if problem != p.SourceProblem {
			h.problem, p.SourceProblem, n.changed = &problem, problem, true
		}
	}
	look := &queries.PipelineAskParams{AskedCommit: push.After, AskedBy: actor, ID: p.ID}
	if ours && !follows(*p, push) && !p.Status.InDeletion() && p.SourceProblem == "" {
		h.look, n.changed = look, true
		n.add("%s: commit %s does not follow the newest known commit, %s; the branch will be read and compared", p.Slug, short(push.After), short(*p.HeadCommit))
		return h
	}
	if p.HeadCommit == nil {
		push.PathsComplete = false // the previously built commit is unknown
	}
	reason := notBuilt(*p, defaultBranch, push)
	if reason == "" {
		if reason = skipReason(*p, push); reason != "" {
			h.skip = &queries.SkipCreatesParams{ID: uuid.Must(uuid.NewV7()), PipelineID: p.ID, CommitSha: push.After, Reason: reason}
			n.asked = true
		}
	}
	if reason != "" {
		n.add("%s: %s", p.Slug, reason)
		if ours && p.SourceProblem == "" && !p.Status.InDeletion() && (p.HeadCommit == nil || *p.HeadCommit != push.After) {
			// Skipped commits are recorded too, so that catching up does not
			// take one for a missed commit. A source problem may end and a
			// deletion may be undone; then the commit counts as missed.
			h.head, p.HeadCommit = &push.After, &push.After
		}
		return h
	}
	if push.Unlisted && p.HeadCommit != nil && !WatchesAll(*p) {
		h.look, n.changed = look, true
		n.add("%s: the push to commit %s does not list the changed files; the branch will be read and compared", p.Slug, short(push.After))
		return h
	}
	if p.LockedAt != nil {
		h.head, p.HeadCommit, n.pipeline = &push.After, &push.After, &p.ID
		h.hold = &heldPush{Commit: push.After, Branch: push.Name, Author: push.Author, Message: push.Message, Actor: actor}
		n.add("%s: %s; commit %s is held back until it is unlocked", p.Slug, lockedBy(*p), short(push.After))
		return h
	}
	id := uuid.Must(uuid.NewV7())
	h.create = &queries.DeploymentCreateParams{
		ID: id, TreeID: id, PipelineID: p.ID, Kind: troy.Automated, CommitSha: &push.After, Branch: &push.Name,
		Author: &push.Author, Message: push.Message, Actor: actor, Cause: "commit " + short(push.After) + " was pushed", HeadCommit: &push.After,
	}
	n.first = tasks.QueueBuilds
	h.supersede = p.CancelRunning && p.Status == troy.Deploying
	p.HeadCommit = &push.After
	n.changed, n.pipeline = true, &p.ID
	n.add("%s: commit %s is queued", p.Slug, short(push.After))
	return h
}

// perform writes the decisions behind the pipelines' locks, and what became of
// the deliveries.
func perform(ctx context.Context, q *queries.Queries, all []decision, settled []queries.DeliverySettleParams) error {
	var creates []queries.DeploymentCreateParams
	var skips []queries.SkipCreatesParams
	for _, h := range all {
		if h.problem != nil {
			if _, err := q.PipelineBranchProblem(ctx, *h.problem, h.pipeline); err != nil {
				return err
			}
		}
		if h.look != nil {
			if err := q.PipelineAsk(ctx, *h.look); err != nil {
				return err
			}
			if err := catchUp(ctx, q, h.pipeline); err != nil {
				return err
			}
		}
		if h.head != nil {
			if err := q.PipelineSawHead(ctx, *h.head, h.pipeline); err != nil {
				return err
			}
		}
		if h.hold != nil {
			if err := hold(ctx, q, h.pipeline, *h.hold); err != nil {
				return err
			}
		}
		if h.skip != nil {
			skips = append(skips, *h.skip)
		}
		if h.create != nil {
			creates = append(creates, *h.create)
		}
	}
	if len(skips)+len(creates)+len(settled) == 0 {
		return nil
	}
	var failed error
	together := q.Together()
	skipped, created, ended := together.SkipCreates(ctx, skips), together.DeploymentCreates(ctx, creates), together.DeliverySettles(ctx, settled)
	skipped.Exec(func(_ int, err error) { failed = cmp.Or(failed, err) })
	created.QueryRow(func(i int, _ uuid.UUID, err error) {
		if errors.Is(err, pgx.ErrNoRows) {
			// The decision was made behind the lock.
			err = fmt.Errorf("pipeline %s did not accept the deployment", creates[i].PipelineID)
		}
		failed = cmp.Or(failed, err)
	})
	ended.Exec(func(_ int, err error) { failed = cmp.Or(failed, err) })
	if failed != nil {
		return failed
	}
	for _, h := range all {
		if !h.supersede {
			continue
		}
		running, err := q.DeploymentRunning(ctx, h.pipeline)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = q.DeploymentSupersede(ctx, queries.DeploymentSupersedeParams{
			PipelineID: h.pipeline, ID: running.ID, Cause: "commit " + short(*h.create.CommitSha) + " took its place", Actor: h.create.Actor,
		})
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
	}
	return nil
}
