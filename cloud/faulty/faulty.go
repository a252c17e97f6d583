//go:build faults

package faulty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// ErrInjected is in the chain of every scripted failure.
var ErrInjected = errors.New("injected fault")

// exitCode is the exit status of a process that SIGKILL ended.
const exitCode = 137

// New wraps c with the script in the file, which need not exist yet. Each call
// reads the file; New, and then every call, returns an error for a malformed
// line. The argument that match= searches and that the log shows is:
//
//	store.put, .read                    the file's path
//	store.remove, .removeall, .trees    pipeline
//	store.begin, .putall, .seal         pipeline/deployment
//	store.manifest                      pipeline/deployment
//	cdn.create                          reference host
//	cdn.find                            reference
//	cdn.get, .disable, .delete          distribution
//	cdn.protect                         distribution
//	cdn.flip                            distribution pipeline/deployment
//	dns.lookup, .upsert, .delete        host
//	domains.target                      distribution
//	domains.attach, .host, .detach      distribution host
//	previews.point, .unpoint            distribution label
func New(c cloud.Cloud, file string) (cloud.Cloud, error) {
	s := script{file: file}
	if _, _, err := s.read(); err != nil {
		return c, err
	}
	return Wrap(c, file), nil
}

// Wrap is New for a script that may be malformed: every call then returns that
// error.
func Wrap(c cloud.Cloud, file string) cloud.Cloud {
	s := script{file: file}
	wrapped := &store{c.Store, s}
	if signer, ok := c.Store.(cloud.Signer); ok {
		c.Store = &signingStore{wrapped, signer}
	} else {
		c.Store = wrapped
	}
	if protector, ok := c.CDN.(cloud.Protector); ok {
		c.CDN = &protectingCDN{&cdn{c.CDN, s}, protector}
	} else {
		c.CDN = &cdn{c.CDN, s}
	}
	c.DNS = &dns{c.DNS, s}
	if c.Domains != nil {
		c.Domains = &domains{c.Domains, s}
	}
	if c.Previews != nil {
		c.Previews = &previews{c.Previews, s}
	}
	return c
}

// call makes one outside call as the script demands.
func call[T any](ctx context.Context, s script, name, argument string, do func() (T, error)) (T, error) {
	var none T
	f, err := s.next(name, argument)
	if err != nil {
		return none, err
	}
	if f != nil {
		switch f.action {
		case before:
			err := f.failure()
			return none, errors.Join(err, s.log(name, argument, "before: "+err.Error()))
		case hang:
			if err := s.wait(ctx, f); err != nil {
				return none, errors.Join(err, s.log(name, argument, "hang: "+err.Error()))
			}
		case kill:
			die(s, name, argument, "kill")
		}
	}
	v, err := do()
	if f != nil && f.action == killAfter {
		die(s, name, argument, "killafter: "+result(err))
	}
	if f != nil && f.action == after && err == nil {
		err := f.failure()
		return none, errors.Join(err, s.log(name, argument, "after: "+err.Error()))
	}
	if logErr := s.log(name, argument, result(err)); logErr != nil {
		return none, errors.Join(err, logErr)
	}
	return v, err
}

func result(err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return "ok"
}

// failure returns the line's error: a temporary one, or with kind=permanent one
// that retries don't fix.
func (f *fault) failure() error {
	if f.permanent {
		return troy.Errorf(troy.Invalid, "%w: %s", ErrInjected, f.call)
	}
	return fmt.Errorf("%w: %s", ErrInjected, f.call)
}

// die ends the process at once, as SIGKILL would. It ends it even if the log
// can't be written.
func die(s script, name, argument, result string) {
	_ = s.log(name, argument, result)
	os.Exit(exitCode)
}

// do0 is call for functions that return only an error.
func do0(ctx context.Context, s script, name, argument string, do func() error) error {
	_, err := call(ctx, s, name, argument, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func tree(t site.Tree) string { return t.Pipeline.String() + "/" + t.Deployment.String() }

type store struct {
	next cloud.Store
	s    script
}

// signingStore is a store that signs uploads.
type signingStore struct {
	*store
	signer cloud.Signer
}

func (w *signingStore) Sign(ctx context.Context, t site.Tree, files []site.File) ([]cloud.SignedPut, time.Time, error) {
	type signed struct {
		puts    []cloud.SignedPut
		expires time.Time
	}
	out, err := call(ctx, w.s, "store.sign", tree(t), func() (signed, error) {
		puts, expires, err := w.signer.Sign(ctx, t, files)
		return signed{puts, expires}, err
	})
	return out.puts, out.expires, err
}

func (w *store) Begin(ctx context.Context, t site.Tree, m site.Manifest) ([]site.File, error) {
	return call(ctx, w.s, "store.begin", tree(t), func() ([]site.File, error) { return w.next.Begin(ctx, t, m) })
}

func (w *store) Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error {
	return do0(ctx, w.s, "store.put", f.Path, func() error { return w.next.Put(ctx, t, f, r) })
}

func (w *store) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	return call(ctx, w.s, "store.putall", tree(t), func() (int, error) { return w.next.PutAll(ctx, t, files, r) })
}

func (w *store) Seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) error {
	return do0(ctx, w.s, "store.seal", tree(t), func() error { return w.next.Seal(ctx, t, carried, rules) })
}

func (w *store) Manifest(ctx context.Context, t site.Tree) (site.Manifest, error) {
	return call(ctx, w.s, "store.manifest", tree(t), func() (site.Manifest, error) { return w.next.Manifest(ctx, t) })
}

func (w *store) Read(ctx context.Context, t site.Tree, f site.File) ([]byte, error) {
	return call(ctx, w.s, "store.read", f.Path, func() ([]byte, error) { return w.next.Read(ctx, t, f) })
}

func (w *store) Remove(ctx context.Context, pipeline uuid.UUID, deployments ...uuid.UUID) error {
	return do0(ctx, w.s, "store.remove", pipeline.String(), func() error { return w.next.Remove(ctx, pipeline, deployments...) })
}

func (w *store) RemoveAll(ctx context.Context, pipeline uuid.UUID) (int, error) {
	return call(ctx, w.s, "store.removeall", pipeline.String(), func() (int, error) { return w.next.RemoveAll(ctx, pipeline) })
}

func (w *store) Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error) {
	return call(ctx, w.s, "store.trees", pipeline.String(), func() ([]uuid.UUID, error) { return w.next.Trees(ctx, pipeline) })
}

type cdn struct {
	next cloud.CDN
	s    script
}

func (w *cdn) Create(ctx context.Context, reference, host string) (cloud.Distribution, error) {
	return call(ctx, w.s, "cdn.create", reference+" "+host, func() (cloud.Distribution, error) { return w.next.Create(ctx, reference, host) })
}

func (w *cdn) Find(ctx context.Context, reference string) (cloud.Distribution, error) {
	return call(ctx, w.s, "cdn.find", reference, func() (cloud.Distribution, error) { return w.next.Find(ctx, reference) })
}

func (w *cdn) Get(ctx context.Context, id string) (cloud.Distribution, error) {
	return call(ctx, w.s, "cdn.get", id, func() (cloud.Distribution, error) { return w.next.Get(ctx, id) })
}

func (w *cdn) Disable(ctx context.Context, id, etag string) error {
	return do0(ctx, w.s, "cdn.disable", id, func() error { return w.next.Disable(ctx, id, etag) })
}

func (w *cdn) Delete(ctx context.Context, id, etag string) error {
	return do0(ctx, w.s, "cdn.delete", id, func() error { return w.next.Delete(ctx, id, etag) })
}

func (w *cdn) Flip(ctx context.Context, id string, p site.Pointer) error {
	argument := id + " " + tree(site.Tree{Pipeline: p.Pipeline, Deployment: p.Deployment})
	return do0(ctx, w.s, "cdn.flip", argument, func() error { return w.next.Flip(ctx, id, p) })
}

// protectingCDN is a CDN that protects sites.
type protectingCDN struct {
	*cdn
	protector cloud.Protector
}

func (w *protectingCDN) Protect(ctx context.Context, id string, p site.Protection) error {
	return do0(ctx, w.s, "cdn.protect", id, func() error { return w.protector.Protect(ctx, id, p) })
}

type dns struct {
	next cloud.DNS
	s    script
}

func (w *dns) Lookup(ctx context.Context, host string) (string, error) {
	return call(ctx, w.s, "dns.lookup", host, func() (string, error) { return w.next.Lookup(ctx, host) })
}

func (w *dns) Upsert(ctx context.Context, host, target string) error {
	return do0(ctx, w.s, "dns.upsert", host, func() error { return w.next.Upsert(ctx, host, target) })
}

func (w *dns) Delete(ctx context.Context, host, target string) error {
	return do0(ctx, w.s, "dns.delete", host, func() error { return w.next.Delete(ctx, host, target) })
}

type domains struct {
	next cloud.Domains
	s    script
}

func (w *domains) Target(ctx context.Context, id string) (string, []netip.Addr, error) {
	type target struct {
		host      string
		addresses []netip.Addr
	}
	t, err := call(ctx, w.s, "domains.target", id, func() (target, error) {
		host, addresses, err := w.next.Target(ctx, id)
		return target{host, addresses}, err
	})
	return t.host, t.addresses, err
}

func (w *domains) Attach(ctx context.Context, id string, h cloud.CustomHost) error {
	return do0(ctx, w.s, "domains.attach", id+" "+h.Host, func() error { return w.next.Attach(ctx, id, h) })
}

func (w *domains) Host(ctx context.Context, id, host string) (cloud.HostState, error) {
	return call(ctx, w.s, "domains.host", id+" "+host, func() (cloud.HostState, error) { return w.next.Host(ctx, id, host) })
}

func (w *domains) Detach(ctx context.Context, id, host string) error {
	return do0(ctx, w.s, "domains.detach", id+" "+host, func() error { return w.next.Detach(ctx, id, host) })
}

type previews struct {
	next cloud.Previews
	s    script
}

func (w *previews) Point(ctx context.Context, id, label string, p site.Pointer) error {
	return do0(ctx, w.s, "previews.point", id+" "+label, func() error { return w.next.Point(ctx, id, label, p) })
}

func (w *previews) Unpoint(ctx context.Context, id, label string, sequence int64) error {
	return do0(ctx, w.s, "previews.unpoint", id+" "+label, func() error { return w.next.Unpoint(ctx, id, label, sequence) })
}
