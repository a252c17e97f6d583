package bitbucket_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/forgetest"
)

const (
	commitA = "1111111111111111111111111111111111111111"
	commitB = "2222222222222222222222222222222222222222"

	bitbucketID   = "{3deb8c29-778a-450c-8f69-3e50a18079df}"
	bitbucketRepo = `"repository":{"uuid":"{3DEB8C29-778a-450c-8f69-3e50a18079df}","full_name":"ada/blog","is_private":true},"actor":{"nickname":"ada"}`
	bitbucketOld  = `{"type":"branch","name":"main","target":{"hash":"` + commitA + `"}}`
	bitbucketNew  = `{"type":"branch","name":"main","target":{"hash":"` + commitB + `","message":"Add a page\n\nskip-checks: true\n","author":{"raw":"Ada <ada@example.com>"}}}`
	bitbucketPush = `{` + bitbucketRepo + `,"push":{"changes":[{"old":` + bitbucketOld + `,"new":` + bitbucketNew + `,"forced":false,"truncated":true}]}}`
	bitbucketPull = `{` + bitbucketRepo + `,"pullrequest":{"id":3,"state":"OPEN","title":"A","source":{"branch":{"name":"a"},"commit":{"hash":"111111111111"},
		"repository":{"uuid":"` + bitbucketID + `"}},"destination":{"branch":{"name":"main"}}}}`
)

func TestPush(t *testing.T) {
	t.Parallel()
	got, err := bitbucket.Parse("repo:push", []byte(bitbucketPush))
	if err != nil {
		t.Fatal(err)
	}
	want := troy.PushEvent{
		Repository: troy.ForgeRepository{Provider: troy.Bitbucket, ID: bitbucketID, FullName: "ada/blog", Private: true},
		Pusher:     "ada", Complete: true,
		Pushes: []troy.Push{{
			Kind: troy.Branch, Name: "main", Before: commitA, After: commitB, Message: "Add a page\n\nskip-checks: true", Author: "Ada",
			Skip: "the commit's message has the trailer skip-checks: true", Unlisted: true,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-) against got (+):\n%s", diff)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	const change = `{"old":` + bitbucketOld + `,"new":` + bitbucketNew + `}`
	for _, c := range []struct {
		name, changes string
		pushes        int
		complete      bool
	}{
		{"none", `[]`, 0, false},
		{"null", `null`, 0, false},
		{"one that says nothing", `[{"old":null,"new":null},` + change + `]`, 1, false},
		{"one of another kind", `[{"old":null,"new":{"type":"bookmark","name":"x"}},` + change + `]`, 1, false},
		{"a thousand", forgetest.List(1000, change), 1000, true},
		{"more", forgetest.List(1001, change), 1000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := bitbucket.Parse("repo:push", forgetest.With(t, bitbucketPush, "push.changes", c.changes))
			if err != nil {
				t.Fatal(err)
			}
			if p := got.(troy.PushEvent); len(p.Pushes) != c.pushes || p.Complete != c.complete {
				t.Errorf("got %d pushes, complete %v", len(p.Pushes), p.Complete)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ event, body, want string }{
		{"repo:deleted", `{` + bitbucketRepo + `}`, `repository ` + bitbucketID + ` ada/blog deleted, was "", branch was ""`},
		{"repo:created", `{` + bitbucketRepo + `}`, `repository ` + bitbucketID + ` ada/blog created, was "", branch was ""`},
		{"repo:transfer", `{` + bitbucketRepo + `}`, `repository ` + bitbucketID + ` ada/blog transferred, was "", branch was ""`},
		{"repo:updated", `{` + bitbucketRepo + `,"changes":{"website":{"old":1,"new":[]}}}`, `repository ` + bitbucketID + ` ada/blog edited, was "", branch was ""`},
		{"repo:updated", `{` + bitbucketRepo + `,"changes":{"full_name":{"old":"ada/log","new":"ada/blog"}}}`, `repository ` + bitbucketID + ` ada/blog renamed, was "ada/log", branch was ""`},
		{"pullrequest:updated", bitbucketPull, `pull request 3 updated, 11111111 on a to main, fork false, open true`},
		{"pullrequest:comment_created", strings.Replace(bitbucketComment, "/troy preview", "Thanks!", 1), `ignored pullrequest:comment_created `},
		{"repo:fork", `{"data":7}`, `ignored repo:fork `},
		{"diagnostics:ping", `{"test":true}`, `ignored diagnostics:ping `},
		{"repo:fork", `{"event":"repo:fork","data":"no object"}`, `ignored repo:fork `},
	} {
		got, err := bitbucket.Parse(c.event, []byte(c.body))
		if err != nil || forgetest.Summary(got) != c.want {
			t.Errorf("%s with %s gave %v, %v", c.event, c.body, got, err)
		}
	}
	gone := forgetest.With(t, bitbucketPull, "pullrequest.source.repository", `null`)
	if got, err := bitbucket.Parse("pullrequest:fulfilled", gone); err != nil || !got.(troy.PullRequest).Fork {
		t.Errorf("a head whose repository is gone gave %v, %v", got, err)
	}
}

// bitbucketComment is a comment with a command.
const bitbucketComment = `{` + bitbucketRepo + `,"pullrequest":{"id":3},"comment":{"content":{"raw":"/troy preview"},` +
	`"user":{"type":"user","uuid":"{0b2f6c11-90aa-4e0c-8d4d-5f7712c3a901}","nickname":"ada"},"created_on":"2026-11-28T06:45:00+00:00"}}`

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ event, body, path, value, field string }{
		{"repo:push", bitbucketPush, "repository.uuid", ``, "repository.uuid"},
		{"repo:push", bitbucketPush, "repository.uuid", `"3deb8c29-778a-450c-8f69-3e50a18079df"`, "repository.uuid"},
		{"repo:push", bitbucketPush, "repository.uuid", `"{3deb8c29-778a-450c-8f69-3e50a18079dg}"`, "repository.uuid"},
		{"repo:push", bitbucketPush, "repository.full_name", `"blog"`, "repository.full_name"},
		{"repo:push", bitbucketPush, "push", `7`, "push"},
		{"repo:push", bitbucketPush, "push.changes.new.name", ``, "push.changes.new.name"},
		{"repo:push", bitbucketPush, "push.changes.new.name", `"a\u0007"`, "push.changes.new.name"},
		{"repo:push", bitbucketPush, "push.changes.new.name", `"-x"`, "push.changes.new.name"},
		{"repo:push", bitbucketPush, "push.changes.new.target.hash", ``, "push.changes.new.target.hash"},
		{"repo:push", bitbucketPush, "push.changes.new.target.hash", `"111111111111"`, "push.changes.new.target.hash"},
		{"repo:push", bitbucketPush, "push.changes.old.target.hash", `""`, "push.changes.old.target.hash"},
		{"repo:updated", bitbucketPush, "changes", `{"full_name":{"old":"x","new":"y"}}`, "changes.full_name.old"},
		{"pullrequest:created", bitbucketPull, "pullrequest.id", `0`, "pullrequest.id"},
		{"pullrequest:created", bitbucketPull, "pullrequest.source.branch", ``, "pullrequest.source.branch.name"},
		{"pullrequest:created", bitbucketPull, "pullrequest.source.commit.hash", `"--help"`, "pullrequest.source.commit.hash"},
		{"pullrequest:created", bitbucketPull, "pullrequest.source.repository", `{"uuid":"x"}`, "pullrequest.source.repository.uuid"},
		{"pullrequest:comment_created", bitbucketComment, "pullrequest.id", `-1`, "pullrequest.id"},
		{"pullrequest:comment_created", bitbucketComment, "comment.user", `null`, "comment.user.uuid"},
		{"pullrequest:comment_created", bitbucketComment, "comment.created_on", ``, "comment.created_on"},
		{"pullrequest:", bitbucketPull, "pullrequest.id", `1`, "X-Event-Key"},
		{"", bitbucketPush, "x", `1`, "X-Event-Key"},
		{"repo:push\n", bitbucketPush, "x", `1`, "X-Event-Key"},
		{strings.Repeat("a", 129), bitbucketPush, "x", `1`, "X-Event-Key"},
	} {
		event, err := bitbucket.Parse(c.event, forgetest.With(t, c.body, c.path, c.value))
		t.Run(c.event[:min(20, len(c.event))]+" "+c.path+" "+c.value, func(t *testing.T) {
			t.Parallel()
			forgetest.Refused(t, event, err, c.field)
		})
	}
	for _, body := range []string{"", "null x", "[]", `{"event":"repo:push","data":{`, bitbucketPush[:300]} {
		if got, err := bitbucket.Parse("repo:push", []byte(body)); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%.40q gave %v, %v", body, got, err)
		}
	}
}
