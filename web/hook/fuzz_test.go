package hook_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/web/hook"
)

func FuzzParseGitHub(f *testing.F) {
	f.Add("push", []byte(githubPush))
	f.Add("installation", []byte(`{"action":"created","installation":{"id":9,"app_id":5,"account":{"login":"ada"}},"repositories":[{"id":7,"full_name":"ada/blog"}]}`))
	f.Add("installation_repositories", []byte(`{"action":"removed","installation":{"id":9,"app_id":5,"account":{"slug":"ada"}},"repositories_removed":[{"id":7,"full_name":"ada/blog"}]}`))
	f.Add("repository", []byte(`{"action":"transferred","repository":{"id":7,"full_name":"ada/blog"},"changes":{"owner":{"from":{"user":{"login":"bob"}}}}}`))
	f.Add("check_run", []byte(`{"action":"requested_action","repository":{"id":7,"full_name":"ada/blog"},"check_run":{"id":1,"head_sha":"`+commitA+`","app":{"id":5},"check_suite":{"id":2}},"requested_action":{"identifier":"x"}}`))
	f.Add("check_suite", []byte(`{"action":"rerequested","repository":{"id":7,"full_name":"ada/blog"},"check_suite":{"id":2,"head_sha":"`+commitA+`","app":{"id":5}}}`))
	f.Add("pull_request", []byte(`{"action":"opened","repository":{"id":7,"full_name":"ada/blog"},"pull_request":{"number":1,"state":"open","head":{"ref":"a","sha":"`+commitA+`","repo":null},"base":{"ref":"main"}}}`))
	f.Add("ping", []byte(`{"hook_id":3}`))
	f.Add("star", []byte(`{"action":"\ud800\u0000"}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		e, err := hook.ParseGitHub(event, body)
		sound(t, troy.GitHub, e, err)
	})
}

func FuzzParseBitbucket(f *testing.F) {
	f.Add("repo:push", []byte(bitbucketPush))
	f.Add("", []byte(`{"event":"repo:push","data":`+bitbucketPush+`}`))
	f.Add("repo:push", []byte(`{`+bitbucketRepo+`,"push":{"changes":[{"old":`+bitbucketOld+`,"new":null,"closed":true},{"new":{"type":"tag","name":"v1","target":{"hash":"`+commitA+`"}}}]}}`))
	f.Add("repo:updated", []byte(`{`+bitbucketRepo+`,"changes":{"full_name":{"old":"ada/log","new":"ada/blog"}}}`))
	f.Add("repo:transfer", []byte(`{`+bitbucketRepo+`}`))
	f.Add("pullrequest:created", []byte(bitbucketPull))
	f.Add("repo:commit_status_created", []byte(`{}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		e, err := hook.ParseBitbucket(event, body)
		sound(t, troy.Bitbucket, e, err)
	})
}

// sound holds a parser to what it promises of anything that it lets through.
func sound(t *testing.T, provider troy.Provider, e troy.ForgeEvent, err error) {
	t.Helper()
	if err != nil {
		if e != nil || troy.KindOf(err) != troy.Invalid {
			t.Fatalf("refused as %v, %v", e, err)
		}
		line(t, err.Error(), 600)
		return
	}
	repository := func(r troy.ForgeRepository) {
		if r.Provider != provider || r.ID == "" || strings.Count(r.FullName, "/") != 1 {
			t.Errorf("got the repository %+v", r)
		}
		line(t, r.ID, 40)
		line(t, r.FullName, 255)
		line(t, r.DefaultBranch, 255)
	}
	switch e := e.(type) {
	case troy.PushEvent:
		repository(e.Repository)
		line(t, e.Pusher, 255)
		for _, p := range e.Pushes {
			if p.Name == "" || p.Kind != troy.Branch && p.Kind != troy.Tag || (p.After == "") && !p.Deleted || len(p.After) > 64 || len(p.Before) > 64 {
				t.Errorf("got %+v", p)
			}
			line(t, p.Name, 255)
			line(t, p.Author, 255)
			line(t, strings.NewReplacer("\n", "", "\t", "").Replace(p.Message), troy.MaxMessage)
		}
	case troy.InstallationChange:
		for _, r := range append(e.Added, e.Removed...) {
			repository(r)
		}
		line(t, e.Account, 255)
		line(t, e.Sender, 255)
	case troy.RepositoryChange:
		repository(e.Repository)
		line(t, e.OldFullName, 255)
		line(t, e.OldDefaultBranch, 255)
	case troy.Rerequest:
		repository(e.Repository)
		for _, s := range []string{e.Branch, e.Action, e.ExternalID, e.Sender} {
			line(t, s, 255)
		}
	case troy.PullRequest:
		repository(e.Repository)
		for _, s := range []string{e.Action, e.Title, e.Head, e.HeadCommit, e.Base, e.Sender} {
			line(t, s, 255)
		}
	case troy.Ping:
	case troy.Ignored:
		line(t, e.Name, 128)
		line(t, e.Action, 255)
	default:
		t.Errorf("got %T", e)
	}
}

// line wants a text that can be stored and shown.
func line(t *testing.T, s string, most int) {
	t.Helper()
	if utf8.RuneCountInString(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		t.Errorf("got the text %q", s)
	}
}

func FuzzParseInstalled(f *testing.F) {
	f.Add([]byte(installed))
	f.Add([]byte(`{"event":"installed","data":` + installed + `}`))
	f.Add([]byte(uninstalled))
	f.Fuzz(func(t *testing.T, body []byte) {
		i, err := hook.ParseInstalled(body)
		if err != nil && (troy.KindOf(err) != troy.Invalid || i != (hook.ConnectInstalled{})) || err == nil && (i.ClientKey == "" || len(i.SharedSecret) < 16) {
			t.Errorf("got %v, %v", i, err)
		}
		u, err := hook.ParseUninstalled(body)
		if (err == nil) != (u.ClientKey != "") {
			t.Errorf("got %v, %v", u, err)
		}
	})
}

func FuzzConnect(f *testing.F) {
	signed, err := hook.SignConnect(events(), clientKey, "troy", []byte(connectSecret), connectNow())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed, "/bitbucket/connect/s/events", "")
	f.Add(signed, "/bitbucket/connect/s/", "a=b&a=%20&jwt=x")
	f.Add(signed[:len(signed)-5]+"\n"+signed[len(signed)-5:], "/bitbucket/connect/s/events", "")
	f.Add("a.b.c", "", "%")
	f.Fuzz(func(t *testing.T, token, path, query string) {
		r := hook.ConnectRequest{Method: "POST", Path: path, Query: query, Base: "/bitbucket/connect/s"}
		verified := hook.VerifyConnect(token, r, clientKey, []byte(connectSecret), connectNow()) == nil
		issuer, err := hook.ConnectIssuer(token)
		if verified && (token != signed || issuer != clientKey) {
			t.Errorf("%q verifies", token)
		}
		if err == nil {
			line(t, issuer, 255)
		}
		// What is canonical stays so when the query is written anew.
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		before, err := r.Canonical()
		if err != nil {
			return
		}
		r.Query = values.Encode()
		if after, err := r.Canonical(); err != nil || after != before {
			t.Errorf("%q became %q, %v", before, after, err)
		}
	})
}
