package bitbucket_test

import (
	"net/url"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/forgetest"
)

func FuzzParse(f *testing.F) {
	f.Add("repo:push", []byte(bitbucketPush))
	f.Add("", []byte(`{"event":"repo:push","data":`+bitbucketPush+`}`))
	f.Add("repo:push", []byte(`{`+bitbucketRepo+`,"push":{"changes":[{"old":`+bitbucketOld+`,"new":null,"closed":true},{"new":{"type":"tag","name":"v1","target":{"hash":"`+commitA+`"}}}]}}`))
	f.Add("repo:updated", []byte(`{`+bitbucketRepo+`,"changes":{"full_name":{"old":"ada/log","new":"ada/blog"}}}`))
	f.Add("repo:transfer", []byte(`{`+bitbucketRepo+`}`))
	f.Add("pullrequest:created", []byte(bitbucketPull))
	f.Add("pullrequest:comment_created", []byte(bitbucketComment))
	f.Add("repo:commit_status_created", []byte(`{}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		e, err := bitbucket.Parse(event, body)
		forgetest.Sound(t, troy.Bitbucket, e, err)
	})
}

func FuzzParseInstalled(f *testing.F) {
	f.Add([]byte(installed))
	f.Add([]byte(`{"event":"installed","data":` + installed + `}`))
	f.Add([]byte(uninstalled))
	f.Fuzz(func(t *testing.T, body []byte) {
		i, err := bitbucket.ParseInstalled(body)
		if err != nil && (troy.KindOf(err) != troy.Invalid || i != (bitbucket.ConnectInstalled{})) || err == nil && (i.ClientKey == "" || len(i.SharedSecret) < 16) {
			t.Errorf("got %v, %v", i, err)
		}
		u, err := bitbucket.ParseUninstalled(body)
		if (err == nil) != (u.ClientKey != "") {
			t.Errorf("got %v, %v", u, err)
		}
	})
}

func FuzzConnect(f *testing.F) {
	signed, err := bitbucket.SignConnect(events(), clientKey, "troy", []byte(connectSecret), connectNow())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed, "/bitbucket/connect/s/events", "")
	f.Add(signed, "/bitbucket/connect/s/", "a=b&a=%20&jwt=x")
	f.Add(signed[:len(signed)-5]+"\n"+signed[len(signed)-5:], "/bitbucket/connect/s/events", "")
	f.Add("a.b.c", "", "%")
	f.Fuzz(func(t *testing.T, token, path, query string) {
		r := bitbucket.ConnectRequest{Method: "POST", Path: path, Query: query, Base: "/bitbucket/connect/s"}
		verified := bitbucket.VerifyConnect(token, r, clientKey, []byte(connectSecret), connectNow()) == nil
		issuer, err := bitbucket.ConnectIssuer(token)
		if verified && (token != signed || issuer != clientKey) {
			t.Errorf("%q verifies", token)
		}
		if err == nil {
			forgetest.Line(t, issuer, 255)
		}
		// The canonical form does not change when the query is encoded again.
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
