package awscloud_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// preview points a label to what is live, and returns the preview.
func (h *ruledHost) preview(t *testing.T, label string, sequence int64) *ruledHost {
	t.Helper()
	var live struct {
		Pipeline   uuid.UUID `json:"p"`
		Deployment uuid.UUID `json:"d"`
	}
	if err := json.Unmarshal([]byte(h.double.Pointers()[h.d.ID]), &live); err != nil {
		t.Fatal(err)
	}
	if err := h.cloud.Previews.Point(t.Context(), h.d.ID, label, site.Pointer{Sequence: sequence, Pipeline: live.Pipeline, Deployment: live.Deployment}); err != nil {
		t.Fatal(err)
	}
	p := *h
	p.host = label + "--" + h.host
	return &p
}

func (h *ruledHost) wantHeaders(t *testing.T, target string, want map[string]string, request ...string) {
	t.Helper()
	w := h.ask(target, request...)
	for name, value := range want {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s%s (%d) has %s: %q, expected %q", h.host, target, w.Code, name, got, value)
		}
	}
}

// A preview has its deployment's rules and files, for no cache that people share.
func TestPreviewAnswers(t *testing.T) {
	t.Parallel()
	h := newRuledHost(t, newAccount(t, s3test.Start(t), awsdouble.Config{}).withPreviews("sites.test"), "blog.sites.test")
	h.publish(t, rules.Input{
		Config:    troyToml("[site.cors]\n\"open/**\" = \"*\"\n"),
		Redirects: "/old /about\n/moved/* /new/:splat 302\n",
		Headers:   "/*\n  X-Frame-Options: DENY\n  CDN-Cache-Control: max-age=60\n",
	}, "index.html", "about.html", "404.html", "open/a.json", "a.0123456789abcdef.js")
	ruled := h.preview(t, "spring", 1)
	h.publish(t, rules.Input{}, "index.html", "other.html")
	plain := h.preview(t, "d-2", 1)
	for _, c := range []struct {
		of           *ruledHost
		target, want string
	}{
		{ruled, "/about", "200 about.html"}, {ruled, "/old", "301 /about"}, {ruled, "/moved/a?b=1", "302 /new/a?b=1"}, {ruled, "/none", "404 404.html"},
		{ruled, "/other", "404 404.html"}, {plain, "/other", "200 other.html"}, {plain, "/about", "404 "}, {plain, "/old", "404 "}, {h, "/other", "200 other.html"}, {h, "/about", "404 "},
	} {
		got := outcome(c.of.ask(c.target))
		if strings.Contains(got, "<h1>Not found</h1>") {
			got = "404 "
		}
		if got != c.want {
			t.Errorf("%s%s answers %q, expected %q", c.of.host, c.target, got, c.want)
		}
	}
	open := map[string]string{"Cache-Control": "private, no-cache", "X-Robots-Tag": "noindex", "Vary": "", "Cdn-Cache-Control": ""}
	for _, target := range []string{"/", "/about", "/a.0123456789abcdef.js", "/old"} {
		ruled.wantHeaders(t, target, open)
		plain.wantHeaders(t, "/", open)
	}
	ruled.wantHeaders(t, "/", map[string]string{"X-Frame-Options": "DENY"})
	ruled.wantHeaders(t, "/moved/a", open)
	ruled.wantHeaders(t, "/none", map[string]string{"Cache-Control": "private, no-store", "X-Robots-Tag": "noindex"})
	plain.wantHeaders(t, "/none", map[string]string{"Cache-Control": "private, no-store"})
	ruled.wantHeaders(t, "/open/a.json", map[string]string{"Access-Control-Allow-Origin": "*"}, "Origin", "https://a.example")
	ruled.wantHeaders(t, "/open/a.json", map[string]string{"Access-Control-Allow-Origin": "*"}, "method", "OPTIONS", "Origin", "https://a.example")
	h.wantHeaders(t, "/", map[string]string{"X-Robots-Tag": "", "Cache-Control": "public, max-age=0, must-revalidate"})
	for _, host := range []string{"none--blog.sites.test", "none.sites.test", "spring--other.sites.test"} {
		if w := h.read(host, "/"); w.Code != http.StatusNotFound || w.Header().Get("X-Robots-Tag") != "noindex" {
			t.Errorf("%s answers %d %v", host, w.Code, w.Header())
		}
	}
	h.double.BreakStores(true)
	if w := ruled.ask("/"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Cache-Control") != "private, no-store" {
		t.Errorf("a store that can't be read: %d %v", w.Code, w.Header())
	}
}

// A preview is never public while its site is protected, whatever part of the
// protection is lost.
func TestPreviewsOfProtectedSites(t *testing.T) {
	t.Parallel()
	h, v := secretSite(t, awsdouble.Config{}, rules.Input{})
	p := h.preview(t, "pr-1", 1)
	if w := p.visit("/"); w.Code != http.StatusFound {
		t.Fatalf("without a session: %d", w.Code)
	}
	ask, to, mark := p.asked(t, "/about")
	w := p.visit(taken(v.First.Token(p.host, ask, time.Now()), to), mark)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusFound || len(cookies) != 1 {
		t.Fatalf("the token: %d %v", w.Code, w.Header())
	}
	signedIn := cookies[0].Name + "=" + cookies[0].Value
	if w := p.visit("/about", signedIn); outcome(w) != "200 about.html" || w.Header().Get("Cache-Control") != "private, no-cache" || w.Header().Get("Vary") != "Cookie, Authorization" {
		t.Errorf("with the session: %s %v", outcome(w), w.Header())
	}
	// A session is of one host.
	second := h.preview(t, "pr-2", 1)
	for _, other := range []*ruledHost{h, second} {
		if w := other.visit("/", signedIn); w.Code != http.StatusFound {
			t.Errorf("the session of another host at %s: %d", other.host, w.Code)
		}
	}
	if w := p.visit("/", admitted(v)[1]); w.Code != http.StatusFound {
		t.Errorf("the session of the site: %d", w.Code)
	}
	store := h.cfg.KeyValueStoreARN
	for what, c := range map[string]struct {
		key, value string
		code       int
	}{
		"the site has no pointer":       {h.d.ID, "", http.StatusFound},
		"the mark is lost":              {h.d.ID, `{"s":1}`, http.StatusFound},
		"the protection is lost":        {h.d.ID + "/a", "", http.StatusServiceUnavailable},
		"the protection can't be read":  {h.d.ID + "/a", "2 1 {", http.StatusServiceUnavailable},
		"the pointer can't be read":     {h.d.ID, "{", http.StatusServiceUnavailable},
		"the preview names no site":     {"p/pr-1--secret", `{"s":1,"p":"x","d":"y"}`, http.StatusServiceUnavailable},
		"the preview can't be read":     {"p/pr-1--secret", "{", http.StatusServiceUnavailable},
		"the protection is a later one": {h.d.ID + "/a", `9 1 {"v":2}`, http.StatusServiceUnavailable},
	} {
		before := h.double.Pointers()[c.key]
		if c.value == "" {
			h.double.RemoveValue(store, c.key)
		} else {
			h.double.SetValue(store, c.key, c.value)
		}
		if w := p.visit("/"); w.Code != c.code || strings.Contains(w.Body.String(), "index") {
			t.Errorf("%s: %d %q, expected %d", what, w.Code, w.Body, c.code)
		}
		h.double.SetValue(store, c.key, before)
	}
	h.protect(t, site.Protection{Sequence: 100})
	if w := p.visit("/"); w.Code != http.StatusOK || w.Header().Get("Vary") != "" {
		t.Errorf("a public site's preview: %d %v", w.Code, w.Header())
	}
}

// Each call may fail before or after its effect: the next ones complete the work,
// and nothing but what all previews share is left after the end.
func TestPreviewFaults(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	open := func(t *testing.T) (account, *failOnce) {
		f := &failOnce{seen: map[string]bool{}}
		a := newAccount(t, server, awsdouble.Config{Fault: f.fail})
		a.loaded.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
		return a.withPreviews("sites.test"), f
	}
	repeat := func(t *testing.T, what string, step func() error) {
		t.Helper()
		for i := 0; ; i++ {
			err := step()
			if err == nil {
				return
			}
			if i > 5 {
				t.Fatalf("%s: %v after %d tries", what, err, i)
			}
		}
	}
	life := func(t *testing.T, a account, d cloud.Distribution) {
		one := site.Pointer{Sequence: 1, Pipeline: uuid.New(), Deployment: uuid.New()}
		two := site.Pointer{Sequence: 2, Pipeline: one.Pipeline, Deployment: uuid.New()}
		for _, p := range []site.Pointer{one, two} {
			for _, label := range []string{"pr-1", "d-1", "d-2"} {
				repeat(t, "Point", func() error { return a.cloud.Previews.Point(t.Context(), d.ID, label, p) })
			}
		}
		repeat(t, "Unpoint", func() error { return a.cloud.Previews.Unpoint(t.Context(), d.ID, "d-2", 2) })
		for _, key := range []string{"p/pr-1--blog", "p/d-1--blog"} {
			if !strings.Contains(a.double.Pointers()[key], two.Deployment.String()) {
				t.Errorf("%s is %q", key, a.double.Pointers()[key])
			}
		}
		if a.double.Pointers()["p/d-2--blog"] != "" {
			t.Error("the removed label has a pointer")
		}
		repeat(t, "the deletion", func() error { return a.deleteOnce(t, d.ID) })
		for key := range a.double.Pointers() {
			t.Errorf("the key %s is left", key)
		}
		if n := len(a.double.Distributions()); n != 1 {
			t.Errorf("%d distributions are left, expected that of the previews", n)
		}
		if records := a.double.Records(); len(records) != 2 || !strings.HasPrefix(records[0], "A *.sites.test ") || !strings.HasPrefix(records[1], "AAAA *.sites.test ") {
			t.Errorf("the records %q are left", records)
		}
		gone := func() error {
			left, err := a.account().Unused(t.Context(), true)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%v", left)
			}
			return err
		}
		repeat(t, "the removal of what previews share", gone)
		if n, records := len(a.double.Distributions()), a.double.Records(); n != 0 || len(records) > 0 {
			t.Errorf("%d distributions and the records %q are left", n, records)
		}
	}
	begin := func(t *testing.T, a account) cloud.Distribution {
		var d cloud.Distribution
		repeat(t, "Create", func() (err error) {
			if d, err = a.cloud.CDN.Create(t.Context(), "troy-"+uuid.NewString(), "blog.sites.test"); errors.Is(err, cloud.ErrExists) {
				err = nil
			}
			return err
		})
		return d
	}
	a, all := open(t)
	d := begin(t, a)
	clear(all.seen)
	life(t, a, d)
	var actions []string
	for action := range all.seen {
		actions = append(actions, action)
	}
	slices.Sort(actions)
	if len(actions) < 8 {
		t.Fatalf("only the calls %v were seen", actions)
	}
	t.Logf("%v", actions)
	a.publish(t, "blog.sites.test", "home")
	a.upkeep(t)
	if n := len(a.double.Distributions()); n != 2 {
		t.Errorf("after another site there are %d distributions, expected that of the previews again", n)
	}
	for _, action := range append(actions, "ChangeResourceRecordSets", "ListResourceRecordSets", "PutObject", "HeadObject") {
		for way, fault := range map[string]awsdouble.Fault{"before": awsdouble.LostBefore, "after": awsdouble.LostAfter} {
			t.Run(action+"/"+way, func(t *testing.T) {
				a, f := open(t)
				d := begin(t, a)
				f.arm(action, fault)
				life(t, a, d)
				if f.number == 0 {
					t.Error("the call was not made")
				}
			})
		}
	}
}

// deleteOnce takes the steps of a distribution's removal until one fails.
func (a account) deleteOnce(t *testing.T, id string) error {
	t.Helper()
	now, err := a.cloud.CDN.Get(t.Context(), id)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err == nil && now.Enabled {
		if err = a.cloud.CDN.Disable(t.Context(), id, now.ETag); err == nil {
			now, err = a.cloud.CDN.Get(t.Context(), id)
		}
	}
	if err != nil {
		return err
	}
	return a.cloud.CDN.Delete(t.Context(), id, now.ETag)
}

// The upkeep makes what previews share as soon as there is a site, and keeps it
// as the settings and this version say.
func TestUpkeepOfPreviews(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{}).withPreviews("sites.test")
	shared := func() (found awsdouble.Distribution) {
		t.Helper()
		for _, d := range a.double.Distributions() {
			if strings.HasPrefix(d.Host, "*.") {
				found = d
			}
		}
		return found
	}
	a.upkeep(t)
	if shared().ID != "" {
		t.Error("an installation without sites has a distribution for previews")
	}
	d := a.publish(t, "blog.sites.test", "home")
	a.upkeep(t)
	made := shared()
	if made.Host != "*.sites.test" || !strings.Contains(made.Function, "-preview-0") {
		t.Fatalf("the distribution is %+v", made)
	}
	if done := a.upkeep(t); done != (awscloud.Upkept{}) || shared().ID != made.ID {
		t.Errorf("another upkeep changed %+v", done)
	}
	pipelines, err := a.account().Pipelines(t.Context())
	left, leftErr := a.account().Unused(t.Context(), false)
	if err != nil || leftErr != nil || len(pipelines) != 1 || len(left) > 0 {
		t.Errorf("the pipelines are %v, unused are %v; %v, %v", pipelines, left, err, leftErr)
	}
	name := made.Function[strings.LastIndex(made.Function, "/")+1:]
	code := a.double.Functions()[name]
	a.double.SetFunction(name, "Troy v1: old", "function handler(e) { return e.request; }")
	if done := a.upkeep(t); done.Functions != 1 || a.double.Functions()[name] != code {
		t.Errorf("the upkeep changed %+v, and did not bring back the code", done)
	}
	a.wantPage(t, "blog.sites.test", "home")
	point := func(a account) error {
		return a.cloud.Previews.Point(t.Context(), d.ID, "pr-1", site.Pointer{Sequence: 1, Pipeline: uuid.New(), Deployment: uuid.New()})
	}
	if err := point(a); err != nil {
		t.Error(err)
	}
	// Another suffix, with a certificate of its own.
	a.cfg.PreviewCertificateARN = "arn:aws:acm:us-east-1:123456789012:certificate/1"
	a = a.withPreviews("previews.sites.test")
	a.upkeep(t)
	if again := shared(); again.ID != made.ID || again.Host != "*.previews.sites.test" {
		t.Errorf("with another suffix the distribution is %+v", again)
	}
	for _, r := range a.double.Records() {
		if strings.Contains(r, " *.sites.test ") {
			t.Errorf("the record %q is left", r)
		}
	}
	if w := a.read("pr-1--blog.previews.sites.test", "/"); w.Code != http.StatusNotFound || w.Header().Get("X-Robots-Tag") != "" {
		t.Errorf("a preview without files at the new address answers %d %v", w.Code, w.Header())
	}
}
