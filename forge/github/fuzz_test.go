package github_test

import (
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/forgetest"
	"github.com/troy-iaas/troy/forge/github"
)

func FuzzParse(f *testing.F) {
	f.Add("push", []byte(githubPush))
	f.Add("installation", []byte(`{"action":"created","installation":{"id":9,"app_id":5,"account":{"login":"ada"}},"repositories":[{"id":7,"full_name":"ada/blog"}]}`))
	f.Add("installation_repositories", []byte(`{"action":"removed","installation":{"id":9,"app_id":5,"account":{"slug":"ada"}},"repositories_removed":[{"id":7,"full_name":"ada/blog"}]}`))
	f.Add("repository", []byte(`{"action":"transferred","repository":{"id":7,"full_name":"ada/blog"},"changes":{"owner":{"from":{"user":{"login":"bob"}}}}}`))
	f.Add("check_run", []byte(`{"action":"requested_action","repository":{"id":7,"full_name":"ada/blog"},"check_run":{"id":1,"head_sha":"`+commitA+`","app":{"id":5},"check_suite":{"id":2}},"requested_action":{"identifier":"x"}}`))
	f.Add("check_suite", []byte(`{"action":"rerequested","repository":{"id":7,"full_name":"ada/blog"},"check_suite":{"id":2,"head_sha":"`+commitA+`","app":{"id":5}}}`))
	f.Add("pull_request", []byte(`{"action":"opened","repository":{"id":7,"full_name":"ada/blog"},"pull_request":{"number":1,"state":"open","head":{"ref":"a","sha":"`+commitA+`","repo":null},"base":{"ref":"main"}}}`))
	f.Add("issue_comment", []byte(comment))
	f.Add("ping", []byte(`{"hook_id":3}`))
	f.Add("star", []byte(`{"action":"\ud800\u0000"}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		e, err := github.Parse(event, body)
		forgetest.Sound(t, troy.GitHub, e, err)
	})
}
