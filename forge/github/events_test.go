package github_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/forgetest"
	"github.com/troy-iaas/troy/forge/github"
)

const (
	commitA = "1111111111111111111111111111111111111111"
	commitB = "2222222222222222222222222222222222222222"
	zeros   = "0000000000000000000000000000000000000000"
)

const githubPush = `{
	"ref": "refs/heads/main", "before": "` + commitA + `", "after": "` + commitB + `",
	"created": false, "deleted": false, "forced": false,
	"head_commit": {"id": "` + commitB + `", "message": "Add a page", "timestamp": "2018-04-25 20:42:10", "author": {"name": "Ada"}},
	"commits": [
		{"id": "` + commitA + `", "added": ["b", "a"], "removed": [], "modified": ["c"]},
		{"id": "` + commitB + `", "added": [], "removed": ["a"], "modified": ["d e/ü"]}
	],
	"repository": {"id": 7, "full_name": "ada/blog", "default_branch": "main", "private": true, "created_at": 1557933565},
	"pusher": {"name": "ada"}, "installation": {"id": 9}, "a field of tomorrow": [1, {}]
}`

func TestPush(t *testing.T) {
	t.Parallel()
	got, err := github.Parse("push", []byte(githubPush))
	if err != nil {
		t.Fatal(err)
	}
	want := troy.PushEvent{
		Repository:   troy.ForgeRepository{Provider: troy.GitHub, ID: "7", FullName: "ada/blog", DefaultBranch: "main", Private: true},
		Installation: "9", Pusher: "ada", Complete: true,
		Pushes: []troy.Push{{
			Kind: troy.Branch, Name: "main", Before: commitA, After: commitB, Message: "Add a page", Author: "Ada",
			Paths: []string{"a", "b", "c", "d e/ü"}, PathsComplete: true,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-) against got (+):\n%s", diff)
	}
}

func TestPushChanged(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 2000)
	for _, c := range []struct {
		name, path, value string
		is                func(p troy.Push) bool
	}{
		{"new", "before", `"` + zeros + `"`, func(p troy.Push) bool { return p.Created && p.Before == "" && !p.PathsComplete }},
		{"deleted", "after", `"` + zeros + `"`, func(p troy.Push) bool { return p.Deleted && p.After == "" && !p.PathsComplete }},
		{"said to be deleted", "deleted", `true`, func(p troy.Push) bool { return p.Deleted && !p.PathsComplete }},
		{"forced", "forced", `true`, func(p troy.Push) bool { return p.Forced && !p.PathsComplete }},
		{"no commits", "commits", `[]`, func(p troy.Push) bool { return !p.PathsComplete && len(p.Paths) == 0 }},
		{"commits are null", "commits", `null`, func(p troy.Push) bool { return !p.PathsComplete }},
		{"a commit without files", "commits", `[{"added":["a"]},{"id":"x"}]`, func(p troy.Push) bool { return !p.PathsComplete && len(p.Paths) == 1 }},
		{"an empty commit", "commits", `[{"added":[],"removed":[],"modified":[]}]`, func(p troy.Push) bool { return p.PathsComplete && len(p.Paths) == 0 }},
		{"2047 commits", "commits", forgetest.List(2047, `{"added":["a"]}`), func(p troy.Push) bool { return p.PathsComplete }},
		{"2048 commits", "commits", forgetest.List(2048, `{"added":["a"]}`), func(p troy.Push) bool { return !p.PathsComplete }},
		{"a commit of 3000 files", "commits", `[{"added":` + forgetest.List(3000, `"a"`) + `}]`, func(p troy.Push) bool { return !p.PathsComplete }},
		{"long paths", "commits", `[{"added":["` + strings.Repeat("a", 999_999) + `"],"removed":["b"],"modified":["c"]}]`, func(p troy.Push) bool { return !p.PathsComplete && len(p.Paths) == 2 }},
		{"a tag", "ref", `"refs/tags/v1"`, func(p troy.Push) bool { return p.Kind == troy.Tag && p.Name == "v1" }},
		{"a branch like a tag", "ref", `"refs/heads/tags/v1"`, func(p troy.Push) bool { return p.Kind == troy.Branch && p.Name == "tags/v1" }},
		{"a commit of SHA-256", "after", `"` + strings.Repeat("a", 64) + `"`, func(p troy.Push) bool { return len(p.After) == 64 }},
		{"no head", "head_commit", `null`, func(p troy.Push) bool { return p.Message == "" && p.Author == "" }},
		{"no author's name", "head_commit.author", `{"username":"ada99"}`, func(p troy.Push) bool { return p.Author == "ada99" }},
		{"an author of several lines", "head_commit.author.name", `" A\u0000da\n"`, func(p troy.Push) bool { return p.Author == "A da" }},
		{"a message with control characters", "head_commit.message", `"a\u0000b\r\nc\td\u001b[31m\n"`, func(p troy.Push) bool { return p.Message == "a b\nc\td [31m" }},
		{"a long message", "head_commit.message", `"` + long + ` [skip ci]"`, func(p troy.Push) bool {
			return utf8.RuneCountInString(p.Message) == troy.MaxMessage && strings.HasSuffix(p.Message, "ä…") && strings.Contains(p.Skip, "[skip ci]")
		}},
		{"a lone surrogate", "head_commit.message", `"\ud800"`, func(p troy.Push) bool { return p.Message == "\uFFFD" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := github.Parse("push", forgetest.With(t, githubPush, c.path, c.value))
			if err != nil {
				t.Fatal(err)
			}
			if p := got.(troy.PushEvent).Pushes[0]; !c.is(p) {
				t.Errorf("got %.600s", fmt.Sprintf("%+v", p))
			}
		})
	}
}

func TestManyPaths(t *testing.T) {
	t.Parallel()
	var commits []string
	for i := range 10 {
		var files []string
		for j := range 1100 {
			files = append(files, fmt.Sprintf(`"%d/%d"`, i, j))
		}
		commits = append(commits, `{"added":[`+strings.Join(files, ",")+`]}`)
	}
	for n, want := range map[int]int{9: 9900, 10: 10_000} {
		got, err := github.Parse("push", forgetest.With(t, githubPush, "commits", "["+strings.Join(commits[:n], ",")+"]"))
		if err != nil {
			t.Fatal(err)
		}
		p := got.(troy.PushEvent).Pushes[0]
		if len(p.Paths) != want || p.PathsComplete != (n == 9) || !slices.IsSorted(p.Paths) {
			t.Errorf("%d commits gave %d paths, complete %v", n, len(p.Paths), p.PathsComplete)
		}
	}
}

// TestRefused removes or corrupts required members, one at a time.
// comment is a comment with a command.
const comment = `{"action":"created","repository":{"id":7,"full_name":"ada/blog"},"issue":{"number":1,"pull_request":{}},` +
	`"comment":{"body":"/troy preview","user":{"id":3,"login":"ada"},"created_at":"2026-11-28T06:45:00Z"}}`

func TestRefused(t *testing.T) {
	t.Parallel()
	const (
		repository   = `"repository":{"id":7,"full_name":"ada/blog","owner":{"login":"ada"}},"installation":{"id":9,"app_id":5,"account":{"login":"ada"}}`
		installation = `{"action":"created",` + repository + `,"repositories":[{"id":7,"full_name":"ada/blog"}]}`
		renamed      = `{"action":"renamed",` + repository + `,"changes":{"repository":{"name":{"from":"log"}}}}`
		transferred  = `{"action":"transferred",` + repository + `,"changes":{"owner":{"from":{"organization":{"login":"bob"}}}}}`
		run          = `{"action":"rerequested",` + repository + `,"check_run":{"id":1,"head_sha":"` + commitA + `","app":{"id":5},"check_suite":{"id":2}}}`
		button       = `{"action":"requested_action",` + repository + `,"check_run":{"id":1,"head_sha":"` + commitA + `","app":{"id":5},"check_suite":{"id":2}},"requested_action":{"identifier":"x"}}`
		suite        = `{"action":"rerequested",` + repository + `,"check_suite":{"id":2,"head_sha":"` + commitA + `","head_branch":null,"app":{"id":5}}}`
		pull         = `{"action":"opened",` + repository + `,"pull_request":{"number":1,"state":"open","head":{"ref":"a","sha":"` + commitA + `","repo":null},"base":{"ref":"main"}}}`
		ping         = `{"hook_id":3,"hook":{"app_id":5}}`
	)
	for _, c := range []struct{ event, body, path, value, field string }{
		{"push", githubPush, "ref", ``, "ref"},
		{"push", githubPush, "ref", `7`, "ref"},
		{"push", githubPush, "ref", `"notes/commits"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a\u0000b"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a\nb"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a\u009bb"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a b"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/--upload-pack=x"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/../../x"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a//b"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a/.b"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a.lock"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/a@{1}"`, "ref"},
		{"push", githubPush, "ref", `"refs/heads/` + strings.Repeat("a", 256) + `"`, "ref"},
		{"push", githubPush, "after", ``, "after"},
		{"push", githubPush, "after", `"` + commitB[1:] + `"`, "after"},
		{"push", githubPush, "after", `"` + strings.Repeat("A", 40) + `"`, "after"},
		{"push", githubPush, "after", `"HEAD"`, "after"},
		{"push", githubPush, "before", `""`, "before"},
		{"push", githubPush, "repository", `null`, "repository.id"},
		{"push", githubPush, "repository.id", `"7"`, "repository.id"},
		{"push", githubPush, "repository.id", `7.5`, "repository.id"},
		{"push", githubPush, "repository.id", `-7`, "repository.id"},
		{"push", githubPush, "repository.full_name", ``, "repository.full_name"},
		{"push", githubPush, "repository.full_name", `"blog"`, "repository.full_name"},
		{"push", githubPush, "repository.full_name", `"a/b/c"`, "repository.full_name"},
		{"push", githubPush, "repository.full_name", `"a/b\u0000"`, "repository.full_name"},
		{"push", githubPush, "installation.id", `-1`, "installation.id"},
		{"push", githubPush, "commits", `[{"added":[7]}]`, "commits[0].added[0]"},
		{"installation", installation, "installation.id", ``, "installation.id"},
		{"installation", installation, "installation.app_id", `0`, "installation.app_id"},
		{"installation", installation, "installation.account", `null`, "installation.account.login"},
		{"installation", installation, "action", ``, "action"},
		{"installation", installation, "repositories.id", ``, "repositories.id"},
		{"repository", renamed, "changes", `null`, "changes.repository.name.from"},
		{"repository", renamed, "action", ``, "action"},
		{"repository", transferred, "changes", ``, "changes.owner.from"},
		{"repository", transferred, "repository", ``, "repository.id"},
		{"check_run", run, "check_run.id", ``, "check_run.id"},
		{"check_run", run, "check_run.head_sha", `"` + zeros + `"`, "check_run.head_sha"},
		{"check_run", run, "check_run.app", ``, "check_run.app.id"},
		{"check_run", run, "check_run.check_suite", ``, "check_run.check_suite.id"},
		{"check_run", run, "action", ``, "action"},
		{"check_run", button, "requested_action", ``, "requested_action.identifier"},
		{"check_suite", suite, "check_suite", ``, "check_suite.id"},
		{"check_suite", suite, "check_suite.app.id", ``, "check_suite.app.id"},
		{"pull_request", pull, "pull_request", ``, "pull_request.number"},
		{"pull_request", pull, "action", ``, "action"},
		{"pull_request", pull, "pull_request.head.ref", `"a\u0000"`, "pull_request.head.ref"},
		{"pull_request", pull, "pull_request.head.sha", `"x"`, "pull_request.head.sha"},
		{"pull_request", pull, "pull_request.base", `null`, "pull_request.base.ref"},
		{"ping", ping, "hook_id", ``, "hook_id"},
		{"issues\n", ping, "hook_id", `1`, "X-GitHub-Event"},
		{"", ping, "hook_id", `1`, "X-GitHub-Event"},
		{"issue_comment", comment, "issue.number", `-1`, "issue.number"},
		{"issue_comment", comment, "comment.user", `null`, "comment.user.id"},
		{"issue_comment", comment, "comment.user.login", `"a\u0000"`, "comment.user.login"},
		{"issue_comment", comment, "comment.created_at", ``, "comment.created_at"},
		{"issue_comment", comment, "repository", ``, "repository.id"},
		{"issue_comment", comment, "action", ``, "action"},
	} {
		t.Run(c.event+" "+c.path+" "+c.value[:min(30, len(c.value))], func(t *testing.T) {
			t.Parallel()
			if event := strings.TrimSpace(c.event); event != "" && event == c.event {
				if _, err := github.Parse(event, []byte(c.body)); err != nil {
					t.Fatalf("the unchanged body is refused: %v", err)
				}
			}
			event, err := github.Parse(c.event, forgetest.With(t, c.body, c.path, c.value))
			forgetest.Refused(t, event, err, c.field)
		})
	}
}

// TestOtherRefs ignores pushes to refs other than branches and tags.
func TestOtherRefs(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"refs/notes/commits", "refs/pull/7/head", "refs/replace/x"} {
		event, err := github.Parse("push", forgetest.With(t, githubPush, "ref", `"`+ref+`"`))
		if ignored, ok := event.(troy.Ignored); err != nil || !ok || ignored.Reason != ref+" is neither a branch nor a tag" {
			t.Errorf("%s: %#v, %v", ref, event, err)
		}
	}
}

func TestNoJSON(t *testing.T) {
	t.Parallel()
	for _, event := range []string{"push", "installation", "installation_repositories", "repository", "check_run", "check_suite", "pull_request", "issue_comment", "ping", "star"} {
		for _, body := range []string{"", " ", "payload=%7B%7D", "[]", `"x"`, "7", "{", githubPush[:200], githubPush + "x", "\xff", strings.Repeat("[", 100_000), strings.Repeat(`{"repository":`, 100_000)} {
			got, err := github.Parse(event, []byte(body))
			if err == nil || troy.KindOf(err) != troy.Invalid {
				t.Errorf("%s with %.40q gave %v, %v", event, body, got, err)
			}
		}
	}
}

func TestIgnored(t *testing.T) {
	t.Parallel()
	const repository = `"repository":{"id":7,"full_name":"ada/blog"},"check_run":{"id":1}`
	for _, c := range []struct{ event, body, want string }{
		{"star", `{"action":"created","repository":"of another kind"}`, "ignored star created"},
		{"star", `{"action":{"of":"another kind"}}`, "ignored star "},
		{"repository_dispatch", `{"action":"a\u0000b` + strings.Repeat("c", 300) + `"}`, "ignored repository_dispatch a b" + strings.Repeat("c", 251) + "…"},
		{"check_run", `{"action":"completed",` + repository + `}`, "ignored check_run completed"},
		{"check_suite", `{"action":"requested_action",` + repository + `}`, "ignored check_suite requested_action"},
		{"repository", `{"action":"starred",` + repository + `}`, "ignored repository starred"},
		{"installation", `{"action":"deleted_by_aliens"}`, "ignored installation deleted_by_aliens"},
		{"installation", `{"action":"added"}`, "ignored installation added"},
		{"issue_comment", strings.Replace(comment, "created", "edited", 1), "ignored issue_comment edited"},
		{"issue_comment", strings.Replace(comment, "/troy preview", "Thanks!", 1), "ignored issue_comment created"},
		{"issue_comment", strings.Replace(comment, `,"pull_request":{}`, "", 1), "ignored issue_comment created"},
	} {
		got, err := github.Parse(c.event, []byte(c.body))
		if err != nil || forgetest.Summary(got) != c.want {
			t.Errorf("%s with %.60s gave %v, %v", c.event, c.body, got, err)
		}
	}
}

func TestFork(t *testing.T) {
	t.Parallel()
	const body = `{"action":"opened","repository":{"id":7,"full_name":"ada/blog"},"pull_request":{"number":1,"state":"open",
		"head":{"ref":"a","sha":"` + commitA + `","repo":{"id":7,"full_name":"ada/blog"}},"base":{"ref":"main"}}}`
	for value, want := range map[string]bool{`{"id":7}`: false, `{"id":8}`: true, `null`: true} {
		got, err := github.Parse("pull_request", forgetest.With(t, body, "pull_request.head.repo", value))
		if err != nil {
			t.Fatal(err)
		}
		if fork := got.(troy.PullRequest).Fork; fork != want {
			t.Errorf("a head in %s: fork %v, want %v", value, fork, want)
		}
	}
}
