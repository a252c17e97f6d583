package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
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
	// maxFlips is the maximum number of keys of one UpdateKeys
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
	remove bool
	err    error
	done   bool
}

func newPointers(client *cloudfrontkeyvaluestore.Client, cfg Config) *pointers {
	return &pointers{client: client, store: cfg.KeyValueStoreARN, lock: cfg.Lock}
}

// flip moves a pointer unless a later one is in force.
func (p *pointers) flip(ctx context.Context, id string, wanted site.Pointer) error {
	return p.do(ctx, &flip{id: id, wanted: wanted})
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
	for race := 0; ; race++ {
		err := p.tryUpdate(ctx, batch)
		if !errors.Is(err, cloud.ErrPrecondition) || race == maxRaces {
			return err
		}
	}
}

func (p *pointers) tryUpdate(ctx context.Context, batch []*flip) error {
	described, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.DescribeKeyValueStoreOutput, error) {
		return p.client.DescribeKeyValueStore(ctx, &cloudfrontkeyvaluestore.DescribeKeyValueStoreInput{KvsARN: &p.store})
	})
	if err != nil {
		return awsapi.Failed("read the pointers' store", err)
	}
	in := &cloudfrontkeyvaluestore.UpdateKeysInput{KvsARN: &p.store, IfMatch: described.ETag}
	latest := map[string]*flip{} // the written pointers by distribution
	inForce := map[string]site.Pointer{}
	for _, f := range batch {
		if f.err != nil {
			continue
		}
		before, known := inForce[f.id]
		if !known {
			var err error
			if before, err = p.get(ctx, f.id); err != nil && !errors.Is(err, cloud.ErrNotFound) {
				return err
			}
			inForce[f.id] = before
		}
		if f.remove {
			if before != (site.Pointer{}) {
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
	for id, f := range latest {
		if f.remove {
			in.Deletes = append(in.Deletes, types.DeleteKeyRequestListItem{Key: aws.String(id)})
			continue
		}
		text, err := encodePointer(f.wanted)
		if err != nil {
			return err
		}
		in.Puts = append(in.Puts, types.PutKeyRequestListItem{Key: aws.String(id), Value: aws.String(text)})
	}
	if len(latest) == 0 {
		return nil
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.UpdateKeysOutput, error) {
		return p.client.UpdateKeys(ctx, in)
	})
	return awsapi.Failed("write the pointers", err)
}

// probe reads the store and a key that does not exist, and tries a write that
// its ETag makes fail.
func (p *pointers) probe(ctx context.Context) error {
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.DescribeKeyValueStoreOutput, error) {
		return p.client.DescribeKeyValueStore(ctx, &cloudfrontkeyvaluestore.DescribeKeyValueStoreInput{KvsARN: &p.store})
	})
	if err != nil {
		return awsapi.Failed("read the pointers' store", err)
	}
	if _, err := p.get(ctx, "troy-doctor"); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.UpdateKeysOutput, error) {
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
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.GetKeyOutput, error) {
		return p.client.GetKey(ctx, &cloudfrontkeyvaluestore.GetKeyInput{KvsARN: &p.store, Key: &id})
	})
	if err != nil {
		return site.Pointer{}, awsapi.Failed("read the pointer of "+id, err)
	}
	pointer, err := decodePointer(aws.ToString(out.Value))
	if err != nil {
		return pointer, fmt.Errorf("read the pointer of %s: %w", id, err)
	}
	return pointer, nil
}

func encodePointer(p site.Pointer) (string, error) {
	value := pointerValue{Sequence: p.Sequence, Pipeline: p.Pipeline.String()}
	if p.Deployment != uuid.Nil {
		value.Deployment = p.Deployment.String()
	}
	text, err := json.Marshal(value)
	return string(text), err
}

func decodePointer(text string) (site.Pointer, error) {
	var value pointerValue
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return site.Pointer{}, err
	}
	p := site.Pointer{Sequence: value.Sequence}
	var err error
	if p.Pipeline, err = uuid.Parse(value.Pipeline); err == nil && value.Deployment != "" {
		p.Deployment, err = uuid.Parse(value.Deployment)
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
