package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/troy-iaas/troy"
)

// The exit codes, as the root's help and docs/cli.md list them.
const (
	exitOK          = 0
	exitInternal    = 1
	exitInvalid     = 2
	exitForbidden   = 3
	exitNotFound    = 4
	exitConflict    = 5
	exitFailed      = 6
	exitUnavailable = 7
	exitOverQuota   = 8
	exitInterrupted = 130
)

// maxDetails is the maximum number of an error's details to show.
const maxDetails = 20

// errFailed is wrapped by the error for a deployment that ended without going
// live.
var errFailed = errors.New("the deployment did not succeed")

// failedError is errFailed with a message.
type failedError struct{ message string }

func (e *failedError) Error() string        { return e.message }
func (e *failedError) Is(target error) bool { return target == errFailed }

func (a *app) exitCode(ctx context.Context, err error) int {
	switch {
	case errors.Is(err, errFailed):
		return exitFailed
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	case !a.started:
		// an error of cobra: an unknown command or flag, or a missing argument
		return exitInvalid
	}
	switch troy.KindOf(err) {
	case troy.Invalid, troy.TooLarge:
		return exitInvalid
	case troy.Unauthenticated, troy.Forbidden:
		return exitForbidden
	case troy.NotFound:
		return exitNotFound
	case troy.Conflict, troy.Moved:
		return exitConflict
	case troy.OverQuota:
		return exitOverQuota
	case troy.Unavailable, troy.Unsure:
		return exitUnavailable
	}
	return exitInternal
}

// report prints on stderr why the command failed.
func (a *app) report(code int, err error) {
	text := clean(err.Error())
	if code == exitInterrupted {
		text = "interrupted"
		if hint, ok := errors.AsType[*hintError](err); ok {
			text += ": " + hint.hint
		}
	} else if hint, ok := errors.AsType[*hintError](err); ok && code == exitUnavailable {
		text += "\n" + hint.hint
	}
	_, _ = fmt.Fprintf(a.err, "troy: %s\n", text)
	e, ok := errors.AsType[*troy.Error](err)
	if !ok {
		return
	}
	advice, advised := errors.AsType[*adviceError](err)
	for i, line := range e.Details {
		if i == maxDetails && !advised {
			_, _ = fmt.Fprintf(a.err, "  and %d more\n", len(e.Details)-i)
			break
		}
		_, _ = fmt.Fprintf(a.err, "  %s\n", clean(line))
	}
	if advised {
		_, _ = fmt.Fprintln(a.err, clean(advice.advice))
	}
	if e.Kind == troy.Unauthenticated {
		_, _ = fmt.Fprintln(a.err, "Log in with troy login, or set TROY_TOKEN to a token from:\n  troyd token create --role deployer")
	}
}

// adviceError adds advice about the error's details, which are all shown.
type adviceError struct {
	error
	advice string
}

func (e *adviceError) Unwrap() error { return e.error }

// hintError adds what the user can do after an interruption or a timeout.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }
