package edge

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/traffic"
)

// AccessFormat is the form of the access log's lines.
type AccessFormat string

const (
	// AccessJSON is an object per line.
	AccessJSON AccessFormat = "json"
	// AccessCombined is the combined format of Apache and nginx after the host.
	AccessCombined AccessFormat = "combined"
)

// observation is what is known of a response after it was sent.
type observation struct {
	pipeline uuid.UUID // zero if the host has no site
	host     string
	client   netip.Addr
	method   string
	proto    string
	path     string // escaped, without the query
	referrer string
	agent    string
	status   int
	bytes    int64
	took     time.Duration
}

// observer counts and logs responses. Both parts may be nil.
type observer struct {
	counter *traffic.Counter
	log     *accessLog
}

// newObserver returns nil if there is nothing to observe.
func newObserver(cfg Config, layout site.Layout) *observer {
	o := &observer{}
	if cfg.Traffic {
		o.counter = traffic.NewCounter(layout.Traffic, filepath.Join(layout.Root, "locks", "traffic"), cfg.Logger)
	}
	if cfg.AccessLog != nil {
		o.log = &accessLog{out: cfg.AccessLog, format: cfg.AccessFormat, full: cfg.FullAddresses, faults: cfg.Logger}
	}
	if o.counter == nil && o.log == nil {
		return nil
	}
	return o
}

func (o *observer) observe(seen *observation) {
	if o.counter != nil && seen.pipeline != uuid.Nil {
		o.counter.Add(seen.pipeline, traffic.Seen{Path: seen.path, Referrer: seen.referrer, Status: seen.status, Bytes: seen.bytes})
	}
	if o.log != nil {
		o.log.add(seen)
	}
}

// run writes what is observed until ctx is done, and then the rest.
func (o *observer) run(ctx context.Context) {
	var group sync.WaitGroup
	if o.counter != nil {
		group.Go(func() { o.counter.Run(ctx) })
	}
	if o.log != nil {
		group.Go(func() { o.log.run(ctx) })
	}
	group.Wait()
}

const (
	// accessInterval is how long a line may wait to be written.
	accessInterval = 250 * time.Millisecond
	// maxAccess is the maximum number of bytes that wait to be written. If the
	// writer is slower than the requests, lines are dropped: sites come first.
	maxAccess = 4 << 20
)

// accessLog writes a line for each response.
type accessLog struct {
	out    io.Writer
	format AccessFormat
	full   bool // whether whole addresses are logged
	faults *slog.Logger

	mu      sync.Mutex
	waiting []byte
	dropped int64
}

func (a *accessLog) add(seen *observation) {
	client := seen.client
	if !a.full {
		client = anonymous(client)
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) > maxAccess {
		a.dropped++
		return
	}
	if a.format == AccessCombined {
		a.waiting = combined(a.waiting, seen, client, now)
	} else {
		a.waiting = object(a.waiting, seen, client, now)
	}
}

// anonymous removes the part of an address that identifies a person's
// connection: the last byte of IPv4, all but 48 bits of IPv6.
func anonymous(a netip.Addr) netip.Addr {
	bits := 48
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

func object(b []byte, seen *observation, client netip.Addr, now time.Time) []byte {
	text := func(name, value string) {
		b = append(b, name...)
		if quoted, err := jsontext.AppendQuote(b, value); err == nil {
			b = quoted
			return
		}
		b, _ = jsontext.AppendQuote(b, strconv.QuoteToASCII(value)) // invalid UTF-8
	}
	b = append(b, `{"time":"`...)
	b = now.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	text(`","host":`, seen.host)
	if seen.pipeline != uuid.Nil {
		text(`,"pipeline_id":`, seen.pipeline.String())
	}
	if client.IsValid() {
		text(`,"client":`, client.String())
	}
	text(`,"method":`, seen.method)
	text(`,"path":`, seen.path)
	text(`,"protocol":`, seen.proto)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(seen.status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, seen.bytes, 10)
	b = append(b, `,"ms":`...)
	b = strconv.AppendFloat(b, float64(seen.took.Microseconds())/1000, 'f', -1, 64)
	if seen.referrer != "" {
		text(`,"referrer":`, publicPart(seen.referrer))
	}
	if seen.agent != "" {
		text(`,"agent":`, seen.agent)
	}
	return append(b, "}\n"...)
}

func combined(b []byte, seen *observation, client netip.Addr, now time.Time) []byte {
	quoted := func(s string) {
		if s == "" {
			s = "-"
		}
		b = strconv.AppendQuoteToASCII(b, s)
	}
	who := "-"
	if client.IsValid() {
		who = client.String()
	}
	b = append(append(append(b, word(seen.host)...), ' '), who...)
	b = append(b, " - - ["...)
	b = now.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, "] "...)
	quoted(word(seen.method) + " " + word(seen.path) + " " + seen.proto)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(seen.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, seen.bytes, 10)
	b = append(b, ' ')
	quoted(publicPart(seen.referrer))
	b = append(b, ' ')
	quoted(seen.agent)
	return append(b, '\n')
}

// word makes a text one word of a line: spaces and control characters would
// forge others.
func word(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' {
			return escapeQuery(s)
		}
	}
	if s == "" {
		return "-"
	}
	return s
}

// publicPart returns a referrer without what may be secret: its scheme, host and
// path, or "".
func publicPart(referrer string) string {
	if referrer == "" || len(referrer) > 4096 {
		return ""
	}
	u, err := url.Parse(referrer)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

func (a *accessLog) run(ctx context.Context) {
	ticker := time.NewTicker(accessInterval)
	defer ticker.Stop()
	var spare []byte
	for done := false; !done; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			done = true
		}
		spare = a.flush(spare)
	}
}

// flush writes the waiting lines. spare is a buffer for the next ones.
func (a *accessLog) flush(spare []byte) []byte {
	a.mu.Lock()
	lines, dropped := a.waiting, a.dropped
	a.waiting, a.dropped = spare[:0], 0
	a.mu.Unlock()
	if len(lines) > 0 {
		if _, err := a.out.Write(lines); err != nil {
			a.faults.Warn("can't write the access log", "error", err)
		}
	}
	if dropped > 0 {
		a.faults.Warn("the access log is slower than the requests", "dropped_lines", dropped)
	}
	return lines
}

// observed answers a request and observes the response.
func (s *Server) observed(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	s.answer(rec, r)
	seen := observation{
		host: hostname(r.Host), client: s.proxies.Client(r), method: r.Method, proto: r.Proto, path: r.URL.EscapedPath(),
		referrer: r.Referer(), agent: r.UserAgent(), status: rec.status, bytes: rec.bytes, took: time.Since(start),
	}
	if rec.live != nil {
		seen.pipeline, seen.host = rec.live.tree.Pipeline, rec.live.host
	}
	s.observer.observe(&seen)
}

// observeKept observes a kept response to a plain request.
func (s *Server) observeKept(q *request, a *hotAnswer, from netip.Addr) {
	if s.observer == nil {
		return
	}
	seen := observation{pipeline: a.pipeline, host: a.host, method: http.MethodGet, proto: "HTTP/1.1", path: a.path, status: http.StatusOK, bytes: int64(len(a.body))}
	if q.noneMatch != nil {
		seen.status, seen.bytes = http.StatusNotModified, 0
	}
	if s.observer.log != nil {
		seen.referrer, seen.agent, seen.client = string(q.referer), string(q.agent), s.proxies.Origin(from, lines(q.forwarded))
	}
	s.observer.observe(&seen)
}

func lines(value []byte) []string {
	if value == nil {
		return nil
	}
	return []string{string(value)}
}
