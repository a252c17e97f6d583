package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// Cloud returns c with its calls counted.
func (m *Metrics) Cloud(c cloud.Cloud) cloud.Cloud {
	counted := &store{c.Store, m}
	if signer, ok := c.Store.(cloud.Signer); ok {
		c.Store = &signingStore{counted, signer}
	} else {
		c.Store = counted
	}
	if protector, ok := c.CDN.(cloud.Protector); ok {
		c.CDN = &protectingCDN{&cdn{c.CDN, m}, protector}
	} else {
		c.CDN = &cdn{c.CDN, m}
	}
	c.DNS = &dns{c.DNS, m}
	if c.Domains != nil {
		c.Domains = &domains{c.Domains, m}
	}
	if c.Previews != nil {
		c.Previews = &previews{c.Previews, m}
	}
	return c
}

// count counts a call and its outcome.
func (m *Metrics) count(call string, begun time.Time, err *error) {
	outcome := "ok"
	var missing *cloud.MissingError
	var digest *cloud.DigestError
	switch e := *err; {
	case e == nil:
	case errors.Is(e, cloud.ErrNotFound), errors.Is(e, builder.ErrNotFound), errors.Is(e, cloud.ErrExists), errors.Is(e, cloud.ErrNotDisabled), errors.Is(e, cloud.ErrPrecondition),
		errors.Is(e, cloud.ErrStalePointer), errors.Is(e, cloud.ErrStaleProtection), errors.As(e, &missing), errors.As(e, &digest), errors.Is(e, context.Canceled):
		outcome = "expected"
	default:
		outcome = "failed"
	}
	m.called(call, outcome, begun)
}

func (m *Metrics) called(call, outcome string, begun time.Time) {
	m.outside.WithLabelValues(call, outcome).Inc()
	m.outsideTime.WithLabelValues(call).Observe(time.Since(begun).Seconds())
}

type store struct {
	next cloud.Store
	m    *Metrics
}

func (s *store) Begin(ctx context.Context, t site.Tree, f site.Manifest) (missing []site.File, err error) {
	defer s.m.count("store.begin", time.Now(), &err)
	return s.next.Begin(ctx, t, f)
}

func (s *store) Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) (err error) {
	defer s.m.count("store.put", time.Now(), &err)
	return s.next.Put(ctx, t, f, r)
}

func (s *store) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (stored int, err error) {
	defer s.m.count("store.putall", time.Now(), &err)
	return s.next.PutAll(ctx, t, files, r)
}

func (s *store) Seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) (err error) {
	defer s.m.count("store.seal", time.Now(), &err)
	return s.next.Seal(ctx, t, carried, rules)
}

func (s *store) Manifest(ctx context.Context, t site.Tree) (f site.Manifest, err error) {
	defer s.m.count("store.manifest", time.Now(), &err)
	return s.next.Manifest(ctx, t)
}

func (s *store) Read(ctx context.Context, t site.Tree, f site.File) (data []byte, err error) {
	defer s.m.count("store.read", time.Now(), &err)
	return s.next.Read(ctx, t, f)
}

func (s *store) Remove(ctx context.Context, pipeline uuid.UUID, deployments ...uuid.UUID) (err error) {
	defer s.m.count("store.remove", time.Now(), &err)
	return s.next.Remove(ctx, pipeline, deployments...)
}

func (s *store) RemoveAll(ctx context.Context, pipeline uuid.UUID) (n int, err error) {
	defer s.m.count("store.removeall", time.Now(), &err)
	return s.next.RemoveAll(ctx, pipeline)
}

func (s *store) Trees(ctx context.Context, pipeline uuid.UUID) (trees []uuid.UUID, err error) {
	defer s.m.count("store.trees", time.Now(), &err)
	return s.next.Trees(ctx, pipeline)
}

type signingStore struct {
	*store
	signer cloud.Signer
}

func (s *signingStore) Sign(ctx context.Context, t site.Tree, files []site.File) (puts []cloud.SignedPut, expires time.Time, err error) {
	defer s.m.count("store.sign", time.Now(), &err)
	return s.signer.Sign(ctx, t, files)
}

type cdn struct {
	next cloud.CDN
	m    *Metrics
}

func (c *cdn) Create(ctx context.Context, reference, host string) (d cloud.Distribution, err error) {
	defer c.m.count("cdn.create", time.Now(), &err)
	return c.next.Create(ctx, reference, host)
}

func (c *cdn) Find(ctx context.Context, reference string) (d cloud.Distribution, err error) {
	defer c.m.count("cdn.find", time.Now(), &err)
	return c.next.Find(ctx, reference)
}

func (c *cdn) Get(ctx context.Context, id string) (d cloud.Distribution, err error) {
	defer c.m.count("cdn.get", time.Now(), &err)
	return c.next.Get(ctx, id)
}

func (c *cdn) Disable(ctx context.Context, id, etag string) (err error) {
	defer c.m.count("cdn.disable", time.Now(), &err)
	return c.next.Disable(ctx, id, etag)
}

func (c *cdn) Delete(ctx context.Context, id, etag string) (err error) {
	defer c.m.count("cdn.delete", time.Now(), &err)
	return c.next.Delete(ctx, id, etag)
}

func (c *cdn) Flip(ctx context.Context, id string, p site.Pointer) (err error) {
	defer c.m.count("cdn.flip", time.Now(), &err)
	return c.next.Flip(ctx, id, p)
}

type protectingCDN struct {
	*cdn
	protector cloud.Protector
}

func (c *protectingCDN) Protect(ctx context.Context, id string, p site.Protection) (err error) {
	defer c.m.count("cdn.protect", time.Now(), &err)
	return c.protector.Protect(ctx, id, p)
}

type dns struct {
	next cloud.DNS
	m    *Metrics
}

func (d *dns) Lookup(ctx context.Context, host string) (target string, err error) {
	defer d.m.count("dns.lookup", time.Now(), &err)
	return d.next.Lookup(ctx, host)
}

func (d *dns) Upsert(ctx context.Context, host, target string) (err error) {
	defer d.m.count("dns.upsert", time.Now(), &err)
	return d.next.Upsert(ctx, host, target)
}

func (d *dns) Delete(ctx context.Context, host, target string) (err error) {
	defer d.m.count("dns.delete", time.Now(), &err)
	return d.next.Delete(ctx, host, target)
}

// Builder returns b with its calls counted.
func (m *Metrics) Builder(b builder.Builder) builder.Builder { return &countedBuilder{b, m} }

type countedBuilder struct {
	next builder.Builder
	m    *Metrics
}

func (b *countedBuilder) Start(ctx context.Context, spec builder.Spec) (err error) {
	defer b.m.count("builder.start", time.Now(), &err)
	return b.next.Start(ctx, spec)
}

func (b *countedBuilder) Get(ctx context.Context, t site.Tree) (now builder.Build, err error) {
	defer b.m.count("builder.get", time.Now(), &err)
	return b.next.Get(ctx, t)
}

func (b *countedBuilder) Log(ctx context.Context, t site.Tree, cursor string) (page builder.LogPage, err error) {
	defer b.m.count("builder.log", time.Now(), &err)
	return b.next.Log(ctx, t, cursor)
}

func (b *countedBuilder) Stop(ctx context.Context, t site.Tree) (err error) {
	defer b.m.count("builder.stop", time.Now(), &err)
	return b.next.Stop(ctx, t)
}

func (b *countedBuilder) Artifact(ctx context.Context, t site.Tree) (s *site.Source, err error) {
	defer b.m.count("builder.artifact", time.Now(), &err)
	return b.next.Artifact(ctx, t)
}

func (b *countedBuilder) Caches(ctx context.Context) (builder.Caches, error) {
	return b.next.Caches(ctx)
}

func (b *countedBuilder) RemoveCaches(ctx context.Context, pipeline uuid.UUID, scope string, unusedSince time.Time) (err error) {
	defer b.m.count("builder.remove_caches", time.Now(), &err)
	return b.next.RemoveCaches(ctx, pipeline, scope, unusedSince)
}

func (b *countedBuilder) Remove(ctx context.Context, t site.Tree) (err error) {
	defer b.m.count("builder.remove", time.Now(), &err)
	return b.next.Remove(ctx, t)
}

// Forge returns next with its requests to a forge counted.
func (m *Metrics) Forge(provider troy.Provider, next http.RoundTripper) http.RoundTripper {
	return transport(func(r *http.Request) (*http.Response, error) {
		begun := time.Now()
		res, err := next.RoundTrip(r)
		outcome := "ok"
		switch {
		case errors.Is(err, context.Canceled):
			outcome = "expected"
		case err != nil, res.StatusCode >= 500, res.StatusCode == http.StatusTooManyRequests:
			outcome = "failed"
		case res.StatusCode >= 400:
			outcome = "expected"
		}
		m.called("forge."+string(provider), outcome, begun)
		return res, err
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// Queue returns q with its calls counted.
func (m *Metrics) Queue(q cloud.Queue) cloud.Queue { return &queue{q, m} }

type queue struct {
	next cloud.Queue
	m    *Metrics
}

func (q *queue) Receive(ctx context.Context, hold time.Duration) (messages []cloud.Message, err error) {
	defer q.m.count("queue.receive", time.Now(), &err)
	return q.next.Receive(ctx, hold)
}

func (q *queue) Hold(ctx context.Context, d time.Duration, messages ...cloud.Message) (err error) {
	defer q.m.count("queue.hold", time.Now(), &err)
	return q.next.Hold(ctx, d, messages...)
}

func (q *queue) Done(ctx context.Context, messages ...cloud.Message) (err error) {
	defer q.m.count("queue.done", time.Now(), &err)
	return q.next.Done(ctx, messages...)
}

func (q *queue) DeadLetters(ctx context.Context) (target string, err error) {
	defer q.m.count("queue.deadletters", time.Now(), &err)
	return q.next.DeadLetters(ctx)
}

// ConfirmTopic returns next with its confirmations of subscriptions counted.
func (m *Metrics) ConfirmTopic(next func(ctx context.Context, topic, token string) error) func(ctx context.Context, topic, token string) error {
	return func(ctx context.Context, topic, token string) (err error) {
		defer m.count("topic.confirm", time.Now(), &err)
		return next(ctx, topic, token)
	}
}

type domains struct {
	next cloud.Domains
	m    *Metrics
}

func (d *domains) Target(ctx context.Context, id string) (host string, addresses []netip.Addr, err error) {
	defer d.m.count("domains.target", time.Now(), &err)
	return d.next.Target(ctx, id)
}

func (d *domains) Attach(ctx context.Context, id string, h cloud.CustomHost) (err error) {
	defer d.m.count("domains.attach", time.Now(), &err)
	return d.next.Attach(ctx, id, h)
}

func (d *domains) Host(ctx context.Context, id, host string) (state cloud.HostState, err error) {
	defer d.m.count("domains.host", time.Now(), &err)
	return d.next.Host(ctx, id, host)
}

func (d *domains) Detach(ctx context.Context, id, host string) (err error) {
	defer d.m.count("domains.detach", time.Now(), &err)
	return d.next.Detach(ctx, id, host)
}

type previews struct {
	next cloud.Previews
	m    *Metrics
}

func (v *previews) Point(ctx context.Context, id, label string, p site.Pointer) (err error) {
	defer v.m.count("previews.point", time.Now(), &err)
	return v.next.Point(ctx, id, label, p)
}

func (v *previews) Unpoint(ctx context.Context, id, label string, sequence int64) (err error) {
	defer v.m.count("previews.unpoint", time.Now(), &err)
	return v.next.Unpoint(ctx, id, label, sequence)
}
