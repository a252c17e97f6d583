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
	// pushBatch is the most pushes that are committed together.
	pushBatch = 32
	// pushLeaders is how many batches are under way at a time: while one waits
	// for the disk, another is at work.
	pushLeaders = 2
	// pushTimeout bounds a batch. It does not end with one of its senders.
	pushTimeout = 10 * time.Second
)

// pushes takes pushes in. They come in floods, and most of what one costs are
// its way to Postgres and back and its wait for the disk, so those that wait
// are taken in together: whoever comes leads the next batch, and the others
// wait for it. On an idle system a batch is one push.
type pushes struct {
	db      *pgxpool.Pool
	leaders chan struct{}

	mu      sync.Mutex
	waiting []*push
}

// push is one that is being taken in.
type push struct {
	delivery Delivery
	pushes   troy.PushEvent
	out      Outcome
	err      error
	done     chan struct{} // closed when out or err is there
}

func newPushes(db *pgxpool.Pool) *pushes {
	return &pushes{db: db, leaders: make(chan struct{}, pushLeaders)}
}

// take returns when the push is committed, or was refused. A context that ends
// before leaves it open whether it was taken in; sent again, it is a duplicate
// or new.
func (s *pushes) take(ctx context.Context, d Delivery, e troy.PushEvent) (Outcome, error) {
	p := &push{delivery: d, pushes: e, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, p)
	s.mu.Unlock()
	for {
		select {
		case <-p.done: // before leading once more
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

// leadOnce leads and gives the place up again, whatever happens: places that
// were lost would keep all later pushes out.
func (s *pushes) leadOnce(ctx context.Context) {
	defer func() { <-s.leaders }()
	s.lead(ctx)
}

// forget takes a push out of the line, if it is there still.
func (s *pushes) forget(p *push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(other *push) bool { return other == p })
}

// lead takes in what waits. If a batch fails, each of it is tried by itself, so
// that one that can't be taken in does not keep the others out.
func (s *pushes) lead(ctx context.Context) {
	batch := s.next()
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	// Whoever waits has an answer, also after a panic.
	answered := 0
	defer func() {
		for _, p := range batch[answered:] {
			p.err = errors.New("the batch that it was in broke off")
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

// next takes the first of the line, one of each repository: what a push finds
// depends on the one before it.
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
	// Everybody locks in the same order.
	slices.SortFunc(batch, func(a, b *push) int {
		return cmp.Or(cmp.Compare(a.delivery.Provider, b.delivery.Provider), cmp.Compare(a.pushes.Repository.ID, b.pushes.Repository.ID))
	})
	return batch
}

// commit takes a batch in, in one transaction.
func (s *pushes) commit(ctx context.Context, batch []*push) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		q := queries.New(tx)
		bound, err := record(ctx, q, batch)
		if err != nil {
			return err
		}
		pipelines, err := lockBound(ctx, q, bound)
		if err != nil {
			return err
		}
		var all []decision
		all, err = decideAll(ctx, q, batch, bound, pipelines)
		if err != nil {
			return err
		}
		if err := perform(ctx, q, all); err != nil {
			return err
		}
		return settleAll(ctx, q, batch, bound)
	})
}

// record notes the deliveries with what they tell of their repositories. For
// each it returns the pipelines that are bound to the repository; nil when the
// delivery came before.
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

// lockBound locks the pipelines, in order. What was committed before the locks
// counts: a push that came in meanwhile may have told of the same commit. One
// that is gone is not among those returned.
func lockBound(ctx context.Context, q *queries.Queries, bound [][]queries.PushRecordsRow) (map[uuid.UUID]*queries.Pipeline, error) {
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
		return locked, nil
	}
	var failed error
	q.PipelineLocks(ctx, ids).QueryRow(func(_ int, p queries.Pipeline, err error) {
		switch {
		case err == nil:
			locked[p.ID] = &p
		case !errors.Is(err, pgx.ErrNoRows):
			failed = cmp.Or(failed, err)
		}
	})
	return locked, failed
}

// decideAll decides what each push makes of each pipeline.
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
				n.add("%s: the push was told in part; its branch will be read", pipeline.Slug)
			}
		}
		p.out = n.outcome("the push moved nothing")
	}
	return all, nil
}

func settleAll(ctx context.Context, q *queries.Queries, batch []*push, bound [][]queries.PushRecordsRow) error {
	var params []queries.DeliverySettleParams
	for i, p := range batch {
		if len(bound[i]) > 0 {
			params = append(params, settled(p.delivery, p.out))
		}
	}
	if len(params) == 0 {
		return nil
	}
	var failed error
	q.DeliverySettles(ctx, params).Exec(func(_ int, err error) { failed = cmp.Or(failed, err) })
	return failed
}

// decision is what a pipeline makes of a push: a deployment, a head to note, a
// skipped commit to report, or nothing.
type decision struct {
	pipeline uuid.UUID
	head     *string
	create   *queries.DeploymentCreateParams
	// supersede says that a build that runs is stopped in favour of this.
	supersede bool
	// look asks for the branch to be read and compared with the head that is
	// known, because the push does not begin there.
	look bool
	skip *queries.SkipCreatesParams
	// hold is kept until the pipeline is unlocked.
	hold *heldPush
	// problem is what keeps pushes from being built from now on.
	problem *string
}

// follows reports whether a push begins at the head that is known. If it does
// not, a push before it was not heard of, or comes after it: neither its files
// nor its order can be relied on.
func follows(p queries.Pipeline, push troy.Push) bool {
	return p.HeadCommit == nil || push.Before == "" || push.Before == *p.HeadCommit || push.After == *p.HeadCommit
}

// decide says what a pipeline that is locked makes of a push, and notes it on
// the pipeline as it will be.
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
	if ours && !follows(*p, push) && !p.Status.InDeletion() && p.SourceProblem == "" {
		h.look, n.changed = true, true
		n.add("%s: commit %s does not follow the newest that is known, %s; the branch will be read and compared", p.Slug, short(push.After), short(*p.HeadCommit))
		return h
	}
	if p.HeadCommit == nil {
		push.PathsComplete = false // what was built before is not known
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
		if ours && p.SourceProblem == "" && (p.HeadCommit == nil || *p.HeadCommit != push.After) {
			// Also of a commit that is not built: nobody is to come upon it as
			// one that was missed. A source problem ends, and then it is one.
			h.head, p.HeadCommit = &push.After, &push.After
		}
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
	h.supersede = p.CancelRunning && p.Status == troy.Deploying
	p.HeadCommit = &push.After
	n.changed, n.pipeline = true, &p.ID
	n.add("%s: commit %s is queued", p.Slug, short(push.After))
	return h
}

// perform writes what was decided, behind the pipelines' locks.
func perform(ctx context.Context, q *queries.Queries, all []decision) error {
	var creates []queries.DeploymentCreateParams
	var skips []queries.SkipCreatesParams
	for _, h := range all {
		if h.problem != nil {
			if _, err := q.PipelineBranchProblem(ctx, *h.problem, h.pipeline); err != nil {
				return err
			}
		}
		if h.look {
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
	var failed error
	if len(skips) > 0 {
		q.SkipCreates(ctx, skips).Exec(func(_ int, err error) { failed = cmp.Or(failed, err) })
	}
	if failed != nil || len(creates) == 0 {
		return failed
	}
	q.DeploymentCreates(ctx, creates).QueryRow(func(i int, _ uuid.UUID, err error) {
		if errors.Is(err, pgx.ErrNoRows) {
			// Whether it may be was decided behind the lock.
			err = fmt.Errorf("pipeline %s took no deployment", creates[i].PipelineID)
		}
		failed = cmp.Or(failed, err)
	})
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
