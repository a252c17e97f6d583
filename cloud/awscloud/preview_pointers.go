package awscloud

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

const (
	// previewRoom is the size of the pointers' store in bytes up to which previews
	// may fill it. The rest of its 5 MB is for sites.
	previewRoom = 4 << 20
	// labelParts is the number of values with the labels of a site. They hold
	// about 400 of the longest labels.
	labelParts = 64
)

// previewKey is the key of a preview's pointer. The function finds it by the
// first part of the host.
func previewKey(label, slug string) string { return "p/" + label + troy.PreviewSeparator + slug }

// labels are the labels of a site's previews, or a part of them. They lead from a
// distribution to the pointers of its previews, which don't have its id.
type labels struct {
	key, slug string
	all       []string
}

// labels reads the part of a distribution's labels in which a label belongs.
func (p *pointers) labels(ctx context.Context, id string, part int) (labels, error) {
	l := labels{key: fmt.Sprintf("%s/p%d", id, part)}
	text, err := p.value(ctx, l.key)
	if err != nil {
		return l, err
	}
	if words := strings.Fields(text); len(words) > 0 {
		l.slug, l.all = words[0], words[1:]
	}
	return l, nil
}

func labelPart(label string) int { return int(keyHash(label) % labelParts) }

func (l labels) value() string { return l.slug + " " + strings.Join(l.all, " ") }

// inForce returns a preview's pointer. It is zero if there is none, or if it is
// one of another distribution.
func (p *pointers) inForce(ctx context.Context, id, key string) (pointerValue, site.Pointer, error) {
	value, err := p.read(ctx, key)
	if errors.Is(err, cloud.ErrNotFound) {
		return value, site.Pointer{}, nil
	}
	if err != nil || value.Of != id {
		return value, site.Pointer{}, err
	}
	pointer, err := value.pointer()
	return value, pointer, err
}

// point makes a label show a tree, unless a later pointer is in force. check is
// called behind the lock, which the removal of the labels needs too.
func (p *pointers) point(ctx context.Context, id, slug, label string, wanted site.Pointer, rules served, check func(context.Context) error) error {
	if _, before, err := p.inForce(ctx, id, previewKey(label, slug)); err != nil || before == wanted {
		return err
	}
	return p.lock(ctx, pointersLock, func(ctx context.Context) error {
		if err := check(ctx); err != nil {
			return err
		}
		return retryRaces(func() error { return p.tryPoint(ctx, id, slug, label, wanted, rules) })
	})
}

func (p *pointers) tryPoint(ctx context.Context, id, slug, label string, wanted site.Pointer, rules served) error {
	store, err := p.describe(ctx)
	if err != nil {
		return err
	}
	key := previewKey(label, slug)
	stored, before, err := p.inForce(ctx, id, key)
	switch {
	case err != nil || before == wanted:
		return err
	case before.Sequence >= wanted.Sequence:
		return &cloud.StalePointerError{InForce: before.Sequence}
	}
	l, err := p.labels(ctx, id, labelPart(label))
	if err != nil {
		return err
	}
	after := valueOf(wanted, rules)
	after.Of = id
	c := &change{}
	if err := c.replace(key, stored, after, rules.values(key, wanted)); err != nil {
		return err
	}
	if !slices.Contains(l.all, label) {
		l.slug, l.all = slug, append(l.all, label)
		if len(l.value()) > maxValue {
			return troy.Errorf(troy.Conflict, "the site has too many previews and deployments to give %s an address; delete previews, or keep fewer deployments", label)
		}
		c.put(l.key, l.value())
	}
	total, grows := aws.ToInt64(store.TotalSizeInBytes), int64(0)
	for _, put := range c.puts {
		grows += int64(len(*put.Key) + len(*put.Value))
	}
	if total+grows > previewRoom {
		replaced, err := p.size(ctx, c)
		if err != nil {
			return err
		}
		grows -= replaced
	}
	if grows > 0 && total+grows > previewRoom {
		return troy.Errorf(troy.Conflict, "the pointers' store is too full for another preview: of its 5 MB, 1 MB is for sites. Delete previews, or keep fewer deployments")
	}
	return p.write(ctx, store.ETag, []*change{c})
}

// size returns the bytes in the store that a change replaces or removes.
func (p *pointers) size(ctx context.Context, c *change) (n int64, err error) {
	var keys []string
	for _, put := range c.puts {
		keys = append(keys, *put.Key)
	}
	for _, removed := range c.deletes {
		keys = append(keys, *removed.Key)
	}
	for _, key := range keys {
		value, err := p.value(ctx, key)
		if err != nil {
			return 0, err
		}
		if value != "" {
			n += int64(len(key) + len(value))
		}
	}
	return n, nil
}

// unpoint removes a label, unless a later pointer than that of the sequence is in
// force.
func (p *pointers) unpoint(ctx context.Context, id, label string, sequence int64) error {
	if l, err := p.labels(ctx, id, labelPart(label)); err != nil || !slices.Contains(l.all, label) {
		return err
	}
	return p.lock(ctx, pointersLock, func(ctx context.Context) error {
		return retryRaces(func() error { return p.tryUnpoint(ctx, id, label, sequence) })
	})
}

func (p *pointers) tryUnpoint(ctx context.Context, id, label string, sequence int64) error {
	etag, err := p.etag(ctx)
	if err != nil {
		return err
	}
	l, err := p.labels(ctx, id, labelPart(label))
	if err != nil || !slices.Contains(l.all, label) {
		return err
	}
	key := previewKey(label, l.slug)
	stored, before, err := p.inForce(ctx, id, key)
	if err != nil {
		return err
	}
	if before.Sequence > sequence {
		return &cloud.StalePointerError{InForce: before.Sequence}
	}
	c := &change{}
	if stored.Of == id {
		if err := c.replace(key, stored, pointerValue{}, nil); err != nil {
			return err
		}
	}
	if l.all = slices.DeleteFunc(l.all, func(one string) bool { return one == label }); len(l.all) > 0 {
		c.put(l.key, l.value())
	} else {
		c.delete(l.key)
	}
	return p.write(ctx, etag, []*change{c})
}

// unpointAll removes all labels of a distribution.
func (p *pointers) unpointAll(ctx context.Context, id string) error {
	for part := range labelParts {
		l, err := p.labels(ctx, id, part)
		if err != nil {
			return err
		}
		for _, label := range l.all {
			if err := p.unpoint(ctx, id, label, math.MaxInt64); err != nil {
				return err
			}
		}
	}
	return nil
}
