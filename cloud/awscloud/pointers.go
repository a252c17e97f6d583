package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore"
	"github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore/types"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

const (
	// maxFlips is the maximum number of keys of one UpdateKeys, and of flips
	// that are written together
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
	maxFlips = 50
	// maxRaces is how often an update is retried when a writer outside the lock
	// was faster.
	maxRaces = 5
	// pointersLock is the name of the lock on flips: the store has one ETag for
	// all of its keys.
	pointersLock = "cloudfront pointers"
)

// pointerValue is a pointer as the viewer-request function reads it.
type pointerValue struct {
	Sequence   int64  `json:"s"`
	Pipeline   string `json:"p"`
	Deployment string `json:"d,omitempty"`
	// Program and Keys are the numbers of parts of the tree's rules.
	Program int `json:"r,omitempty"`
	Keys    int `json:"n,omitempty"`
	// Pages is 1 if each page of the tree has one key.
	Pages int `json:"k,omitempty"`
	// Guard is the number of values of the site's protection. If it is set and
	// they can't be read, the function does not show the site.
	Guard int `json:"a,omitempty"`
	// Redirects is 1 if aliases of the distribution redirect.
	Redirects int `json:"h,omitempty"`
	// Of is the distribution of a preview's site.
	Of string `json:"i,omitempty"`
}

// pointers keeps the pointers in a KeyValueStore, under the distributions' ids.
type pointers struct {
	client *cloudfrontkeyvaluestore.Client
	store  string
	lock   func(context.Context, string, func(context.Context) error) error

	mu      sync.Mutex
	waiting []*flip
}

// flip is a pending pointer.
type flip struct {
	id     string
	wanted site.Pointer
	rules  served
	remove bool
	guards int // of a removal: the number of values of the protection
	err    error
	done   bool
}

func newPointers(client *cloudfrontkeyvaluestore.Client, cfg Config) *pointers {
	return &pointers{client: client, store: cfg.KeyValueStoreARN, lock: cfg.Lock}
}

// flip moves a pointer unless a later one is in force.
func (p *pointers) flip(ctx context.Context, id string, wanted site.Pointer, rules served) error {
	return p.do(ctx, &flip{id: id, wanted: wanted, rules: rules})
}

// remove deletes a pointer. It returns nil if there is none.
func (p *pointers) remove(ctx context.Context, id string) error {
	return p.do(ctx, &flip{id: id, remove: true})
}

// do waits for the lock; its holder also writes the other pending flips of this
// process.
func (p *pointers) do(ctx context.Context, f *flip) error {
	p.mu.Lock()
	p.waiting = append(p.waiting, f)
	p.mu.Unlock()
	err := p.lock(ctx, pointersLock, func(ctx context.Context) error {
		for {
			p.mu.Lock()
			if f.done {
				p.mu.Unlock()
				return nil
			}
			n := min(len(p.waiting), maxFlips)
			batch := p.waiting[:n:n]
			p.waiting = p.waiting[n:]
			p.mu.Unlock()
			err := p.update(ctx, batch)
			p.mu.Lock()
			for _, other := range batch {
				other.done = true
				if other.err == nil {
					other.err = err
				}
			}
			p.mu.Unlock()
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.done {
		return f.err
	}
	// No holder took it, so none may do so later.
	for i, other := range p.waiting {
		if other == f {
			p.waiting = append(p.waiting[:i:i], p.waiting[i+1:]...)
			break
		}
	}
	return err
}

// update writes a batch with one call. A stale flip gets its own error;
// update's error concerns all others.
func (p *pointers) update(ctx context.Context, batch []*flip) error {
	return retryRaces(func() error { return p.tryUpdate(ctx, batch) })
}

// retryRaces repeats an update while another writer is faster.
func retryRaces(update func() error) error {
	for race := 0; ; race++ {
		err := update()
		if !errors.Is(err, cloud.ErrPrecondition) || race == maxRaces {
			return err
		}
	}
}

// etag returns the store's version, which guards a write.
func (p *pointers) etag(ctx context.Context) (*string, error) {
	out, err := p.describe(ctx)
	if err != nil {
		return nil, err
	}
	return out.ETag, nil
}

func (p *pointers) describe(ctx context.Context) (*cloudfrontkeyvaluestore.DescribeKeyValueStoreOutput, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.DescribeKeyValueStoreOutput, error) {
		return p.client.DescribeKeyValueStore(ctx, &cloudfrontkeyvaluestore.DescribeKeyValueStoreInput{KvsARN: &p.store})
	})
	return out, awsapi.Failed("read the pointers' store", err)
}

func (p *pointers) tryUpdate(ctx context.Context, batch []*flip) error {
	etag, err := p.etag(ctx)
	if err != nil {
		return err
	}
	latest := map[string]*flip{} // the written pointers by distribution
	stored, inForce := map[string]pointerValue{}, map[string]site.Pointer{}
	for _, f := range batch {
		if f.err != nil {
			continue
		}
		before, known := inForce[f.id]
		if !known {
			value, err := p.read(ctx, f.id)
			if err != nil && !errors.Is(err, cloud.ErrNotFound) {
				return err
			}
			if before, err = value.pointer(); err != nil {
				return fmt.Errorf("read the pointer of %s: %w", f.id, err)
			}
			inForce[f.id], stored[f.id] = before, value
		}
		if f.remove {
			if f.guards, err = p.guarded(ctx, f.id); err != nil {
				return err
			}
			if before != (site.Pointer{}) || stored[f.id] != (pointerValue{}) || f.guards > 0 {
				latest[f.id], inForce[f.id] = f, site.Pointer{}
			}
			continue
		}
		if before.Sequence > f.wanted.Sequence || before.Sequence == f.wanted.Sequence && before != f.wanted {
			f.err = fmt.Errorf("flip %s to sequence %d where %d is in force: %w", f.id, f.wanted.Sequence, before.Sequence, &cloud.StalePointerError{InForce: before.Sequence})
			continue
		}
		if before != f.wanted {
			latest[f.id], inForce[f.id] = f, f.wanted
		}
	}
	changes := make([]*change, 0, len(latest))
	for id, f := range latest {
		c, err := newChange(id, f, stored[id])
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	return p.write(ctx, etag, changes)
}

// change is the part of an UpdateKeys for one distribution.
type change struct {
	puts    []types.PutKeyRequestListItem
	deletes []types.DeleteKeyRequestListItem
}

// newChange returns the change of a flip. before is the stored pointer.
func newChange(id string, f *flip, before pointerValue) (*change, error) {
	c := &change{}
	if f.remove {
		for i := range f.guards {
			c.delete(guardKey(id, i))
		}
		return c, c.replace(id, before, pointerValue{}, nil)
	}
	after := valueOf(f.wanted, f.rules)
	after.Guard, after.Redirects = before.Guard, before.Redirects
	return c, c.replace(id, before, after, f.rules.values(id, f.wanted))
}

func (c *change) put(key, value string) {
	c.puts = append(c.puts, types.PutKeyRequestListItem{Key: &key, Value: &value})
}

func (c *change) delete(key string) {
	c.deletes = append(c.deletes, types.DeleteKeyRequestListItem{Key: &key})
}

// replace replaces a pointer with its parts. A zero value means none.
func (c *change) replace(key string, before, after pointerValue, parts map[string]string) error {
	if after != (pointerValue{}) {
		text, err := json.Marshal(after)
		if err != nil {
			return err
		}
		c.put(key, string(text))
	} else if before != (pointerValue{}) {
		c.delete(key)
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		c.put(part, parts[part])
	}
	for i := after.Program; i < before.Program; i++ {
		c.delete(programPart(key, i))
	}
	for i := after.Keys; i < before.Keys; i++ {
		c.delete(keyPart(key, i))
	}
	return nil
}

// write applies the changes, each of them in one call.
func (p *pointers) write(ctx context.Context, etag *string, changes []*change) error {
	for len(changes) > 0 {
		in := &cloudfrontkeyvaluestore.UpdateKeysInput{KvsARN: &p.store, IfMatch: etag}
		for len(changes) > 0 {
			c := changes[0]
			n := len(in.Puts) + len(in.Deletes)
			if n > 0 && n+len(c.puts)+len(c.deletes) > maxFlips {
				break
			}
			in.Puts, in.Deletes, changes = append(in.Puts, c.puts...), append(in.Deletes, c.deletes...), changes[1:]
		}
		out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.UpdateKeysOutput, error) {
			return p.client.UpdateKeys(ctx, in)
		})
		if err != nil {
			return awsapi.Failed("write the pointers", err)
		}
		etag = out.ETag
	}
	return nil
}

// probe reads the store and a key that does not exist, and tries a write that
// its ETag makes fail.
func (p *pointers) probe(ctx context.Context) error {
	if _, err := p.etag(ctx); err != nil {
		return err
	}
	if _, err := p.get(ctx, "troy-doctor"); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.UpdateKeysOutput, error) {
		return p.client.UpdateKeys(ctx, &cloudfrontkeyvaluestore.UpdateKeysInput{
			KvsARN: &p.store, IfMatch: aws.String("troy-doctor"), Deletes: []types.DeleteKeyRequestListItem{{Key: aws.String("troy-doctor")}},
		})
	})
	if awsapi.Denied(err) {
		return awsapi.Failed("write the pointers", err)
	}
	return nil
}

// get reads a pointer; it returns cloud.ErrNotFound if there is none.
func (p *pointers) get(ctx context.Context, id string) (site.Pointer, error) {
	value, err := p.read(ctx, id)
	if err != nil {
		return site.Pointer{}, err
	}
	pointer, err := value.pointer()
	if err != nil {
		return pointer, fmt.Errorf("read the pointer of %s: %w", id, err)
	}
	return pointer, nil
}

func (p *pointers) read(ctx context.Context, id string) (value pointerValue, err error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.GetKeyOutput, error) {
		return p.client.GetKey(ctx, &cloudfrontkeyvaluestore.GetKeyInput{KvsARN: &p.store, Key: &id})
	})
	if err != nil {
		return value, awsapi.Failed("read the pointer of "+id, err)
	}
	if err := json.Unmarshal([]byte(aws.ToString(out.Value)), &value); err != nil {
		return value, fmt.Errorf("read the pointer of %s: %w", id, err)
	}
	return value, nil
}

func valueOf(p site.Pointer, rules served) pointerValue {
	value := pointerValue{Sequence: p.Sequence, Pipeline: p.Pipeline.String(), Program: len(rules.Program), Keys: len(rules.Keys), Pages: rules.Pages}
	if p.Deployment != uuid.Nil {
		value.Deployment = p.Deployment.String()
	}
	return value
}

// pointer returns the pointer of a value. The zero value, and that of a site
// that was protected, or had aliases, before its first flip, have the zero pointer.
func (v pointerValue) pointer() (site.Pointer, error) {
	p := site.Pointer{Sequence: v.Sequence}
	if v == (pointerValue{Guard: v.Guard, Redirects: v.Redirects}) {
		return p, nil
	}
	var err error
	if p.Pipeline, err = uuid.Parse(v.Pipeline); err == nil && v.Deployment != "" {
		p.Deployment, err = uuid.Parse(v.Deployment)
	}
	return p, err
}

// fixedEndpoint sends the store's calls to a stand-in, without the account's
// host name.
type fixedEndpoint struct{ url string }

// ResolveEndpoint implements cloudfrontkeyvaluestore.EndpointResolverV2.
func (f fixedEndpoint) ResolveEndpoint(ctx context.Context, params cloudfrontkeyvaluestore.EndpointParameters) (smithyendpoints.Endpoint, error) {
	params.Endpoint = nil
	endpoint, err := cloudfrontkeyvaluestore.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, params)
	if err != nil {
		return endpoint, err
	}
	u, err := url.Parse(f.url)
	if err != nil {
		return endpoint, err
	}
	endpoint.URI = *u
	return endpoint, nil
}
