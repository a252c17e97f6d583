package web_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy/internal/poll"
)

// browse opens a tab whose console is kept.
func browse(t *testing.T) *tab {
	t.Helper()
	b := &tab{t: t, ctx: browser(t), said: &lockedBuffer{}}
	if err := chromedp.Listen(b.ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			_, _ = fmt.Fprintf(b.said, "exception: %s %v\n", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
		case *runtime.EventConsoleAPICalled:
			_, _ = fmt.Fprintf(b.said, "console: %s %s\n", e.Type, consoleText(e))
		case *log.EventEntryAdded: // failures to load, and what the policy refused
			_, _ = fmt.Fprintf(b.said, "%s: %s %s\n", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// consoleText returns what a call of the console has to say, such as the ids of
// which a warning speaks.
func consoleText(e *runtime.EventConsoleAPICalled) string {
	var said []string
	for _, arg := range e.Args {
		text := string(arg.Value) + arg.Description
		if arg.Preview != nil {
			for _, property := range arg.Preview.Properties {
				text += " " + property.Name + "=" + property.Value
			}
		}
		said = append(said, text)
	}
	return strings.Join(said, " ")
}

// quiet holds the page to having said nothing.
func (b *tab) quiet() {
	b.t.Helper()
	if said := b.said.String(); said != "" {
		b.t.Errorf("the console has\n%s", said)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// open opens an address. The response to a form that is still on its way may
// cancel a navigation, so open tries again.
func (b *tab) open(address string) {
	b.t.Helper()
	b.eventually(address+" opens", func() bool {
		_, err := chromedp.Run(b.ctx, chromedp.Navigate(address))
		return err == nil
	})
}

// read is an element's text, empty without one. In the middle of a reload
// there is none.
func (b *tab) read(selector string) string {
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector("`+selector+`")?.textContent ?? ""`))
	return text
}

func (b *tab) number(script string) int {
	b.t.Helper()
	n, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](script))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *tab) eventually(what string, so func() bool) {
	b.t.Helper()
	if !poll.Until(b.t.Context(), time.Minute, 50*time.Millisecond, so) {
		main := b.read("main")
		b.t.Fatalf("not in time: %s\nthe page has %.4000q\nthe console has\n%s", what, main, b.said)
	}
}

func (b *tab) shows(selector, text string) {
	b.t.Helper()
	b.eventually(selector+" shows "+text, func() bool { return strings.Contains(b.read(selector), text) })
}

// signIn opens a page and signs in on the way.
func (b *tab) signIn(w *world, token, path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(w.server.URL+path), chromedp.SendKeys("#token", token), chromedp.Submit("#token"))
	b.eventually("the browser is back at "+path, func() bool {
		at, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.readyState === "complete" ? location.pathname + location.search : ""`))
		return at == path
	})
}

// visit makes one request as a browser with a cookie does, and follows no
// redirect. form is the body, if there is one.
func (w *world) visit(method, path string, form url.Values, cookie string, options ...option) answer {
	w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(w.t.Context()), method, w.server.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	for _, o := range options {
		o(req)
	}
	resp, err := w.server.Client().Transport.RoundTrip(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, content}
}

// session signs a browser in and returns its cookie.
func (w *world) session(token string, options ...option) string {
	w.t.Helper()
	a := w.visit("POST", "/login", url.Values{"token": {token}}, "", options...)
	if a.status != 303 {
		w.t.Fatalf("signing in: %d %s", a.status, a.body)
	}
	return cookieOf(w.t, a)
}

// cookieOf is the cookie that an answer sets, as it is sent back.
func cookieOf(t *testing.T, a answer) string {
	t.Helper()
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	if cookie == "" {
		t.Fatalf("no cookie is set: %v", a.header)
	}
	return cookie
}
