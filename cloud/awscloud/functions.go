package awscloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// codeVersion is the version of the functions' code. While two versions of Troy
// run, the older one does not replace the newer one's code. A test compares it
// with the code.
const codeVersion = 9

// program is the code of one kind of function.
type program struct {
	kind    string // part of the functions' names
	event   types.EventType
	code    []byte
	pointer bool // whether it reads the pointers
	comment string
}

//go:generate go -C ../../tools/functions run . ../../cloud/awscloud

//go:embed viewer_request.min.js
var viewerRequest []byte

//go:embed viewer_preview.min.js
var viewerPreview []byte

//go:embed viewer_response.min.js
var viewerResponse []byte

// programs lists the functions of a shard.
func programs() []program {
	return []program{
		{"request", types.EventTypeViewerRequest, viewerRequest, true, "sends a request to the deployment that is live"},
		{"response", types.EventTypeViewerResponse, viewerResponse, false, "finishes an answer"},
	}
}

// previewProgram is the viewer-request function of the distribution for previews.
func previewProgram() program {
	return program{"preview", types.EventTypeViewerRequest, viewerPreview, true, "sends a request to what a preview shows"}
}

// code returns a function's code with Troy's address, to which the function of
// a protected site sends its visitors.
func (c *CDN) code(p program) []byte {
	if c.cfg.SignIn == "" {
		return p.code
	}
	address, err := json.Marshal(strings.TrimRight(c.cfg.SignIn, "/"))
	if err != nil {
		panic(err) // a string is always encoded
	}
	return bytes.Replace(p.code, []byte(signInPlace), address, 1)
}

// signInPlace is where Troy's address belongs in the functions' code.
const signInPlace = `"https://troy.invalid"`

// installation distinguishes this installation's functions and origin access
// controls from others in the account: functions are found by name, and each
// reads one KeyValueStore.
func (c *CDN) installation() string { return c.cfg.installation() }

func (cfg Config) installation() string {
	sum := sha256.Sum256([]byte(cfg.KeyValueStoreARN))
	return referencePrefix + hex.EncodeToString(sum[:5])
}

func (c *CDN) functionName(p program, n int) string {
	return fmt.Sprintf("%s-%s-%d", c.installation(), p.kind, n)
}

func (c *CDN) accessName(n int) string { return fmt.Sprintf("%s-%d", c.installation(), n) }

// functionNamed returns the name in a function's ARN.
func functionNamed(arn string) string {
	_, name, _ := strings.Cut(arn, ":function/")
	return name
}

// functionConfig returns a function's configuration. Its comment begins with
// the version of its code.
func (c *CDN) functionConfig(p program) *types.FunctionConfig {
	config := &types.FunctionConfig{
		Comment: aws.String(fmt.Sprintf("Troy v%d: %s", codeVersion, p.comment)), Runtime: types.FunctionRuntimeCloudfrontJs20,
	}
	if p.pointer {
		config.KeyValueStoreAssociations = &types.KeyValueStoreAssociations{
			Quantity: aws.Int32(1), Items: []types.KeyValueStoreAssociation{{KeyValueStoreARN: &c.cfg.KeyValueStoreARN}},
		}
	}
	return config
}

// versionOf returns the version in a function's comment; 0 means that the
// function is older than versions.
func versionOf(config *types.FunctionConfig) int {
	_, after, _ := strings.Cut(aws.ToString(config.Comment), "Troy v")
	digits, _, _ := strings.Cut(after, ":")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// storeOf returns the KeyValueStore of a function, or the empty string.
func storeOf(config *types.FunctionConfig) string {
	if config == nil || config.KeyValueStoreAssociations == nil || len(config.KeyValueStoreAssociations.Items) == 0 {
		return ""
	}
	return aws.ToString(config.KeyValueStoreAssociations.Items[0].KeyValueStoreARN)
}

// describe reads a stage of a function; it returns nil if the stage does not
// exist.
func (c *CDN) describe(ctx context.Context, name string, stage types.FunctionStage) (*cloudfront.DescribeFunctionOutput, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.DescribeFunctionOutput, error) {
		return c.client.DescribeFunction(ctx, &cloudfront.DescribeFunctionInput{Name: &name, Stage: stage})
	})
	if none := (*types.NoSuchFunctionExists)(nil); errors.As(err, &none) {
		return nil, nil
	}
	return out, awsapi.Failed("look for the function "+name, err)
}

// stale says why a live function is out of date: it reads another store, or its
// code differs and is not of a later version. It returns the empty string if
// the function is current.
func (c *CDN) stale(ctx context.Context, p program, live *cloudfront.DescribeFunctionOutput) (string, error) {
	summary := live.FunctionSummary
	name := aws.ToString(summary.Name)
	want := c.functionConfig(p)
	if at := storeOf(summary.FunctionConfig); at != storeOf(want) {
		return fmt.Sprintf("reads the store %q", at), nil
	}
	version := versionOf(summary.FunctionConfig)
	if version > codeVersion {
		return "", nil
	}
	if version < codeVersion {
		return fmt.Sprintf("runs code of version %d", version), nil
	}
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetFunctionOutput, error) {
		return c.client.GetFunction(ctx, &cloudfront.GetFunctionInput{Name: &name, Stage: types.FunctionStageLive})
	})
	if err != nil {
		return "", awsapi.Failed("read the function "+name, err)
	}
	if !bytes.Equal(out.FunctionCode, c.code(p)) {
		return fmt.Sprintf("runs other code than version %d has", version), nil
	}
	return "", nil
}

// function returns the ARN of a shard's function. It first makes a missing
// function, and replaces outdated code or a wrong store. The next call
// completes an interrupted one. If function returns an error, the ARN is that
// of the live function if it reads the right store, else empty.
func (c *CDN) function(ctx context.Context, p program, n int) (arn string, changed bool, err error) {
	name := c.functionName(p, n)
	live, err := c.describe(ctx, name, types.FunctionStageLive)
	if err != nil {
		return "", false, err
	}
	if live != nil {
		if storeOf(live.FunctionSummary.FunctionConfig) == storeOf(c.functionConfig(p)) {
			arn = aws.ToString(live.FunctionSummary.FunctionMetadata.FunctionARN)
		}
		wrong, err := c.stale(ctx, p, live)
		if err != nil || wrong == "" {
			return arn, false, err
		}
	}
	etag, err := c.develop(ctx, p, name)
	if err != nil {
		return arn, false, err
	}
	published, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.PublishFunctionOutput, error) {
		return c.client.PublishFunction(ctx, &cloudfront.PublishFunctionInput{Name: &name, IfMatch: etag})
	})
	if err != nil {
		return arn, false, awsapi.Failed("publish the function "+name, err)
	}
	return aws.ToString(published.FunctionSummary.FunctionMetadata.FunctionARN), true, nil
}

// develop makes a function, or updates it in development, and returns the ETag
// for its publication.
func (c *CDN) develop(ctx context.Context, p program, name string) (*string, error) {
	config := c.functionConfig(p)
	before, err := c.describe(ctx, name, types.FunctionStageDevelopment)
	if err != nil {
		return nil, err
	}
	if before == nil && p.pointer {
		if err := c.makeRoom(ctx); err != nil {
			return nil, err
		}
	}
	if before == nil {
		made, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateFunctionOutput, error) {
			return c.client.CreateFunction(ctx, &cloudfront.CreateFunctionInput{Name: &name, FunctionCode: c.code(p), FunctionConfig: config})
		})
		if err != nil {
			return nil, awsapi.Failed("create the function "+name, err)
		}
		return made.ETag, nil
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.UpdateFunctionOutput, error) {
		return c.client.UpdateFunction(ctx, &cloudfront.UpdateFunctionInput{Name: &name, IfMatch: before.ETag, FunctionCode: c.code(p), FunctionConfig: config})
	})
	if err != nil {
		return nil, awsapi.Failed("update the function "+name, err)
	}
	// The SDK reads an update's ETag from the wrong header.
	after, err := c.describe(ctx, name, types.FunctionStageDevelopment)
	if err != nil {
		return nil, err
	}
	if after == nil {
		return nil, fmt.Errorf("the function %s was deleted: %w", name, cloud.ErrPrecondition)
	}
	return after.ETag, nil
}

// access returns the id of the origin access control with this name, and makes
// it if it does not exist.
func (c *CDN) access(ctx context.Context, name string) (string, error) {
	id := ""
	err := c.eachAccess(ctx, func(a types.OriginAccessControlSummary) {
		if aws.ToString(a.Name) == name {
			id = aws.ToString(a.Id)
		}
	})
	if err != nil || id != "" {
		return id, err
	}
	made, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateOriginAccessControlOutput, error) {
		return c.client.CreateOriginAccessControl(ctx, &cloudfront.CreateOriginAccessControlInput{OriginAccessControlConfig: &types.OriginAccessControlConfig{
			Name: &name, Description: aws.String("Troy: reads the sites' bucket"), OriginAccessControlOriginType: types.OriginAccessControlOriginTypesS3,
			SigningBehavior: types.OriginAccessControlSigningBehaviorsAlways, SigningProtocol: types.OriginAccessControlSigningProtocolsSigv4,
		}})
	})
	if err != nil {
		return "", awsapi.Failed("create the origin access control "+name, err)
	}
	return aws.ToString(made.OriginAccessControl.Id), nil
}

func (c *CDN) eachAccess(ctx context.Context, each func(types.OriginAccessControlSummary)) error {
	var marker *string
	for {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.ListOriginAccessControlsOutput, error) {
			return c.client.ListOriginAccessControls(ctx, &cloudfront.ListOriginAccessControlsInput{Marker: marker})
		})
		if err != nil {
			return awsapi.Failed("list the origin access controls", err)
		}
		for _, a := range page.OriginAccessControlList.Items {
			each(a)
		}
		if marker = page.OriginAccessControlList.NextMarker; aws.ToString(marker) == "" {
			return nil
		}
	}
}

// shard is what up to 100 distributions share.
type shard struct {
	arns   []string // of the functions, in the order of programs
	access string   // the id of the origin access control
}

// functions returns the shard's functions as a distribution has them.
func (s shard) functions() *types.FunctionAssociations {
	f := &types.FunctionAssociations{}
	for i, p := range programs() {
		f.Items = append(f.Items, types.FunctionAssociation{EventType: p.event, FunctionARN: &s.arns[i]})
	}
	f.Quantity = aws.Int32(int32(len(f.Items)))
	return f
}

// makeShard returns a shard and makes its missing parts. If the role may not
// read or update a live function, for example because its template is older,
// makeShard returns the complete shard together with a Forbidden error.
func (c *CDN) makeShard(ctx context.Context, n int) (s shard, changed bool, err error) {
	var denied error
	for _, p := range programs() {
		arn, fresh, err := c.function(ctx, p, n)
		if arn != "" && troy.KindOf(err) == troy.Forbidden {
			denied, err = errors.Join(denied, err), nil
		}
		if err != nil {
			return s, changed, err
		}
		s.arns, changed = append(s.arns, arn), changed || fresh
	}
	s.access, err = c.access(ctx, c.accessName(n))
	return s, changed, errors.Join(denied, err)
}

// complete reports whether a distribution can use the shard.
func (s shard) complete() bool { return s.access != "" }

const (
	// perShard is how many distributions may share a function, or an origin
	// access control
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
	perShard = 100
	// maxShards is how many functions may read one KeyValueStore (same page).
	maxShards = 10
)

// usage counts the distributions of each shard.
type usage map[int]int

// note counts a distribution.
func (u usage) note(c *CDN, d types.DistributionSummary) {
	for n := range maxShards {
		if c.in(d, n) {
			u[n]++
		}
	}
}

// in reports whether a distribution uses a function or the origin access
// control of a shard. A distribution between two shards counts in both, which
// leaves room.
func (c *CDN) in(d types.DistributionSummary, n int) bool {
	for _, arn := range associations(d) {
		for _, p := range programs() {
			if functionNamed(arn) == c.functionName(p, n) {
				return true
			}
		}
	}
	return false
}

// associations returns a distribution's functions by event.
func associations(d types.DistributionSummary) map[types.EventType]string {
	all := map[types.EventType]string{}
	if d.DefaultCacheBehavior != nil && d.DefaultCacheBehavior.FunctionAssociations != nil {
		for _, f := range d.DefaultCacheBehavior.FunctionAssociations.Items {
			all[f.EventType] = aws.ToString(f.FunctionARN)
		}
	}
	return all
}

// room returns the first shard with room for another distribution.
func (u usage) room() (int, error) {
	for n := range maxShards {
		if u[n] < perShard {
			return n, nil
		}
	}
	return 0, troy.Errorf(troy.Conflict, "the pointers' store serves %d sites; CloudFront lets %d functions read a store, with %d distributions each. Set up another installation with its own store",
		maxShards*perShard, maxShards, perShard)
}

// shard returns a shard with room, and makes one if necessary. It counts the
// use of each from CloudFront's own list, which also shows whether the
// reference was used.
func (c *CDN) shard(ctx context.Context, reference string) (shard, error) {
	used := usage{}
	err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		switch {
		case aws.ToString(d.Comment) != reference:
		case c.reads(d):
			return false, fmt.Errorf("the distribution %s: %w", aws.ToString(d.Id), cloud.ErrExists)
		default:
			return false, troy.Errorf(troy.Conflict, "the distribution %s has the reference %s but reads another bucket: another installation made it", aws.ToString(d.Id), reference)
		}
		used.note(c, d)
		return true, nil
	})
	if err != nil {
		return shard{}, err
	}
	n, err := used.room()
	if err != nil {
		return shard{}, err
	}
	s, _, err := c.makeShard(ctx, n)
	if s.complete() {
		return s, nil // the upkeep reports functions that it can't update
	}
	return s, err
}
