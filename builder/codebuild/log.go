package codebuild

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

const (
	// pageEvents is the maximum number of CloudWatch events in a page.
	// CloudWatch itself bounds a page to 1 MiB.
	pageEvents = 5000
	// logSettle is how long after a build's end CloudWatch may still receive
	// lines.
	logSettle = 10 * time.Second
	// A log continues at cursorStream, followed by CloudWatch's token, and at
	// cursorTail.
	cursorStream, cursorTail = "s", "end"
	// maxEmpty is how many pages without lines one call skips.
	maxEmpty = 50
	// chatter is the prefix of CodeBuild's own lines.
	chatter = "[Container] "
	// lastLine is part of the last of them.
	lastLine = "Phase complete: UPLOAD_ARTIFACTS"
)

// cursorForm matches a cursor that Log may have returned.
var cursorForm = regexp.MustCompile(`^(end|s([fb]/[0-9A-Za-z/]{1,200})?)$`)

// Log implements builder.Builder. It returns Troy's own first lines, the
// build's lines from CloudWatch, and Troy's last lines. It does not redact
// them.
func (b *Builder) Log(ctx context.Context, t site.Tree, cursor string) (builder.LogPage, error) {
	page, err := b.page(ctx, t, cursor)
	if err != nil {
		return builder.LogPage{}, fmt.Errorf("read the log of build %s: %w", t.Deployment, err)
	}
	return page, nil
}

func (b *Builder) page(ctx context.Context, t site.Tree, cursor string) (builder.LogPage, error) {
	if cursor != "" && !cursorForm.MatchString(cursor) {
		return builder.LogPage{}, troy.Errorf(troy.Invalid, "%.64q is not a cursor of this log", cursor).At("cursor")
	}
	r, err := b.read(ctx, t)
	if err != nil {
		return builder.LogPage{}, err
	}
	switch {
	case cursor == "":
		return builder.LogPage{Data: []byte(r.Head), Next: cursorStream}, nil
	case cursor == cursorTail, r.ID == "" && r.End != nil:
		data := r.Tail
		if cursor == cursorTail {
			data = ""
		}
		return builder.LogPage{Data: []byte(data), Next: cursorTail, End: r.End != nil}, nil
	case r.LogStream == "":
		// Get finds out where the log is.
		if _, err := b.get(ctx, t); err != nil {
			return builder.LogPage{}, err
		}
		if r, err = b.read(ctx, t); err != nil {
			return builder.LogPage{}, err
		}
		if r.LogStream == "" {
			return b.maybeTail(r, nil, cursor), nil
		}
	}
	for empty := 0; ; empty++ {
		data, next, more, err := b.events(ctx, r, strings.TrimPrefix(cursor, cursorStream))
		if err != nil {
			return builder.LogPage{}, err
		}
		cursor = cursorStream + next
		switch {
		case more == ended && r.End != nil:
			return builder.LogPage{Data: []byte(data + r.Tail), Next: cursorTail, End: true}, nil
		case more == none, more == ended:
			return b.maybeTail(r, []byte(data), cursor), nil
		case data != "", empty == maxEmpty:
			return builder.LogPage{Data: []byte(data), Next: cursor}, nil
		}
	}
}

// Describes what follows a page of CloudWatch's.
const (
	some  = iota
	none  // for now
	ended // the page has the build's last line
)

// events reads a page of CloudWatch events without CodeBuild's own lines.
func (b *Builder) events(ctx context.Context, r record, token string) (data, next string, more int, err error) {
	in := &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: &r.LogGroup, LogStreamName: &r.LogStream, StartFromHead: aws.Bool(true), Limit: aws.Int32(pageEvents),
	}
	if token != "" {
		in.NextToken = &token
	}
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.GetLogEventsOutput, error) {
		return b.logs.GetLogEvents(ctx, in)
	})
	if err = awsapi.Failed("read CloudWatch's log", err); errors.Is(err, awsapi.ErrNotFound) {
		return "", token, none, nil // nothing was printed so far
	}
	if err != nil {
		return "", token, none, err
	}
	// A page may be empty although more follows: at the end CloudWatch returns
	// the request's token.
	if len(out.Events) == 0 && token != "" && aws.ToString(out.NextForwardToken) == token {
		more = none
	}
	var text strings.Builder
	for _, e := range out.Events {
		for l := range strings.Lines(aws.ToString(e.Message)) {
			if !strings.HasPrefix(l, chatter) {
				text.WriteString(l)
			} else if strings.Contains(l, lastLine) {
				more = ended
			}
		}
	}
	return text.String(), aws.ToString(out.NextForwardToken), more, nil
}

// maybeTail ends the log when nothing more can follow.
func (b *Builder) maybeTail(r record, data []byte, next string) builder.LogPage {
	if r.End == nil || time.Since(r.End.Ended) < logSettle {
		return builder.LogPage{Data: data, Next: next}
	}
	return builder.LogPage{Data: append(data, r.Tail...), Next: cursorTail, End: true}
}
