package github_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/github"
)

var _ interface {
	forge.Forge
	forge.Comparer
	forge.Deliveries
	forge.AppSetup
} = (*github.Client)(nil)

func app(a forge.App) func(context.Context) (forge.App, error) {
	return func(context.Context) (forge.App, error) { return a, nil }
}

func site() forge.Repository {
	return forge.Repository{Installation: "7", ID: "42", FullName: "acme/site"}
}

func TestHeadAndCommit(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	for branch, want := range map[string]string{"main": sha1, "feature/a b": ""} {
		got, err := c.Head(t.Context(), site(), branch)
		if got != want || (want == "") != (troy.KindOf(err) == troy.Invalid) {
			t.Errorf("the head of %q is %q, %v", branch, got, err)
		}
	}
	f.set(func() { f.branches["feature/ü%2F#?"] = sha2; delete(f.branches, "feature/a b") })
	if got, err := c.Head(t.Context(), site(), "feature/ü%2F#"); err == nil {
		t.Errorf("half a name led to %s", got)
	}
	f.set(func() { f.branches["feature/ü%2F#"] = sha2 })
	if got, err := c.Head(t.Context(), site(), "feature/ü%2F#"); got != sha2 {
		t.Errorf("the head of a branch with odd characters: %q, %v", got, err)
	}
	if f.minted != 1 && f.minted != 2 {
		t.Errorf("%d tokens were taken", f.minted)
	}
	for _, id := range []string{sha1, sha1[:7]} {
		got, err := c.Commit(t.Context(), site(), id)
		if err != nil || got.ID != sha1 || got.Author != "Ada" || !strings.HasPrefix(got.Message, "Say hello") || got.Time.IsZero() {
			t.Errorf("commit %s: %+v, %v", id, got, err)
		}
	}
	for _, id := range []string{"", "main", "1234567/../..", sha2} {
		if _, err := c.Commit(t.Context(), site(), id); err == nil {
			t.Errorf("commit %q was found", id)
		}
	}
}

func TestTokensAreNarrowKeptAndRenewed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	head := func() {
		t.Helper()
		if _, err := c.Head(t.Context(), site(), "main"); err != nil {
			t.Fatal(err)
		}
	}
	head()
	head()
	if f.minted != 1 {
		t.Errorf("%d tokens for two calls", f.minted)
	}
	f.set(func() { f.now = f.now.Add(56 * time.Minute) })
	head()
	if f.minted != 2 {
		t.Errorf("%d tokens four minutes before the first one's end", f.minted)
	}
	f.set(func() { clear(f.tokens) })
	head()
	if f.minted != 3 {
		t.Errorf("%d tokens after a revocation", f.minted)
	}
	for token, g := range f.tokens {
		if len(g.permissions) != 1 || g.permissions["contents"] != "read" {
			t.Errorf("a token for reading may %v", g.permissions)
		}
		if len(token) < 400 {
			t.Error("the fake's tokens are shorter than GitHub's")
		}
	}
}

func TestRenameIsFollowedById(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	if _, err := c.Head(t.Context(), site(), "main"); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.name = "newowner/renamed" })
	if got, err := c.Head(t.Context(), site(), "main"); err != nil || got != sha1 {
		t.Errorf("after a rename: %q, %v", got, err)
	}
	found, err := c.Repository(t.Context(), site())
	if err != nil || found.FullName != "newowner/renamed" || found.DefaultBranch != "main" || !found.Private {
		t.Errorf("found %+v, %v", found, err)
	}
	clone, err := c.Clone(t.Context(), site())
	if err != nil || clone.URL != "https://github.example/newowner/renamed.git" || clone.Credential.Username != "x-access-token" {
		t.Errorf("clone %v, %v", clone, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v %s", clone, clone, clone.Credential, clone.Credential), "ghs_") {
		t.Error("formatting shows the token")
	}
	if strings.Contains(fmt.Sprintf("%+v %v", f.app99(), f.app99()), "PRIVATE") {
		t.Error("formatting shows the private key")
	}
	for _, call := range f.calls {
		if strings.HasPrefix(call, "GET /repositories/") {
			t.Error("a redirect was followed with a credential")
		}
	}
}

// A replaced installation is looked up again; a removed one is not.
func TestReplacedInstallationIsFollowed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	found, err := f.client().Repository(t.Context(), forge.Repository{ID: "42", FullName: "acme/site", Installation: "6"})
	if err != nil || found.Installation != "7" {
		t.Errorf("got %+v, %v, want the installation 7", found, err)
	}
	f.set(func() { f.removed = true })
	if _, err := f.client().Repository(t.Context(), forge.Repository{ID: "42", FullName: "acme/site", Installation: "7"}); !errors.Is(err, forge.ErrInstallation) {
		t.Errorf("a removed installation: %v", err)
	}
}

func TestRepositoryByName(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	found, err := c.Repository(t.Context(), forge.Repository{FullName: "acme/site"})
	if err != nil || found.ID != "42" || found.Installation != "7" {
		t.Errorf("found %+v, %v", found, err)
	}
	for _, name := range []string{"acme/other", "acme", "acme/../x", "", "a/b/c"} {
		if _, err := c.Repository(t.Context(), forge.Repository{FullName: name}); err == nil {
			t.Errorf("%q was found", name)
		}
	}
}

// TestFailures checks the kind of error for each of GitHub's refusals, with a
// token in the cache and without.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breakIt func(f *fake)
		branch  string
		is      error
		kind    troy.ErrorKind
	}{
		"branch gone":    {func(f *fake) { f.branches = nil }, "main", forge.ErrNoCommit, troy.NotFound},
		"repository":     {func(f *fake) { f.gone = true }, "main", forge.ErrNoRepository, troy.NotFound},
		"suspended":      {func(f *fake) { f.suspended = true }, "main", forge.ErrInstallation, troy.Forbidden},
		"removed":        {func(f *fake) { f.removed = true; clear(f.tokens) }, "main", forge.ErrInstallation, troy.Forbidden},
		"another key":    {func(f *fake) { f.key = newKey(); clear(f.tokens) }, "main", forge.ErrUnauthorized, troy.Unauthenticated},
		"no permission":  {func(f *fake) { f.fail = status(403, nil, "") }, "main", forge.ErrForbidden, troy.Forbidden},
		"empty":          {func(f *fake) { f.fail = status(409, nil, "git/ref") }, "main", forge.ErrNoCommit, troy.NotFound},
		"server error":   {func(f *fake) { f.fail = status(502, nil, "git/ref") }, "main", nil, troy.Internal},
		"not JSON":       {func(f *fake) { f.fail = text("<html>") }, "main", nil, troy.Internal},
		"another answer": {func(f *fake) { f.fail = text(`{"ref":"refs/heads/other","object":{"sha":"` + sha1 + `"}}`) }, "main", nil, troy.Internal},
		"too much":       {func(f *fake) { f.fail = text(`"` + strings.Repeat("x", 9<<20) + `"`) }, "main", nil, troy.Internal},
	} {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/warm=%t", name, warm), func(t *testing.T) {
				t.Parallel()
				f := newFake(t)
				client := f.client()
				if warm {
					if _, err := client.Head(t.Context(), site(), "main"); err != nil {
						t.Fatal(err)
					}
				}
				original := f.app99().PrivateKey
				f.set(func() { c.breakIt(f) })
				_, err := client.Head(t.Context(), site(), c.branch)
				if err == nil {
					t.Fatal("no error")
				}
				if c.is != nil && !errors.Is(err, c.is) || troy.KindOf(err) != c.kind {
					t.Errorf("%v (kind %s)", err, troy.KindOf(err))
				}
				if strings.Contains(err.Error(), "ghs_") || strings.Contains(err.Error(), original[40:80]) {
					t.Errorf("the error has a credential: %v", err)
				}
			})
		}
	}
}

func status(code int, header http.Header, paths string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/app") || paths == "git/ref" && !strings.Contains(r.URL.Path, paths) {
			return false
		}
		for k, v := range header {
			w.Header()[k] = v
		}
		refuse(w, code, "as the test wishes")
		return true
	}
}

func text(body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/app") {
			return false
		}
		_, _ = io.WriteString(w, body)
		return true
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	reset := fmt.Sprint(time.Now().Add(10 * time.Minute).Unix())
	for name, limit := range map[string]struct {
		code     int
		header   http.Header
		from, to time.Duration
	}{
		"secondary":       {403, http.Header{"Retry-After": {"37"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {reset}}, 37 * time.Second, 37 * time.Second},
		"primary":         {403, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {reset}}, 9 * time.Minute, 11 * time.Minute},
		"without a word":  {429, nil, time.Minute, time.Minute},
		"a day":           {429, http.Header{"Retry-After": {"86400"}}, time.Hour, time.Hour},
		"in the past":     {403, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1"}}, time.Second, time.Second},
		"an endless one":  {429, http.Header{"Retry-After": {"9223372036854775807"}}, time.Hour, time.Hour},
		"none of numbers": {429, http.Header{"Retry-After": {"soon"}}, time.Minute, time.Minute},
		"overloaded":      {503, http.Header{"Retry-After": {"5"}}, 5 * time.Second, 5 * time.Second},
	} {
		f.set(func() { f.fail = status(limit.code, limit.header, "") })
		_, err := c.Head(t.Context(), site(), "main")
		var after interface{ RetryAfter() time.Duration }
		if !errors.As(err, &after) || after.RetryAfter() < limit.from || after.RetryAfter() > limit.to {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	read := func(c *github.Client) (string, error) {
		body, err := c.Archive(t.Context(), site(), sha1)
		if err != nil {
			return "", err
		}
		defer body.Close()
		data, err := io.ReadAll(body)
		return string(data), err
	}
	if got, err := read(f.client()); err != nil || got != string(f.archive) {
		t.Errorf("read %q, %v", got, err)
	}
	if f.archiveAuth != "" {
		t.Error("the credential went to the archive's host")
	}
	if _, err := f.client().Archive(t.Context(), site(), sha2); !errors.Is(err, forge.ErrNoCommit) {
		t.Errorf("a removed commit: %v", err)
	}
	if _, err := f.client().Archive(t.Context(), site(), "main"); troy.KindOf(err) != troy.Invalid {
		t.Errorf("not an id: %v", err)
	}

	for name, to := range map[string]string{
		"another host":  "https://evil.example/x?token=ABC",
		"metadata":      "http://169.254.169.254/latest/meta-data",
		"listed, plain": "http://codeload.github.com/x",
		"a file":        "file:///etc/passwd",
		"user info":     strings.Replace(f.url, "http://", "http://user:pass@", 1) + "/codeload/x",
		"nothing":       "",
	} {
		f.set(func() { f.archiveTo = to })
		_, err := read(f.client())
		if err == nil || strings.Contains(err.Error(), "ABC") || to != "" && troy.KindOf(err) != troy.Forbidden {
			t.Errorf("redirected to %s: %v", name, err)
		}
	}
	f.set(func() { f.archiveTo = f.url + "/loop"; f.fail = loop(f) })
	if _, err := read(f.client()); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("a loop: %v", err)
	}

	// The length is declared in the first case, but not in the second.
	f.set(func() { f.fail, f.archiveTo = nil, f.url+"/codeload/x" })
	small := func(cfg *github.Config) { cfg.MaxArchive = 1 << 20 }
	for _, size := range []int{1 << 20, 1<<20 + 1, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			f.set(func() {
				f.archive = make([]byte, size)
				f.fail = nil
				if chunked {
					f.fail = func(w http.ResponseWriter, r *http.Request) bool {
						if strings.HasPrefix(r.URL.Path, "/codeload") {
							w.(http.Flusher).Flush()
						}
						return false
					}
				}
			})
			got, err := read(f.client(small))
			if over := size > 1<<20; over != (troy.KindOf(err) == troy.TooLarge && err != nil) || len(got) > 1<<20 {
				t.Errorf("%d bytes, chunked %t: read %d, %v", size, chunked, len(got), err)
			}
		}
	}
}

func loop(f *fake) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/loop" {
			return false
		}
		w.Header().Set("Location", f.url+"/loop")
		w.WriteHeader(302)
		return true
	}
}

// TestArchiveEndsWithItsContext reads from a host that stops in the middle.
func TestArchiveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	f.set(func() {
		f.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/codeload") {
				return false
			}
			_, _ = io.WriteString(w, "\x1f\x8b half")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-stall:
			}
			return true
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	body, err := f.client().Archive(ctx, site(), sha1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
}

func TestAppErrorsArePassedOn(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	none := errors.New("no app is set up")
	c := f.client(func(cfg *github.Config) {
		cfg.App = func(context.Context) (forge.App, error) { return forge.App{}, none }
	})
	if _, err := c.Head(t.Context(), site(), "main"); !errors.Is(err, none) {
		t.Errorf("%v", err)
	}
	c = f.client(func(cfg *github.Config) { cfg.App = app(forge.App{ID: 1, PrivateKey: "not a key"}) })
	if _, err := c.Head(t.Context(), site(), "main"); troy.KindOf(err) != troy.Invalid || strings.Contains(err.Error(), "not a key") {
		t.Errorf("%v", err)
	}
	if _, err := github.New(github.Config{APIURL: "http://github.example/api/v3"}); err == nil {
		t.Error("credentials would be sent over plain http")
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	file := func(name string) map[string]any { return map[string]any{"filename": name} }
	many := make([]any, 300)
	for i := range many {
		many[i] = file(fmt.Sprint(i))
	}
	for _, tc := range []struct {
		name     string
		answer   map[string]any
		paths    int
		complete bool
	}{
		{"a descendant", map[string]any{"status": "ahead", "files": []any{file("b"), file("a")}}, 2, true},
		{"a renamed file has both names", map[string]any{"status": "ahead", "files": []any{map[string]any{"filename": "new", "previous_filename": "old"}}}, 2, true},
		{"another history", map[string]any{"status": "diverged", "files": []any{file("a")}}, 1, false},
		{"a commit that was taken back", map[string]any{"status": "behind", "files": []any{}}, 0, false},
		{"as many files as are listed", map[string]any{"status": "ahead", "files": many}, 300, false},
	} {
		f.set(func() { f.compared = map[string]any{sha1 + "..." + sha2: tc.answer} })
		paths, complete, err := c.Compare(t.Context(), site(), sha1, sha2)
		if err != nil || len(paths) != tc.paths || complete != tc.complete || !slices.IsSorted(paths) {
			t.Errorf("%s: %d paths, complete %t, %v", tc.name, len(paths), complete, err)
		}
	}
	if _, _, err := c.Compare(t.Context(), site(), sha2, sha1); !errors.Is(err, forge.ErrNoCommit) {
		t.Errorf("removed commits: %v", err)
	}
	if _, _, err := c.Compare(t.Context(), site(), "main", sha1); troy.KindOf(err) != troy.Invalid {
		t.Errorf("a branch in place of a commit: %v", err)
	}
}
