package intake_test

import (
	"testing"

	"github.com/troy-iaas/troy/intake"
)

// TestPullRequestTable has every event in every state of a preview.
func TestPullRequestTable(t *testing.T) {
	t.Parallel()
	const (
		none, open, gone              = intake.PreviewNone, intake.PreviewOpen, intake.PreviewGone
		ignore, build, update, remove = intake.PullRequestIgnore, intake.PullRequestBuild, intake.PullRequestUpdate, intake.PullRequestClose
	)
	type at struct {
		event   intake.PullRequestEvent
		preview intake.PullRequestPreview
		wanted  bool
	}
	table := map[at]intake.PullRequestAction{
		{intake.PullRequestOpened, none, true}: build, {intake.PullRequestOpened, open, true}: build, {intake.PullRequestOpened, gone, true}: build,
		{intake.PullRequestPushed, none, true}: build, {intake.PullRequestPushed, open, true}: build, {intake.PullRequestPushed, gone, true}: build,
		{intake.PullRequestReady, none, true}: build, {intake.PullRequestReady, open, true}: update, {intake.PullRequestReady, gone, true}: build,
		{intake.PullRequestEdited, none, true}: ignore, {intake.PullRequestEdited, open, true}: update, {intake.PullRequestEdited, gone, true}: ignore,
		{intake.PullRequestClosed, none, true}: ignore, {intake.PullRequestClosed, open, true}: remove, {intake.PullRequestClosed, gone, true}: ignore,
	}
	for _, event := range intake.PullRequestEvents() {
		// Without a wish for a preview, only an open one is closed.
		table[at{event, none, false}], table[at{event, open, false}], table[at{event, gone, false}] = ignore, remove, ignore
		for _, preview := range intake.PullRequestPreviews() {
			for _, wanted := range []bool{true, false} {
				want, listed := table[at{event, preview, wanted}]
				if got := intake.ActOnPullRequest(event, preview, wanted); got != want || !listed {
					t.Errorf("%s, preview %s, wanted %v: %q, want %q", event, preview, wanted, got, want)
				}
			}
		}
	}
	if n := len(intake.PullRequestEvents()) * len(intake.PullRequestPreviews()) * 2; len(table) != n {
		t.Errorf("the table has %d rows, want %d", len(table), n)
	}
}
