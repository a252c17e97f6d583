package github_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy/forge/forgetest"
	"github.com/troy-iaas/troy/forge/github"
)

const (
	// payloads has one payload for each event, written for these tests.
	payloads = "testdata/events"
	// fixtures is the folder of recorded payloads, which belong to others and
	// so are not part of this repository.
	fixtures = "../../../shared/fixtures/github"
)

func TestPayloads(t *testing.T) {
	t.Parallel()
	forgetest.Payloads(t, payloads, own, eventOf, github.Parse)
}

func TestRecorded(t *testing.T) {
	t.Parallel()
	forgetest.NeedRecorded(t, fixtures)
	forgetest.Payloads(t, fixtures, recorded, eventOf, github.Parse)
}

// eventOf returns the event in the header of a payload's delivery.
func eventOf(file string) string {
	event, _, _ := strings.Cut(file, ".")
	return event
}

// own lists the result of each payload in testdata.
var own = map[string]string{
	"check_run.requested_action.json":            `rerequest of 34fb3300 on harvest in 731204418, run 40551230077, button "retry"`,
	"check_run.rerequested.json":                 `rerequest of 34fb3300 on harvest in 731204418, run 40551230077, button ""`,
	"check_suite.requested.json":                 `ignored check_suite requested`,
	"check_suite.rerequested.json":               `rerequest of 34fb3300 on harvest in 731204418, run , button ""`,
	"create.branch.json":                         `ignored create `,
	"create.tag.json":                            `ignored create `,
	"delete.branch.json":                         `ignored delete `,
	"delete.tag.json":                            `ignored delete `,
	"deployment.created.json":                    `ignored deployment created`,
	"deployment_status.created.json":             `ignored deployment_status created`,
	"github_app_authorization.revoked.json":      `ignored github_app_authorization revoked`,
	"installation.created.json":                  `installation 55231907 of app 318842 for larkspur-labs created, all false, +[larkspur-labs/field-notes] -[]`,
	"installation.deleted.json":                  `installation 55231907 of app 318842 for larkspur-labs deleted, all false, +[larkspur-labs/field-notes] -[]`,
	"installation.new_permissions_accepted.json": `installation 55231907 of app 318842 for larkspur-labs permissions_accepted, all true, +[larkspur-labs/field-notes] -[]`,
	"installation.suspend.json":                  `installation 55231907 of app 318842 for larkspur-labs suspended, all true, +[] -[]`,
	"installation.unsuspend.json":                `installation 55231907 of app 318842 for larkspur-labs unsuspended, all true, +[] -[]`,
	"installation_repositories.added.json":       `installation 55231907 of app 318842 for larkspur-labs repositories_changed, all false, +[larkspur-labs/almanac] -[]`,
	"installation_repositories.removed.json":     `installation 55231907 of app 318842 for larkspur-labs repositories_changed, all false, +[] -[larkspur-labs/field-notes]`,
	"issue_comment.created.json":                 `command on pull request 31 of 731204418 by 88120777 edda-moss, commit "34fb330"`,
	"meta.deleted.json":                          `ignored meta deleted`,
	"ping.app.json":                              `ping of 508221907, app 318842`,
	"ping.json":                                  `ping of 508221907, app `,
	"ping.org.json":                              `ping of 508221907, app `,
	"pull_request.closed.json":                   `pull request 31 closed, 34fb3300 on harvest to main, fork false, open false`,
	"pull_request.converted_to_draft.json":       `pull request 31 converted_to_draft, 34fb3300 on harvest to main, fork false, open true`,
	"pull_request.labeled.json":                  `pull request 31 labeled, 34fb3300 on harvest to main, fork false, open true`,
	"pull_request.opened.json":                   `pull request 31 opened, 34fb3300 on harvest to main, fork false, open true`,
	"pull_request.ready_for_review.json":         `pull request 31 ready_for_review, 34fb3300 on harvest to main, fork false, open true`,
	"pull_request.reopened.json":                 `pull request 31 reopened, 34fb3300 on harvest to main, fork false, open true`,
	"pull_request.synchronize.json":              `pull request 31 synchronize, 34fb3300 on harvest to main, fork false, open true`,
	"pull_request.unlabeled.json":                `pull request 31 unlabeled, 34fb3300 on harvest to main, fork false, open true`,
	"push.branch-created.json":                   `push to 731204418 by imogen-vale through 55231907, complete true; branch main created ..e0996a37 "Begin the notes" by Imogen Vale, 1 paths, all false`,
	"push.branch-deleted.json":                   `push to 731204418 by imogen-vale through 55231907, complete true; branch harvest deleted 34fb3300.. "" by , 0 paths, all false`,
	"push.branch-update.json":                    `push to 731204418 by imogen-vale through , complete true; branch main e0996a37..352f7829 "Plant the beans" by Imogen Vale, 4 paths, all true`,
	"push.forced-no-commits.json":                `push to 731204418 by imogen-vale through 55231907, complete true; branch harvest forced 34fb3300..352f7829 "Plant the beans" by Imogen Vale, 0 paths, all false`,
	"push.forced.json":                           `push to 731204418 by imogen-vale through 55231907, complete true; branch main forced 352f7829..34fb3300 "Plant the beans, properly" by Imogen Vale, 2 paths, all false`,
	"push.merge-queue-branch-deleted.json":       `push to 731204418 by none through 55231907, complete true; branch gh-readonly-queue/main/pr-31-352f7829a2384b001cc12b0c2613c756454a1f6a deleted 34fb3300.. "" by , 0 paths, all false`,
	"push.no-username-committer.json":            `push to 731204418 by imogen-vale through 55231907, complete true; branch main e0996a37..352f7829 "Plant the beans" by Imogen Vale, 1 paths, all true`,
	"push.tag-created.json":                      `push to 731204418 by imogen-vale through 55231907, complete true; tag v1.4.0 created ..352f7829 "Plant the beans" by Imogen Vale, 0 paths, all false`,
	"push.tag-deleted.json":                      `push to 731204418 by imogen-vale through 55231907, complete true; tag v1.4.0 deleted 352f7829.. "" by , 0 paths, all false`,
	"repository.created.json":                    `repository 731204418 larkspur-labs/field-notes created, was "", branch was ""`,
	"repository.deleted.json":                    `repository 731204418 larkspur-labs/field-notes deleted, was "", branch was ""`,
	"repository.edited.json":                     `repository 731204418 larkspur-labs/field-notes edited, was "", branch was "trunk"`,
	"repository.privatized.json":                 `repository 731204418 larkspur-labs/field-notes privatized, was "", branch was ""`,
	"repository.publicized.json":                 `repository 731204418 larkspur-labs/field-notes publicized, was "", branch was ""`,
	"repository.renamed.json":                    `repository 731204418 larkspur-labs/field-notes renamed, was "larkspur-labs/old-notes", branch was ""`,
	"repository.transferred.json":                `repository 731204418 larkspur-labs/field-notes transferred, was "imogen-vale/field-notes", branch was ""`,
	"status.json":                                `ignored status `,
}

// recorded lists the result of each recorded delivery from GitHub.
var recorded = map[string]string{
	"check_run.requested_action.json":            `rerequest of 5bd5f196 on miniak/event-process-id in 9384267, run 1494503112, button "lgtm|26764"`,
	"check_run.rerequested.json":                 `rerequest of d6fde929 on master in 526, run 4, button ""`,
	"check_suite.requested.json":                 `ignored check_suite requested`,
	"check_suite.rerequested.json":               `rerequest of ec26c3e5 on changes in 186853002, run , button ""`,
	"create.branch.json":                         `ignored create `,
	"create.tag.json":                            `ignored create `,
	"delete.branch.json":                         `ignored delete `,
	"delete.tag.json":                            `ignored delete `,
	"deployment.created.json":                    `ignored deployment created`,
	"deployment_status.created.json":             `ignored deployment_status created`,
	"github_app_authorization.revoked.json":      `ignored github_app_authorization revoked`,
	"installation.created.json":                  `installation 957387 of app 29310 for Codertocat created, all false, +[Codertocat/Hello-World] -[]`,
	"installation.deleted.json":                  `installation 2 of app 5725 for octocat deleted, all false, +[octocat/Hello-World] -[]`,
	"installation.new_permissions_accepted.json": `installation 957387 of app 29310 for Codertocat permissions_accepted, all true, +[Codertocat/Hello-World] -[]`,
	"installation.suspend.json":                  `installation 16598467 of app 29310 for Codertocat suspended, all true, +[] -[]`,
	"installation.unsuspend.json":                `installation 16598467 of app 29310 for Codertocat unsuspended, all true, +[] -[]`,
	"installation_repositories.added.json":       `installation 957387 of app 29310 for Codertocat repositories_changed, all false, +[Codertocat/Space] -[]`,
	"installation_repositories.removed.json":     `installation 2 of app 5725 for octocat repositories_changed, all false, +[] -[octocat/Hello-World]`,
	"meta.deleted.json":                          `ignored meta deleted`,
	"ping.app.json":                              `ping of 109948940, app 29310`,
	"ping.json":                                  `ping of 109948940, app `,
	"ping.org.json":                              `ping of 109948940, app `,
	"pull_request.closed.json":                   `pull request 2 closed, ec26c3e5 on changes to master, fork false, open false`,
	"pull_request.converted_to_draft.json":       `pull request 2 converted_to_draft, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.labeled.json":                  `pull request 2 labeled, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.opened.json":                   `pull request 2 opened, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.ready_for_review.json":         `pull request 2 ready_for_review, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.reopened.json":                 `pull request 2 reopened, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.synchronize.json":              `pull request 2 synchronize, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.unlabeled.json":                `pull request 2 unlabeled, ec26c3e5 on changes to master, fork false, open true`,
	"push.branch-created.json":                   `push to 186853002 by Codertocat through 1, complete true; branch master created ..6113728f "Initial commit" by Codertocat, 1 paths, all false`,
	"push.branch-deleted.json":                   `push to 13933572 by bradrydzewski through , complete true; branch feature-branch deleted d2b75aa7.. "" by , 0 paths, all false`,
	"push.branch-update.json":                    `push to 135493233 by Codertocat through , complete true; branch master a10867b1..199eddf4 "Update README" by Codertocat, 0 paths, all false`,
	"push.forced-no-commits.json":                `push to 606370184 by sbansal1999 through , complete true; branch temp forced 2084a91a..9a8749ea "message_fetch: Fix stream narrows when everything recent is muted." by Tim Abbott, 0 paths, all false`,
	"push.forced.json":                           `push to 1256442359 by 6543 through , complete true; branch main forced 5ea73729..f7220f1f "feat: initial implementation" by 6543, 17 paths, all false`,
	"push.merge-queue-branch-deleted.json":       `push to 353322834 by none through 17816238, complete true; branch gh-readonly-queue/main/pr-3072-287d30540ac5a1acc57d0bdc138fa81dee315f48 deleted a6bd77bb.. "" by , 0 paths, all false`,
	"push.no-username-committer.json":            `push to 186853002 by Codertocat through 1, complete true; branch master created ..6113728f "Initial commit" by Codertocat, 1 paths, all false`,
	"push.tag-created.json":                      `push to 13933572 by bradrydzewski through , complete true; tag v0.0.1 created ..d2b75aa7 "Update .drone.yml" by Brad Rydzewski, 0 paths, all false`,
	"push.tag-deleted.json":                      `push to 13933572 by bradrydzewski through , complete true; tag v0.0.1 deleted d2b75aa7.. "" by , 0 paths, all false`,
	"repository.created.json":                    `repository 186853261 Octocoders/Hello-World created, was "", branch was ""`,
	"repository.deleted.json":                    `repository 101403334 clsOrg/tets1 deleted, was "", branch was ""`,
	"repository.edited.json":                     `repository 186853261 Octocoders/Hello-World edited, was "", branch was "main"`,
	"repository.privatized.json":                 `repository 186853002 Codertocat/Hello-World privatized, was "", branch was ""`,
	"repository.publicized.json":                 `repository 186853002 Codertocat/Hello-World publicized, was "", branch was ""`,
	"repository.renamed.json":                    `repository 186853261 Octocoders/Hello-World renamed, was "Octocoders/Hello-World", branch was ""`,
	"repository.transferred.json":                `repository 186853261 Octocoders/Hello-World transferred, was "octocat/Hello-World", branch was ""`,
	"status.json":                                `ignored status `,
}
