package forge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

func rest(t *testing.T, h http.HandlerFunc) *forge.REST {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := forge.NewREST(server.URL+"/api/v3/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNoRedirectIsFollowedWithACredential(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	for _, code := range []int{301, 302, 303, 307, 308} {
		calls := 0
		c := rest(t, func(w http.ResponseWriter, r *http.Request) {
			calls++
			if r.Header.Get("Authorization") != "Bearer s3cret" || r.URL.Path != "/api/v3/x" {
				t.Errorf("got %s %v", r.URL, r.Header)
			}
			w.Header().Set("Location", elsewhere.URL+"/y?token=ABC")
			w.WriteHeader(code)
		})
		call := forge.Call{Method: "GET", Path: "/x", Authorization: "Bearer s3cret"}
		_, err := c.Do(t.Context(), call)
		if status, ok := errors.AsType[*forge.StatusError](err); !ok || status.Status != code {
			t.Errorf("%d: %v", code, err)
		}
		_, err = c.Download(t.Context(), call, nil, 1<<20)
		if err == nil || strings.Contains(err.Error(), "ABC") || calls != 2 {
			t.Errorf("download, %d: %v after %d calls", code, err, calls)
		}
	}
}

func TestErrorsHaveNoCredential(t *testing.T) {
	t.Parallel()
	c := rest(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":{"message":"no\u001b[31m\nway `+strings.Repeat("x", 1000)+`"}}`)
	})
	_, err := c.Do(t.Context(), forge.Call{Method: "POST", Path: "/x", Authorization: "Bearer s3cret", Query: url.Values{"q": {"s3cret"}}, JSON: "s3cret"})
	if err == nil || strings.Contains(err.Error(), "s3cret") || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 400 {
		t.Errorf("refused: %v", err)
	}
	if !strings.Contains(err.Error(), "POST /x: answered 400: no[31m way") {
		t.Errorf("the forge's own message is lost: %v", err)
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	c, err = forge.NewREST(closed.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), forge.Call{Method: "GET", Path: "/x", Query: url.Values{"q": {"s3cret"}}})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("no connection: %v", err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c := rest(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v3/refused" {
			w.WriteHeader(500)
		}
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	for _, path := range []string{"/x", "/refused"} {
		if _, err := c.Do(t.Context(), forge.Call{Method: "GET", Path: path}); err == nil || len(err.Error()) > 200 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestParseBase(t *testing.T) {
	t.Parallel()
	for base, good := range map[string]bool{
		"https://api.github.com": true, "https://ghe.example/api/v3/": true, "http://127.0.0.1:8080": true, "http://localhost:1": true,
		"http://api.github.com": false, "http://localhost.evil.example": false, "ftp://x": false, "https://": false, "": false,
		"https://user:s3cret@x": false, "https://x?q": false, "https://x/#f": false, "https://x:port": false,
	} {
		if _, err := forge.ParseBase(base); (err == nil) != good || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", base, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for branch, want := range map[string]string{
		"main": "main", "feature/x": "feature/x", "a#b?c%2F": "a%23b%3Fc%252F", "ünder": "%C3%BCnder", "v1.0": "v1.0",
		"": "", "/": "", "a//b": "", "/a": "", "a/": "", "a..b": "", "../x": "", "./x": "", "a/.b": "", "x.lock": "", "a b": "", "a\nb": "",
		"a~1": "", "a^": "", "a:b": "", "a?": "", "a*": "", "a[": "", `a\b`: "", "a@{u}": "", "@": "", "-x": "", "x.": "", strings.Repeat("x", 251): "",
	} {
		if branch == "a#b?c%2F" || branch == "a?" {
			want = "" // git allows no question mark
		}
		got, err := forge.EscapeBranch(branch)
		if got != want || (want == "") != (troy.KindOf(err) == troy.Invalid) {
			t.Errorf("%q: %q, %v", branch, got, err)
		}
	}
	for name, good := range map[string]bool{
		"acme/site": true, "a.b_c-d/e": true, "acme": false, "acme/site/x": false, "../site": false, "acme/..": false, "acme/a b": false, "acme/{x}": false, "": false,
	} {
		if _, _, err := forge.SplitName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	for id, full := range map[string]bool{
		strings.Repeat("a", 40): true, strings.Repeat("0", 64): true, strings.Repeat("a", 39): false, strings.Repeat("A", 40): false, "": false, "HEAD": false,
	} {
		if err := forge.CheckCommit(id); (err == nil) != full {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestCredentialsAreHidden(t *testing.T) {
	t.Parallel()
	v := struct {
		Clone forge.Clone
		App   forge.App
	}{
		forge.Clone{URL: "https://x", Credential: forge.Credential{Username: "u", Password: "s3cret"}},
		forge.App{ID: 1, Slug: "troy", PrivateKey: "s3cret", WebhookSecret: "s3cret", ClientSecret: "s3cret"},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, v); strings.Contains(got, "s3cret") || strings.Contains(got, fmt.Sprintf("%x", "s3cret")) {
			t.Errorf("%s shows it: %s", verb, got)
		}
	}
	if got, err := json.Marshal(v.Clone); err != nil || strings.Contains(string(got), "s3cret") {
		t.Errorf("JSON shows it: %s, %v", got, err)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	if got := forge.Line(" a\x1b[1m\nb\u0085\xff ü", 9); got != "a[1m b" && got != "a[1m b ü" {
		t.Errorf("%q", got)
	}
}
