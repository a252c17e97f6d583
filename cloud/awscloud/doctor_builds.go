package awscloud

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
)

// heardFor is how long back arrivals are known: ids of messages are kept as
// long.
const heardFor = 30 * 24 * time.Hour

// updates tells whether CodeBuild's events arrive: some of the newest build that
// has ended should have.
func (e examiner) updates() {
	const part = "updates of builds"
	last, err := NewBuilder(e.loaded, e.cfg, e.x.Project).lastEnded(e.ctx)
	if err != nil {
		e.tell.Wrong(part, words(err), "the role has to be allowed codebuild:ListBuildsForProject and codebuild:BatchGetBuilds (docs/aws.md)")
		return
	}
	began := aws.ToTime(last.StartTime)
	if time.Since(began) > heardFor {
		e.tell.Well(part, "not known yet: no build has ended in the last 30 days")
		return
	}
	heard, err := e.x.Heard(e.ctx)
	at := began.UTC().Format("2006-01-02 15:04")
	switch {
	case err != nil:
		e.tell.Wrong(part, words(err), "see what is said of Postgres")
	case heard.Before(began.Add(-maxSkew)):
		e.tell.Wrong(part, "none arrived of the build that began on "+at+" UTC", "builds are polled until then. See whether the rule of EventBridge matches the project's events and names the topic, "+
			"whether the topic's policy lets events.amazonaws.com publish without a condition (deploy/aws/troy.yaml), and whether SNS reaches %s", e.x.Updates)
	default:
		e.tell.Well(part, "arrive; the last build began on %s UTC", at)
	}
}

// lastEnded returns the newest build of the project that has ended; without
// one, a build without times.
func (b *Builder) lastEnded(ctx context.Context) (last types.Build, err error) {
	newest, err := b.newest(ctx)
	for _, one := range newest {
		if one.EndTime != nil && one.StartTime != nil && one.StartTime.After(aws.ToTime(last.StartTime)) {
			last = one
		}
	}
	return last, err
}
