package notify_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/notify"
)

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

func message(event, details string) notify.Message {
	return notify.Message{ID: uuid.New(), Event: event, Time: time.Date(2026, 11, 30, 5, 0, 0, 0, time.UTC), Details: json.RawMessage(details), URL: "https://troy.test"}
}

const failed = `{"pipeline":{"id":"0","slug":"blog","name":"Blog"},"deployment":{"number":12,"commit":"0123456789abcdef","branch":"main","author":"ada","message":"Fix it\nall","cause":"npm run build exited with 1"}}`

func TestTargets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind    notify.Kind
		url     string
		to      []string
		private []netip.Prefix
		label   string
		field   string // "" accepts it
	}{
		"a webhook":                  {kind: notify.Webhook, url: "https://example.com/x?y=z", label: "example.com"},
		"a port":                     {kind: notify.Slack, url: "https://example.com:8443/x", label: "example.com:8443"},
		"a secret path":              {kind: notify.Slack, url: "https://hooks.slack.com/services/T0/B0/Zm9vYmFyYmF6cXV4abCD", label: "hooks.slack.com/…abCD"},
		"a secret query":             {kind: notify.Teams, url: "https://example.com/invoke?v=1&sig=s3cretvalue%2F/", label: "example.com/…%2F"},
		"a short end":                {kind: notify.Webhook, url: "https://example.com/hooks/troy/", label: "example.com/…y"},
		"a short secret":             {kind: notify.Webhook, url: "https://example.com/hook?secret=abc", label: "example.com"},
		"an end that is not ASCII":   {kind: notify.Webhook, url: "https://example.com/?to=überall-日本", label: "example.com/…日本"},
		"an unknown kind":            {kind: "pager", url: "https://example.com", field: "kind"},
		"no address":                 {kind: notify.Slack, field: "url"},
		"plain http":                 {kind: notify.Webhook, url: "http://example.com/", field: "url"},
		"a file":                     {kind: notify.Webhook, url: "file:///etc/passwd", field: "url"},
		"a user":                     {kind: notify.Webhook, url: "https://ada:secret@example.com/", field: "url"},
		"a long one":                 {kind: notify.Webhook, url: "https://example.com/" + strings.Repeat("x", 2000), field: "url"},
		"loopback":                   {kind: notify.Webhook, url: "https://127.0.0.1/", field: "url"},
		"localhost":                  {kind: notify.Webhook, url: "https://LOCALHOST./", field: "url"},
		"mapped loopback":            {kind: notify.Webhook, url: "https://[::ffff:127.0.0.1]/", field: "url"},
		"metadata":                   {kind: notify.Webhook, url: "http://169.254.169.254/latest", field: "url"},
		"allowed loopback":           {kind: notify.Webhook, url: "http://127.0.0.1:9/", private: loopback(), label: "127.0.0.1:9"},
		"allowed mapped loopback":    {kind: notify.Webhook, url: "http://[::ffff:127.0.0.1]:9/", private: loopback(), label: "[::ffff:127.0.0.1]:9"},
		"http to a public one":       {kind: notify.Webhook, url: "http://8.8.8.8/", private: loopback(), field: "url"},
		"recipients of a channel":    {kind: notify.Slack, url: "https://example.com", to: []string{"a@example.com"}, field: "to"},
		"e-mail":                     {kind: notify.Email, to: []string{"a@example.com", "b@example.com"}, label: "a@example.com, b@example.com"},
		"no recipients":              {kind: notify.Email, field: "to"},
		"eleven recipients":          {kind: notify.Email, to: strings.Split(strings.Repeat("a@example.com ", 11), " ")[:11], field: "to"},
		"an injected header":         {kind: notify.Email, to: []string{"a@example.com\r\nBcc: b@example.com"}, field: "to"},
		"e-mail with an address too": {kind: notify.Email, url: "https://example.com", to: []string{"a@example.com"}, field: "url"},
	} {
		target, label, err := notify.NewTarget(c.kind, c.url, c.to, c.private)
		var e *troy.Error
		switch {
		case c.field == "" && (err != nil || label != c.label):
			t.Errorf("%s: %q, %v; want %q", name, label, err, c.label)
		case c.field != "" && (!errors.As(err, &e) || e.Kind != troy.Invalid || e.Field != c.field):
			t.Errorf("%s: %v; want an error of %s", name, err, c.field)
		case err == nil && (c.kind == notify.Webhook) != strings.HasPrefix(target.Key, "whsec_"):
			t.Errorf("%s: the key is %q", name, target.Key)
		}
	}
}

// delivery is a request that a receiver got.
type delivery struct {
	header http.Header
	body   []byte
}

// receiver starts a server that gives every request the same answer, and returns
// its URL.
func receiver(t *testing.T, answer string) (url string, got <-chan delivery) {
	t.Helper()
	all := make(chan delivery, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all <- delivery{r.Header, body}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, all
}

// TestWebhook verifies a delivery with the library of Standard Webhooks.
func TestWebhook(t *testing.T) {
	t.Parallel()
	server, got := receiver(t, "thanks\x00\n"+strings.Repeat("x", 1<<20))
	target, _, err := notify.NewTarget(notify.Webhook, server, nil, loopback())
	if err != nil {
		t.Fatal(err)
	}
	m := message("deployment.failed", failed)
	answer, err := notify.NewSender(loopback(), nil).Send(t.Context(), notify.Webhook, target, m)
	if err != nil || answer.Status != 200 || !strings.HasPrefix(answer.Text, "thanks x") || len(answer.Text) > 310 {
		t.Fatalf("%d %q, %v", answer.Status, answer.Text, err)
	}
	d := <-got
	verifier, err := standardwebhooks.NewWebhook(target.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(d.body, d.header); err != nil {
		t.Error(err)
	}
	if err := verifier.Verify(append(d.body, ' '), d.header); err == nil {
		t.Error("a changed body is verified")
	}
	if id := d.header.Get("webhook-id"); id != m.ID.String() {
		t.Errorf("the id is %q", id)
	}
	var body struct {
		Type, Timestamp string
		Data            struct {
			URL        string
			Deployment struct{ Number int }
		}
	}
	if err := json.Unmarshal(d.body, &body); err != nil || body.Type != "deployment.failed" || body.Timestamp != "2026-11-30T05:00:00Z" ||
		body.Data.Deployment.Number != 12 || body.Data.URL != "https://troy.test/pipelines/blog/deployments/12" {
		t.Errorf("%s, %v", d.body, err)
	}
}

// TestRotatedKeys sends while keys overlap and after they have ended.
func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	server, got := receiver(t, "")
	target, _, err := notify.NewTarget(notify.Webhook, server, nil, loopback())
	if err != nil {
		t.Fatal(err)
	}
	verified := func(target notify.Target, keys ...string) (by []bool) {
		t.Helper()
		if _, err := notify.NewSender(loopback(), nil).Send(t.Context(), notify.Webhook, target, message("deployment.failed", failed)); err != nil {
			t.Fatal(err)
		}
		d := <-got
		for _, key := range keys {
			verifier, err := standardwebhooks.NewWebhook(key)
			if err != nil {
				t.Fatal(err)
			}
			by = append(by, verifier.Verify(d.body, d.header) == nil)
		}
		return by
	}
	now := time.Now()
	first := target.Key
	// It was rotated a day and a second ago, a day ago less an hour, and now.
	for _, ago := range []time.Duration{notify.KeyOverlap + time.Second, notify.KeyOverlap - time.Hour, 0} {
		if target, err = target.Rotate(now.Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	if len(target.Earlier) != 2 {
		t.Fatalf("%d earlier keys are left, want the two that have not ended", len(target.Earlier))
	}
	second, third := target.Earlier[1].Key, target.Earlier[0].Key
	if by := verified(target, first, second, third, target.Key); by[0] || !by[1] || !by[2] || !by[3] {
		t.Errorf("verified by the keys: %v; want all but the first", by)
	}
	// A key that has ended signs nothing, also if it was not deleted yet.
	target.Earlier[1].Until, target.Earlier[0].Until = now.Add(-time.Hour), now.Add(-time.Second)
	if by := verified(target, first, second, third, target.Key); by[0] || by[1] || by[2] || !by[3] {
		t.Errorf("verified by the keys: %v; want the last alone", by)
	}

	for range 4 {
		if target, err = target.Rotate(now); err != nil {
			t.Fatal(err)
		}
	}
	was := target
	if _, err := target.Rotate(now); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "5 keys sign already") {
		t.Errorf("a fifth rotation: %v", err)
	}
	if target.Key != was.Key {
		t.Error("the refused rotation changed the key")
	}
	if _, err := target.Rotate(now.Add(notify.KeyOverlap)); err != nil {
		t.Errorf("after the overlap: %v", err)
	}
	if _, err := (notify.Target{URL: server}).Rotate(now); troy.KindOf(err) != troy.Conflict {
		t.Errorf("a channel's key: %v", err)
	}
}

// TestReceivers sends to receivers that do not take the message.
func TestReceivers(t *testing.T) {
	t.Parallel()
	var behind atomic.Int32
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { behind.Add(1) }))
	defer inner.Close()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		says    string
		is      error
		after   time.Duration
		time    time.Duration
	}{
		"it redirects to loopback": {handler: http.RedirectHandler(inner.URL, http.StatusTemporaryRedirect).ServeHTTP, says: "answered 307: Troy follows no redirects"},
		"it is gone":               {handler: status(410, ""), is: notify.ErrGone, says: "410"},
		"it fails":                 {handler: status(500, ""), says: "answered 500"},
		"it is busy":               {handler: status(429, "70"), after: 70 * time.Second, says: "asks to come back in 1m10s"},
		"it is busy for a year":    {handler: status(503, "99999999999"), after: time.Hour},
		"it is busy since a year":  {handler: status(503, "Mon, 01 Jan 2024 00:00:00 GMT"), after: 15 * time.Second},
		"it is busy for no time":   {handler: status(429, "0"), after: 15 * time.Second},
		"it hangs":                 {handler: func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }, time: 200 * time.Millisecond, says: "no answer within"},
		"it breaks off":            {handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, says: "EOF"},
	} {
		server := httptest.NewServer(c.handler)
		ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.time, time.Minute))
		_, err := notify.NewSender(loopback(), nil).Send(ctx, notify.Slack, notify.Target{URL: server.URL + "/secret-path"}, message("deployment.failed", failed))
		cancel()
		server.CloseClientConnections()
		server.Close()
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
			continue
		}
		if strings.Contains(err.Error(), "secret-path") {
			t.Errorf("%s: the error has the address: %v", name, err)
		}
		var busy *notify.BusyError
		if errors.As(err, &busy) != (c.after > 0) || busy != nil && busy.RetryAfter() != c.after {
			t.Errorf("%s: %v; want to come back in %s", name, err, c.after)
		}
	}
	// A name that leads to loopback, or whose address changed after the check.
	for _, url := range []string{inner.URL, strings.Replace(inner.URL, "127.0.0.1", "localhost", 1)} {
		_, err := notify.NewSender(nil, nil).Send(t.Context(), notify.Slack, notify.Target{URL: url}, message("deployment.failed", failed))
		if err == nil || !strings.Contains(err.Error(), "not a public one") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if n := behind.Load(); n != 0 {
		t.Errorf("%d requests reached loopback", n)
	}
}

func status(code int, after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
	}
}

// TestBodies renders each event for each kind, also with hostile text.
func TestBodies(t *testing.T) {
	t.Parallel()
	const hostile = `{"pipeline":{"slug":"blog","name":"<!channel> [x](http://evil.test) @everyone"},"deployment":{"number":1,"commit":"c","author":"*a*\u202e","message":"](http://evil.test)` + "`" + `","cause":"line\r\n\u0000two"}}`
	for event, details := range map[string]string{
		"deployment.failed": failed, "deployment.live": failed, "deployment.recovered": failed, notify.Test: `{}`,
		"preview.waiting":   `{"pipeline":{"slug":"blog","name":"Blog"},"preview":{"label":"pr-4","number":4,"title":"Add","author":"eve","commit":"abc"}}`,
		"domain.failing":    `{"pipeline":{"slug":"blog","name":"Blog"},"domain":{"host":"www.example.com","reason":"it has no record"}}`,
		"quota.near":        `{"pipeline":{"slug":"blog","name":"Blog"},"storage":{"bytes":95,"files":1,"quota_bytes":100,"quota_files":0}}`,
		"notifier.disabled": `{"notifier":{"kind":"slack","label":"example.com","reason":"410"}}`,
	} {
		for _, kind := range notify.Kinds() {
			body, err := message(event, details).Body(kind)
			if err != nil || !json.Valid(body) {
				t.Errorf("%s of %s: %s, %v", kind, event, body, err)
			}
			t.Logf("%s %s", kind, body)
		}
	}
	for kind, wrong := range map[notify.Kind][]string{
		notify.Slack:   {"<!channel>", "](http", "@everyone", "\u202e", "\r"},
		notify.Discord: {"[x](", "@everyone", " *a*"},
		notify.Teams:   {"\u202e", "\nTextBlock\n"}, // its text blocks read Markdown
	} {
		raw, err := message("deployment.failed", hostile).Body(kind)
		var body any
		if err != nil || json.Unmarshal(raw, &body) != nil {
			t.Fatalf("%s: %s, %v", kind, raw, err)
		}
		text := strings.Join(texts(body), "\n")
		for _, w := range wrong {
			if strings.Contains(text, w) {
				t.Errorf("%s: %q has %q", kind, text, w)
			}
		}
	}
	named, err := message("deployment.failed", strings.Replace(failed, `"ada"`, `"Ada Lovelace"`, 1)).Body(notify.Slack)
	if err != nil || !strings.Contains(string(named), `\n0123456, main, Ada Lovelace\n`) {
		t.Errorf("an author with two names: %s, %v", named, err)
	}
	long, err := message("deployment.failed", strings.Replace(failed, "npm run", strings.Repeat("é*", 3000), 1)).Body(notify.Discord)
	var discord struct{ Content string }
	if err != nil || json.Unmarshal(long, &discord) != nil || len([]rune(discord.Content)) > 2000 || !strings.HasSuffix(discord.Content, "/deployments/12>") {
		t.Errorf("%s, %v", long, err)
	}
}

// texts returns the strings of a JSON value.
func texts(v any) (out []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, x := range v {
			out = append(out, texts(x)...)
		}
	case map[string]any:
		for _, x := range v {
			out = append(out, texts(x)...)
		}
	}
	return out
}

// TestMail sends through a server on this machine, which reports what it got.
func TestMail(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 2)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			smtp(conn, got)
		}
	}()
	mail, err := notify.NewMail("smtp://"+l.Addr().String(), "Troy <troy@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	sender := notify.NewSender(nil, mail)
	m := message("deployment.failed", strings.Replace(failed, `"Blog"`, `"Blög\r\nBcc: x@example.com"`, 1))
	if a, err := sender.Send(t.Context(), notify.Email, notify.Target{To: []string{"ops@example.com"}}, m); err != nil || a.Status != 250 {
		t.Fatalf("%+v, %v", a, err)
	}
	text := <-got
	for _, want := range []string{"RCPT TO:<ops@example.com>", "Subject: =?UTF-8?q?Bl=C3=B6g_Bcc:", "Message-ID: <" + m.ID.String() + "@example.com>", "Auto-Submitted: auto-generated", "npm run build exited with 1", "https://troy.test/pipelines/blog/deployments/12"} {
		if !strings.Contains(text, want) {
			t.Errorf("the mail lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\nBcc:") {
		t.Errorf("a header was injected:\n%s", text)
	}
	if a, err := sender.Send(t.Context(), notify.Email, notify.Target{To: []string{"refused@example.com"}}, m); err == nil || a.Status != 550 || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("a refused recipient: %+v, %v", a, err)
	}
	if _, err := notify.NewSender(nil, nil).Send(t.Context(), notify.Email, notify.Target{To: []string{"ops@example.com"}}, m); troy.KindOf(err) != troy.Conflict {
		t.Errorf("without a server: %v", err)
	}
	for _, bad := range []string{"", "mail.example.com", "http://mail.example.com", "smtp://", "smtp://h:99999", "smtp://h/path"} {
		if _, err := notify.NewMail(bad, "troy@example.com"); err == nil {
			t.Errorf("the server %q is accepted", bad)
		}
	}
	if _, err := notify.NewMail("smtps://mail.example.com", "nobody"); err == nil {
		t.Error("a sender without @ is accepted")
	}
}

// smtp answers one connection and reports what it was sent.
func smtp(conn net.Conn, got chan<- string) {
	defer conn.Close()
	in := bufio.NewScanner(conn)
	var all strings.Builder
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
	say("220 test")
	data := false
	for in.Scan() {
		line := in.Text()
		all.WriteString(line + "\n")
		switch {
		case data && line == ".":
			data = false
			say("250 queued")
			got <- all.String()
		case data:
		case strings.Contains(line, "refused@"):
			say("550 no such user")
		case strings.HasPrefix(line, "DATA"):
			data = true
			say("354 go on")
		case strings.HasPrefix(line, "QUIT"):
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
