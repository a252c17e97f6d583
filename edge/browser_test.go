package edge

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy/internal/poll"
)

// visitor is a person with a browser. typed are the names and passwords that
// the person types when the browser asks; without any left, the person cancels.
type visitor struct {
	t     *testing.T
	ctx   context.Context
	base  string
	typed chan [2]string
	asked atomic.Int32
}

// visit starts a browser for a site.
func (h *hosted) visit(t *testing.T) *visitor {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no Chromium is installed: make deps")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute), chromedp.UserDataDir(t.TempDir()))
	browsers, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(end)
	tab, shut := chromedp.NewContext(browsers)
	t.Cleanup(shut)
	_, port, err := net.SplitHostPort(h.serve())
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, ctx: tab, base: "http://" + net.JoinHostPort(h.host, port), typed: make(chan [2]string, 8)}
	if err := chromedp.Listen(tab, func(event any) {
		switch e := event.(type) {
		case *fetch.EventRequestPaused:
			go func() {
				_, _ = chromedp.Call(tab, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
			}()
		case *fetch.EventAuthRequired:
			go func() {
				_, _ = chromedp.Call(tab, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: v.answer()})
			}()
		}
	}); err != nil {
		t.Fatal(err)
	}
	yes := true
	if _, err := chromedp.Call(tab, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &yes}); err != nil {
		t.Fatal(err)
	}
	return v
}

// answer is what the visitor does in the browser's dialog.
func (v *visitor) answer() *fetch.AuthChallengeResponse {
	v.asked.Add(1)
	select {
	case pair := <-v.typed:
		return &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: pair[0], Password: pair[1]}
	default:
		return &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
	}
}

func (v *visitor) open(path string) {
	v.t.Helper()
	v.do(chromedp.Navigate(v.base + path))
}

func (v *visitor) do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, steps...); err != nil {
		v.t.Fatal(err)
	}
}

// reads waits until a script has a result that contains want.
func (v *visitor) reads(script, want string) {
	v.t.Helper()
	var got string
	if !poll.Until(v.t.Context(), time.Minute, 20*time.Millisecond, func() bool {
		var err error
		got, err = chromedp.Run(v.ctx, chromedp.Evaluate[string](script))
		return err == nil && strings.Contains(got, want)
	}) {
		v.t.Fatalf("%s is %q, expected %q", script, got, want)
	}
}

// TestBrowser opens deep links of a single-page application, follows a redirect,
// and types a name and a password.
func TestBrowser(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("app.localhost")
	h.configure("[site]\nspa = true\n")
	h.publish(map[string]string{
		"index.html": `<!doctype html><title>App</title><p id="at"></p><a href="/deep/two">two</a><script src="/app.js"></script>`,
		"app.js": `const show = () => { document.querySelector("#at").textContent = location.pathname + location.search; };
			addEventListener("popstate", show);
			document.querySelector("a").onclick = e => { e.preventDefault(); history.pushState(null, "", e.target.href); show(); };
			show();`,
		"team/index.html": `<!doctype html><title>Team</title><link rel="stylesheet" href="part.css"><p id="at">team</p>`,
		"team/part.css":   "p { color: rgb(1, 2, 3); }",
		"_redirects":      "/blog/:year/* /stories/:year-:splat 302\n",
		"_headers":        "/team/*\n  Basic-Auth: ann:open-sesame\n",
	})
	v := h.visit(t)
	const at = `document.querySelector("#at")?.textContent ?? document.body.innerText`
	missing := `(() => { const x = new XMLHttpRequest(); x.open("GET", "/deep/none.js", false); x.send(); return String(x.status); })()`

	v.open("/deep/one?tab=2")
	v.reads(at, "/deep/one?tab=2")
	v.do(chromedp.Reload())
	v.reads(at, "/deep/one?tab=2")
	v.reads(missing, "404")
	v.reads(`document.querySelector("a").click(), location.pathname`, "/deep/two")
	v.do(chromedp.Reload())
	v.reads(at, "/deep/two")
	v.reads(`history.back(), "gone back"`, "gone back")
	v.reads(at, "/deep/one?tab=2")

	v.open("/blog/2026/a%20b/c?ref=mail")
	v.reads(at, "/stories/2026-a%20b/c?ref=mail")

	v.open("/team/")
	v.reads(at, "needs a user name and a password")
	v.typed <- [2]string{"ann", "wrong"}
	v.typed <- [2]string{"ann", "open-sesame"}
	v.open("/team/")
	v.reads(at, "team")
	v.reads(`getComputedStyle(document.querySelector("#at")).color`, "rgb(1, 2, 3)")
	v.do(chromedp.Reload())
	v.reads(`document.title`, "Team")
	if n := v.asked.Load(); n != 3 {
		t.Errorf("the browser asked %d times, expected 3: once cancelled, once wrong, once right", n)
	}
	v.open("/")
	v.reads(at, "/")
}
