package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// UpkeepInterval is the time between two upkeeps.
const UpkeepInterval = 15 * time.Minute

const (
	// distributionsLock is the name of the lock on making and changing
	// distributions.
	distributionsLock = "cloudfront distributions"
	// upkeepLock is the name of the lock that lets one process do the upkeep.
	upkeepLock = "cloudfront upkeep"
)

// Upkept counts an upkeep's changes.
type Upkept struct{ Functions, Distributions, Deliveries int }

// Upkeep updates the functions to this version's code, and moves the
// installation's distributions to its functions, its origin access controls and
// its price class: distributions that an earlier version made, and those whose
// function reads another installation's pointers. If there is a log bucket, it
// makes the distributions' access logs go there. If there are sites, it makes what
// their previews share, so that the first preview need not wait. If there is nothing to change
// it costs a list of the distributions and a few reads for each hundred of
// them. A failure with one does not stop the others' upkeep. The next upkeep
// completes an interrupted one.
func (c *CDN) Upkeep(ctx context.Context) (done Upkept, err error) {
	err = c.cfg.Lock(ctx, upkeepLock, func(ctx context.Context) error {
		var all []types.DistributionSummary
		used := usage{}
		if err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
			if c.ours(d) && aws.ToBool(d.Enabled) {
				all = append(all, d)
			}
			used.note(c, d)
			return true, nil
		}); err != nil {
			return err
		}
		// Distributions that share a function move together, so that it is soon
		// unused and makes room for the next.
		slices.SortStableFunc(all, func(a, b types.DistributionSummary) int {
			return strings.Compare(associations(a)[types.EventTypeViewerRequest], associations(b)[types.EventTypeViewerRequest])
		})
		u := upkeep{CDN: c, used: used, shards: map[int]shard{}, tried: map[int]bool{}, done: &done}
		for n := range used {
			u.keepShard(ctx, n)
		}
		u.keepForPreviews(ctx, all)
		if done.Functions > 0 {
			u.fail(c.markPages(ctx, true)) // also if this process ends before the upkeep
		}
		for _, d := range all {
			if ctx.Err() != nil {
				break
			}
			legacy, err := c.legacy(ctx, d)
			u.fail(err)
			if err == nil && (legacy || !c.settled(d, u.shards, u.preview)) {
				u.fail(u.move(ctx, d))
			}
		}
		u.fail(u.deliverAll(ctx, all))
		if changed := done.Functions+done.Distributions > 0; changed || u.failed == nil {
			u.fail(c.markPages(ctx, changed))
		}
		return u.failed
	})
	return done, err
}

// upkeep is an upkeep that is under way.
type upkeep struct {
	*CDN
	used   usage
	shards map[int]shard // shards that distributions can use
	// preview is the ARN of the function of the distribution for previews, or ""
	// without one.
	preview string
	tried   map[int]bool // shards that keepShard was called with
	done    *Upkept
	failed  error
}

func (u *upkeep) fail(err error) { u.failed = errors.Join(u.failed, err) }

// keepShard updates a shard, once per upkeep.
func (u *upkeep) keepShard(ctx context.Context, n int) {
	if u.tried[n] {
		return
	}
	u.tried[n] = true
	u.fail(u.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) error {
		s, changed, err := u.makeShard(ctx, n)
		if s.complete() {
			u.shards[n] = s
		}
		if changed {
			u.done.Functions++
		}
		return err
	}))
}

// keepForPreviews makes what previews share, and updates their function.
func (u *upkeep) keepForPreviews(ctx context.Context, all []types.DistributionSummary) {
	if u.cfg.PreviewSuffix != "" && slices.ContainsFunc(all, u.ofPipeline) {
		_, err := u.keepPreviews(ctx)
		u.fail(err)
	}
	if !slices.ContainsFunc(all, u.showsPreviews) {
		return
	}
	u.fail(u.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) error {
		arn, changed, err := u.function(ctx, previewProgram(), 0)
		if changed {
			u.done.Functions++
		}
		u.preview = arn
		return err
	}))
}

// settled reports whether a distribution is as Create would make it. preview is
// the ARN of the function for previews.
func (c *CDN) settled(d types.DistributionSummary, shards map[int]shard, preview string) bool {
	if d.PriceClass != c.priceClass() && !isShared(d) || !allowsOptions(d) {
		return false
	}
	has := associations(d)
	for _, s := range shards {
		want := s.functions()
		if c.showsPreviews(d) {
			want = s.previewFunctions(preview)
		}
		same := len(has) == len(want.Items)
		for _, f := range want.Items {
			same = same && has[f.EventType] == aws.ToString(f.FunctionARN)
		}
		for _, o := range d.Origins.Items {
			same = same && aws.ToString(o.OriginAccessControlId) == s.access
		}
		if same {
			return true
		}
	}
	return false
}

// allowsOptions reports whether OPTIONS requests reach a distribution's
// functions. Distributions of earlier versions don't allow them.
func allowsOptions(d types.DistributionSummary) bool {
	allowed := d.DefaultCacheBehavior
	return allowed != nil && allowed.AllowedMethods != nil && slices.Contains(allowed.AllowedMethods.Items, types.MethodOptions)
}

// home returns the shard that a distribution uses, or else one with room.
func (u *upkeep) home(d types.DistributionSummary) (n int, moves bool, err error) {
	for n := range maxShards {
		if u.in(d, n) {
			return n, false, nil
		}
	}
	n, err = u.used.room()
	return n, true, err
}

// move makes a distribution use its whole shard, or another one if it has none.
// It sends the whole configuration back, guarded by its ETag.
func (u *upkeep) move(ctx context.Context, d types.DistributionSummary) error {
	id := aws.ToString(d.Id)
	n, moves, err := u.home(d)
	if err != nil {
		return err
	}
	u.keepShard(ctx, n)
	s, ok := u.shards[n]
	if !ok || u.showsPreviews(d) && u.preview == "" {
		return nil // the failure was reported
	}
	functions := s.functions()
	if u.showsPreviews(d) {
		functions = s.previewFunctions(u.preview)
	}
	err = u.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) error {
		out, err := u.get(ctx, id)
		if err != nil {
			return err
		}
		config := out.Distribution.DistributionConfig
		if !isShared(d) {
			config.PriceClass = u.priceClass()
		}
		if u.isLegacy(config.Logging, aws.ToString(d.Comment)) {
			config.Logging = &types.LoggingConfig{Enabled: aws.Bool(false), IncludeCookies: aws.Bool(false), Bucket: aws.String(""), Prefix: aws.String("")}
		}
		config.DefaultCacheBehavior.FunctionAssociations = functions
		config.DefaultCacheBehavior.AllowedMethods = allowedMethods()
		if config.CacheBehaviors != nil {
			for i := range config.CacheBehaviors.Items {
				config.CacheBehaviors.Items[i].FunctionAssociations = s.functions()
			}
		}
		for i := range config.Origins.Items {
			config.Origins.Items[i].OriginAccessControlId = aws.String(s.access)
		}
		_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.UpdateDistributionOutput, error) {
			return u.client.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{Id: &id, IfMatch: out.ETag, DistributionConfig: config})
		})
		return awsapi.Failed("move the distribution "+id+" to its functions", err)
	})
	if errors.Is(err, cloud.ErrNotFound) || errors.Is(err, cloud.ErrPrecondition) {
		return nil // it changed meanwhile; the next upkeep checks again
	}
	if err == nil {
		u.done.Distributions++
	}
	if err == nil && moves {
		u.used[n]++
	}
	return err
}

// unused is a function or an origin access control that no distribution uses.
type unused struct {
	what string
	// remove takes the next step, and returns whether nothing is left.
	remove func(context.Context) (bool, error)
}

// removal is the removal of something in one step.
func removal(step func(context.Context) error) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		err := step(ctx)
		return err == nil, err
	}
}

// leftOver lists the unused functions and origin access controls of this
// installation, including earlier versions', and without any site the
// distribution for previews.
func (c *CDN) leftOver(ctx context.Context) ([]unused, error) {
	inUse := map[string]bool{}
	sites, previews := 0, ""
	if err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if c.ofPipeline(d) {
			sites++
		}
		if c.showsPreviews(d) {
			previews = "the distribution " + aws.ToString(d.Id) + " of " + strings.Join(aliases(d), ", ") + " for previews"
		}
		for _, arn := range associations(d) {
			inUse[functionNamed(arn)] = true
		}
		if d.Origins != nil {
			for _, o := range d.Origins.Items {
				inUse[aws.ToString(o.OriginAccessControlId)] = true
			}
		}
		return true, nil
	}); err != nil {
		return nil, err
	}
	var left []unused
	if sites == 0 && previews != "" {
		left = append(left, unused{previews, c.removePreviews})
	}
	if err := c.eachFunction(ctx, func(f types.FunctionSummary) {
		name := aws.ToString(f.Name)
		ours := strings.HasPrefix(name, c.installation()+"-") || strings.HasPrefix(name, referencePrefix) && storeOf(f.FunctionConfig) == c.cfg.KeyValueStoreARN
		if ours && !inUse[name] {
			left = append(left, unused{"the function " + name, removal(func(ctx context.Context) error { return c.removeFunction(ctx, name) })})
		}
	}); err != nil {
		return nil, err
	}
	err := c.eachAccess(ctx, func(a types.OriginAccessControlSummary) {
		if id := aws.ToString(a.Id); strings.HasPrefix(aws.ToString(a.Name), c.installation()+"-") && !inUse[id] {
			left = append(left, unused{"the origin access control " + aws.ToString(a.Name), removal(func(ctx context.Context) error { return c.removeAccess(ctx, id) })})
		}
	})
	return left, err
}

func (c *CDN) removeFunction(ctx context.Context, name string) error {
	d, err := c.describe(ctx, name, types.FunctionStageDevelopment)
	if err != nil || d == nil {
		return err
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.DeleteFunctionOutput, error) {
		return c.client.DeleteFunction(ctx, &cloudfront.DeleteFunctionInput{Name: &name, IfMatch: d.ETag})
	})
	return awsapi.Failed("delete the function "+name, err)
}

func (c *CDN) removeAccess(ctx context.Context, id string) error {
	got, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetOriginAccessControlOutput, error) {
		return c.client.GetOriginAccessControl(ctx, &cloudfront.GetOriginAccessControlInput{Id: &id})
	})
	if err == nil {
		_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.DeleteOriginAccessControlOutput, error) {
			return c.client.DeleteOriginAccessControl(ctx, &cloudfront.DeleteOriginAccessControlInput{Id: &id, IfMatch: got.ETag})
		})
	}
	if err = awsapi.Failed("delete the origin access control "+id, err); errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}

// astray says what is wrong with the functions of this installation's
// distributions, for `troyd doctor`. Upkeep fixes all of it.
func (c *CDN) astray(ctx context.Context) (said []string, err error) {
	names := map[string]int{}
	err = c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if !c.ours(d) || !aws.ToBool(d.Enabled) {
			return true, nil
		}
		has := associations(d)
		for _, p := range programs() {
			names[functionNamed(has[p.event])]++
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for n := range maxShards {
		for _, p := range append(programs(), previewProgram()) {
			name := c.functionName(p, n)
			if names[name] == 0 {
				continue
			}
			delete(names, name)
			live, err := c.describe(ctx, name, types.FunctionStageLive)
			if err != nil {
				return nil, err
			}
			if live == nil {
				said = append(said, name+" is not published")
				continue
			}
			wrong, err := c.stale(ctx, p, live)
			if err != nil {
				return nil, err
			}
			if wrong != "" {
				said = append(said, name+" "+wrong)
			}
		}
	}
	others := 0
	for _, n := range names {
		others += n
	}
	if others > 0 {
		said = append(said, fmt.Sprintf("%d distributions lack a function of this installation, or use another's", others))
	}
	return said, nil
}
