package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/hibiken/asynq"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/tasks"
)

// errMoved means that another process moved the subject: nothing is left to do
// under this claim.
var errMoved = errors.New("another process moved it")

// errHandedOver means that the handler ended the claim itself.
var errHandedOver = errors.New("handed over")

// waitError ends a claim without failing it: the work comes back later.
type waitError struct {
	delay time.Duration
	why   string
	// fresh means that new work begins after the wait, with its own deadline
	// and attempts.
	fresh bool
	// keep means that the attempts before this one still count.
	keep bool
}

func (e *waitError) Error() string { return fmt.Sprintf("wait %s: %s", e.delay, e.why) }

// comeBack ends a claim and makes the work due again after the delay.
func comeBack(delay time.Duration, why string) error { return &waitError{delay: delay, why: why} }

// retryAfter is implemented by errors that know when to retry.
type retryAfter interface{ RetryAfter() time.Duration }

// verdict says what happens to work whose handler returned an error.
type verdict struct {
	giveUp bool
	delay  time.Duration
	failed bool // whether the attempt counts
	fresh  bool
	keep   bool   // whether the attempts before still count if this one does not
	cause  string // in words, for people
}

// databaseDelay is the wait after Postgres did not answer.
const databaseDelay = 2 * time.Second

// judge decides whether an error means retry, wait or give up.
func judge(err error, policy tasks.Policy, attempt int, age time.Duration) verdict {
	v := verdict{failed: true, cause: sentence(err)}
	var wait *waitError
	var after retryAfter
	var unanswered *databaseError
	switch {
	case errors.As(err, &wait):
		if age > policy.Deadline && !wait.fresh {
			v.giveUp, v.cause = true, fmt.Sprintf("not done after %s: %s", policy.Deadline, wait.why)
			return v
		}
		return verdict{delay: wait.delay, fresh: wait.fresh, keep: wait.keep, cause: wait.why}
	case age > policy.Deadline:
		v.giveUp, v.cause = true, fmt.Sprintf("not done after %s: %s", policy.Deadline, v.cause)
		return v
	case errors.As(err, &unanswered):
		// The fault is in Postgres, and the work resumes when Postgres is back.
		return verdict{delay: databaseDelay, cause: v.cause}
	case errors.As(err, &after):
		// A request to come back later is not a failure.
		return verdict{delay: after.RetryAfter(), cause: v.cause}
	case permanent(err):
		v.giveUp = true
		return v
	case attempt >= policy.Attempts:
		v.giveUp, v.cause = true, fmt.Sprintf("failed %d times: %s", attempt, v.cause)
		return v
	}
	v.delay = policy.RetryDelay(attempt)
	return v
}

// permanent reports whether retries cannot fix the error.
func permanent(err error) bool {
	var missing *cloud.MissingError
	if errors.As(err, &missing) || errors.Is(err, cloud.ErrStalePointer) {
		return true
	}
	switch troy.KindOf(err) {
	case troy.Invalid, troy.Conflict, troy.NotFound, troy.Moved, troy.TooLarge, troy.Forbidden, troy.OverQuota:
		return true
	}
	return false
}

// maxCause is the maximum length of a recorded cause, in bytes.
const maxCause = 500

// sentence formats an error as one line for people.
func sentence(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long: " + firstLine(err.Error())
	}
	return firstLine(err.Error())
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	if len(s) > maxCause {
		s = strings.ToValidUTF8(s[:maxCause], "") + "…"
	}
	return s
}

// retryError tells asynq, and with it Asynqmon, the cause in the row.
type retryError struct {
	delay time.Duration
	cause string
}

func (e *retryError) Error() string { return e.cause }

// retryDelay returns the row's delay, for asynq to use before it retries a task.
func retryDelay(n int, err error, _ *asynq.Task) time.Duration {
	if retry, ok := errors.AsType[*retryError](err); ok {
		return tasks.AsynqDelay(retry.delay)
	}
	return min(time.Duration(n+1)*time.Second, time.Minute)
}
