package tasks

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/troy-iaas/troy"
)

// Policy gives the queue of a kind of work, and how often and for how long the
// work is tried.
type Policy struct {
	Queue string
	// Attempts is the number of claims in a row without progress after which
	// the work is given up.
	Attempts int
	// Deadline is the time after the request at which the work is given up,
	// even if every attempt was only told to come back later.
	Deadline time.Duration
	// Delay is the maximum wait before the second attempt. It doubles with each
	// attempt up to MaxDelay. The actual wait is random, between half of it and
	// all of it, so that work that failed together does not return together.
	Delay, MaxDelay time.Duration
	// Prompt claims do not wait for the disk. If Postgres crashes within a second
	// and loses one, the row is due again, and another worker may claim it before
	// the first one's next heartbeat. So this is for handlers that commit a
	// transition under their claim before they act, which makes the claim durable
	// too, and whose calls may overlap when a later attempt repeats them:
	// DeploymentStart and BuildStart commit first; Seal has a lock, the pointer's
	// sequence orders the flips, and Start does nothing for a build that runs.
	Prompt bool
}

// RetryDelay returns the wait after the n-th failed attempt, counted from 1.
func (p Policy) RetryDelay(n int) time.Duration {
	d := min(p.Delay, p.MaxDelay)
	for ; n > 1 && d < p.MaxDelay; n-- {
		d = min(2*d, p.MaxDelay)
	}
	return d/2 + rand.N(d/2+1)
}

var policies = map[string]Policy{
	TypeProvision:          {Queue: QueueQuick, Attempts: 8, Deadline: time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypeDeploy:             {Queue: QueueQuick, Attempts: 8, Deadline: time.Hour, Delay: time.Second, MaxDelay: time.Minute, Prompt: true},
	TypeSchedule:           {Queue: QueueQuick, Attempts: 20, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypeTeardownStart:      {Queue: QueueQuick, Attempts: 8, Deadline: time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypePollDistroDisabled: {Queue: QueueQuick, Attempts: 8, Deadline: 2 * time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypeTeardown:           {Queue: QueueQuick, Attempts: 8, Deadline: 2 * time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypeBuild:              {Queue: QueueBuilds, Attempts: 5, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: time.Minute, Prompt: true},
	TypePollBuild:          {Queue: QueueQuick, Attempts: 8, Deadline: 48 * time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypeReport:             {Queue: QueueForge, Attempts: 150, Deadline: 24 * time.Hour, Delay: 2 * time.Second, MaxDelay: 15 * time.Minute},
	TypeCatchUp:            {Queue: QueueForge, Attempts: 12, Deadline: 24 * time.Hour, Delay: 10 * time.Second, MaxDelay: 15 * time.Minute},
	TypePurge:              {Queue: QueueQuick, Attempts: 20, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: 5 * time.Minute},
	TypeAccess:             {Queue: QueueQuick, Attempts: 20, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypeDomainCheck:        {Queue: QueueDomains, Attempts: 20, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: 5 * time.Minute},
	TypeThumbnail:          {Queue: QueueThumbnails, Attempts: 3, Deadline: time.Hour, Delay: 10 * time.Second, MaxDelay: 5 * time.Minute},
	TypePreviewBuild:       {Queue: QueuePreviews, Attempts: 5, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypePreviewPublish:     {Queue: QueueQuick, Attempts: 8, Deadline: time.Hour, Delay: time.Second, MaxDelay: time.Minute},
	TypePreviewRemove:      {Queue: QueueQuick, Attempts: 20, Deadline: 24 * time.Hour, Delay: time.Second, MaxDelay: 5 * time.Minute},
	TypePullRequest:        {Queue: QueueForge, Attempts: 12, Deadline: 24 * time.Hour, Delay: 2 * time.Second, MaxDelay: 15 * time.Minute},
	TypePreviewReport:      {Queue: QueueForge, Attempts: 150, Deadline: 24 * time.Hour, Delay: 2 * time.Second, MaxDelay: 15 * time.Minute},
	// The waits are up to a day together.
	TypeNotify:    {Queue: QueueNotifications, Attempts: 13, Deadline: 3 * 24 * time.Hour, Delay: 30 * time.Second, MaxDelay: 12 * time.Hour},
	TypeRetention: {Queue: QueueQuick, Attempts: 20, Deadline: 7 * 24 * time.Hour, Delay: time.Minute, MaxDelay: 6 * time.Hour},
}

// PolicyOf returns a kind's policy. ok is false for an unknown kind.
func PolicyOf(kind string) (Policy, bool) {
	p, ok := policies[kind]
	return p, ok
}

// QueueOf returns a kind's queue, or "" for an unknown kind. Work rows hold
// only their kind.
func QueueOf(kind string) string { return policies[kind].Queue }

// Queues returns the kinds of work, sorted, and the queue of each.
func Queues() (kinds, queues []string) {
	kinds = Kinds()
	for _, kind := range kinds {
		queues = append(queues, QueueOf(kind))
	}
	return kinds, queues
}

// KindsOf returns the kinds of a queue, sorted.
func KindsOf(queue string) []string {
	return slices.DeleteFunc(Kinds(), func(kind string) bool { return QueueOf(kind) != queue })
}

// Kinds returns the kinds of work, sorted. The sweep is not among them because
// it has no row.
func Kinds() []string {
	kinds := make([]string, 0, len(policies))
	for k := range policies {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}

// OfStatus returns the kinds of work that take a pipeline out of a status, or
// nil for a resting status. One of them has a row as long as the pipeline is in
// the status, and its policy's deadline limits the status.
func OfStatus(s troy.Status) []string {
	switch s {
	case troy.ProvisionRequest, troy.Provisioning:
		return []string{TypeProvision}
	case troy.Queued, troy.Deploying:
		return []string{TypeBuild, TypePollBuild, TypeDeploy}
	case troy.ScheduledForDeletion:
		return []string{TypeTeardownStart, TypePollDistroDisabled}
	case troy.Deleting:
		return []string{TypeTeardown}
	}
	return nil
}
