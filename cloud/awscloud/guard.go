package awscloud

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore"
	kvstypes "github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

const (
	// guardVersion is the version of guard's form. The function answers 503 for
	// another one.
	guardVersion = 1
	// guardingCode is the first version of the functions' code that obeys
	// protections.
	guardingCode = 6
)

// guard is a protection as the viewer-request function reads it.
type guard struct {
	Version int    `json:"v"`
	Host    string `json:"h,omitempty"` // to which sessions are bound
	// Passwords has for each one its id, its key and, if it was generated, its
	// digest.
	Passwords [][]string `json:"w,omitempty"`
	Networks  []string   `json:"n,omitempty"` // as networkDigits
	// These protect the previews alone.
	PreviewPasswords [][]string `json:"pw,omitempty"`
	PreviewNetworks  []string   `json:"pn,omitempty"`
}

// networkDigits returns a network in the form that the function compares: 4 or
// 6, the hexadecimal digits that its bits reach into, and their number:
// 4cb0071/24.
func networkDigits(n netip.Prefix) string {
	family := "6"
	if n.Addr().Is4() {
		family = "4"
	}
	return fmt.Sprintf("%s%s/%d", family, hex.EncodeToString(n.Addr().AsSlice())[:(n.Bits()+3)/4], n.Bits())
}

// guardValues returns a protection as values of the KeyValueStore. The first one
// begins with the sequence and the number of values, the others with the
// sequence.
func guardValues(p site.Protection, host string) ([]string, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	g := guard{Version: guardVersion}
	if !p.Public() {
		g.Host = host
	}
	for _, w := range p.Passwords {
		one := []string{w.FunctionID(), w.FunctionKey()}
		if w.Digest != nil {
			one = append(one, base64.RawURLEncoding.EncodeToString(w.Digest))
		}
		g.Passwords = append(g.Passwords, one)
	}
	for _, n := range p.Networks {
		g.Networks = append(g.Networks, networkDigits(n))
	}
	if p.PreviewsOnly {
		g.PreviewPasswords, g.PreviewNetworks = g.Passwords, g.Networks
		g.Passwords, g.Networks = nil, nil
	}
	encoded, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("encode the protection: %w", err)
	}
	const room = maxValue - len("9223372036854775807 99 ")
	var parts []string
	for part := range slices.Chunk(encoded, room) {
		parts = append(parts, fmt.Sprintf("%d %s", p.Sequence, part))
	}
	_, first, _ := strings.Cut(parts[0], " ")
	parts[0] = fmt.Sprintf("%d %d %s", p.Sequence, len(parts), first)
	return parts, nil
}

// guardHead returns the sequence and the number of values of a stored
// protection. ok is false if the value can't be read.
func guardHead(value string) (sequence int64, parts int, ok bool) {
	head := strings.SplitN(value, " ", 3)
	if len(head) != 3 {
		return 0, 0, false
	}
	sequence, err := strconv.ParseInt(head[0], 10, 64)
	n, wrong := strconv.Atoi(head[1])
	return sequence, n, err == nil && wrong == nil && n > 0 && n < maxFlips
}

// guardKey is the key of part i of a distribution's protection.
func guardKey(id string, i int) string {
	if i == 0 {
		return id + "/a"
	}
	return fmt.Sprintf("%s/a%d", id, i)
}

// Protect implements cloud.Protector.
func (c *CDN) Protect(ctx context.Context, id string, p site.Protection) error {
	if p.PreviewKey != nil {
		return troy.Errorf(troy.Conflict, "previews on AWS can't ask visitors for a session of the dashboard")
	}
	out, err := c.get(ctx, id)
	if err != nil {
		return err
	}
	config := out.Distribution.DistributionConfig
	if config.Aliases == nil || len(config.Aliases.Items) == 0 {
		return troy.Errorf(troy.Conflict, "the distribution %s has no host", id)
	}
	if len(p.Passwords) > 0 && c.cfg.SignIn == "" {
		return troy.Errorf(troy.Conflict, "visitors of sites on AWS type the password at Troy's address, but TROY_URL is not set")
	}
	if !p.Public() {
		if err := c.guards(ctx, config); err != nil {
			return fmt.Errorf("protect the distribution %s: %w", id, err)
		}
	}
	own, err := c.ownHost(ctx, config.Aliases.Items)
	if err != nil {
		return err
	}
	values, err := guardValues(p, own)
	if err != nil {
		return fmt.Errorf("protect the distribution %s: %w", id, err)
	}
	return c.pointers.protect(ctx, id, p.Sequence, values)
}

// guards returns an error if a distribution's function does not obey
// protections.
func (c *CDN) guards(ctx context.Context, config *types.DistributionConfig) error {
	name := ""
	if config.DefaultCacheBehavior != nil && config.DefaultCacheBehavior.FunctionAssociations != nil {
		for _, f := range config.DefaultCacheBehavior.FunctionAssociations.Items {
			if f.EventType == types.EventTypeViewerRequest {
				name = functionNamed(aws.ToString(f.FunctionARN))
			}
		}
	}
	var live *cloudfront.DescribeFunctionOutput
	if name != "" {
		var err error
		if live, err = c.describe(ctx, name, types.FunctionStageLive); err != nil {
			return err
		}
	}
	if live == nil || storeOf(live.FunctionSummary.FunctionConfig) != c.cfg.KeyValueStoreARN || versionOf(live.FunctionSummary.FunctionConfig) < guardingCode {
		return fmt.Errorf("its function %q would show the site to everyone; `troyd work` replaces it within %s", name, UpkeepInterval)
	}
	return nil
}

// protect writes a protection, and its mark in the pointer, unless a later
// protection is in force.
func (p *pointers) protect(ctx context.Context, id string, sequence int64, values []string) error {
	return p.lock(ctx, pointersLock, func(ctx context.Context) error {
		return retryRaces(func() error { return p.tryProtect(ctx, id, sequence, values) })
	})
}

func (p *pointers) tryProtect(ctx context.Context, id string, sequence int64, values []string) error {
	etag, err := p.etag(ctx)
	if err != nil {
		return err
	}
	pointer, err := p.read(ctx, id)
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	first, err := p.value(ctx, guardKey(id, 0))
	if err != nil {
		return err
	}
	// What can't be read can't be ordered. The function answers 503 meanwhile,
	// so this write repairs it.
	inForce, parts, ok := guardHead(first)
	if ok && first != values[0] && inForce >= sequence {
		return fmt.Errorf("protect %s with sequence %d: %w", id, sequence, &cloud.StaleProtectionError{InForce: inForce})
	}
	same := pointer.Guard == len(values) && first == values[0]
	for i := 1; same && i < len(values); i++ {
		part, err := p.value(ctx, guardKey(id, i))
		if err != nil {
			return err
		}
		same = part == values[i]
	}
	if same {
		return nil
	}
	pointer.Guard = len(values)
	text, err := json.Marshal(pointer)
	if err != nil {
		return err
	}
	c := &change{puts: []kvstypes.PutKeyRequestListItem{{Key: &id, Value: aws.String(string(text))}}}
	for i, value := range values {
		c.puts = append(c.puts, kvstypes.PutKeyRequestListItem{Key: aws.String(guardKey(id, i)), Value: &value})
	}
	for i := len(values); ok && i < parts; i++ {
		c.deletes = append(c.deletes, kvstypes.DeleteKeyRequestListItem{Key: aws.String(guardKey(id, i))})
	}
	return p.write(ctx, etag, []*change{c})
}

// guarded returns the number of values of a distribution's protection.
func (p *pointers) guarded(ctx context.Context, id string) (int, error) {
	first, err := p.value(ctx, guardKey(id, 0))
	if err != nil || first == "" {
		return 0, err
	}
	if _, parts, ok := guardHead(first); ok {
		return parts, nil
	}
	return 1, nil
}

// value reads a value; it is empty if the key does not exist.
func (p *pointers) value(ctx context.Context, key string) (string, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfrontkeyvaluestore.GetKeyOutput, error) {
		return p.client.GetKey(ctx, &cloudfrontkeyvaluestore.GetKeyInput{KvsARN: &p.store, Key: &key})
	})
	if err = awsapi.Failed("read "+key, err); err != nil {
		if errors.Is(err, cloud.ErrNotFound) {
			return "", nil
		}
		return "", err
	}
	return aws.ToString(out.Value), nil
}
