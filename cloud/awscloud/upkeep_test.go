package awscloud_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// publish makes a site with one page.
func (a account) publish(t *testing.T, host, content string) cloud.Distribution {
	t.Helper()
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.Must(uuid.NewV7())}
	d, err := a.cloud.CDN.Create(t.Context(), "troy-"+tree.Pipeline.String(), host)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cloud.DNS.Upsert(t.Context(), host, d.Domain); err != nil {
		t.Fatal(err)
	}
	a.release(t, d, tree, content)
	return d
}

func (a account) release(t *testing.T, d cloud.Distribution, tree site.Tree, content string) {
	t.Helper()
	a.releaseFiles(t, d, tree, 1, map[string]string{"index.html": content})
}

// releaseFiles releases a tree of those of the files that are not empty.
func (a account) releaseFiles(t *testing.T, d cloud.Distribution, tree site.Tree, sequence int64, contents map[string]string) {
	t.Helper()
	var m site.Manifest
	for path, content := range contents {
		if content != "" {
			m.Files = append(m.Files, site.File{Path: path, Size: int64(len(content)), SHA256: sha256.Sum256([]byte(content))})
		}
	}
	missing, err := a.cloud.Store.Begin(t.Context(), tree, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range missing {
		if err := a.cloud.Store.Put(t.Context(), tree, f, strings.NewReader(contents[f.Path])); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.cloud.Store.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.cloud.CDN.Flip(t.Context(), d.ID, site.Pointer{Sequence: sequence, Pipeline: tree.Pipeline, Deployment: tree.Deployment}); err != nil {
		t.Fatal(err)
	}
}

func (a account) read(host, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.double.Edge().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://"+host+path, nil))
	return w
}

func (a account) wantPage(t *testing.T, host, content string) {
	t.Helper()
	if w := a.read(host, "/"); w.Code != http.StatusOK || w.Body.String() != content {
		t.Errorf("%s answers %d %q, want %q", host, w.Code, w.Body, content)
	}
}

func (a account) upkeep(t *testing.T) awscloud.Upkept {
	t.Helper()
	done, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// Two installations share an account, each with its own pointers.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	first := newAccount(t, server, awsdouble.Config{})
	second := join(t, server, first.double)
	first.publish(t, "first.sites.test", "of the first")
	d := second.publish(t, "second.sites.test", "of the second")
	for range 2 {
		first.wantPage(t, "first.sites.test", "of the first")
		second.wantPage(t, "second.sites.test", "of the second")
		if done := first.upkeep(t); done != (awscloud.Upkept{}) {
			t.Errorf("the first's upkeep changed %+v", done)
		}
		second.upkeep(t)
	}
	// Neither takes the other's for its own, or for an orphan.
	for i, a := range []account{first, second} {
		pipelines, err := a.account().Pipelines(t.Context())
		if err != nil || len(pipelines) != 1 {
			t.Errorf("installation %d has %v, %v; want one pipeline", i+1, pipelines, err)
		}
		if left, err := a.account().Unused(t.Context(), false); err != nil || len(left) > 0 {
			t.Errorf("installation %d: unused are %v, %v", i+1, left, err)
		}
	}
	var reference string
	for _, one := range first.double.Distributions() {
		if one.ID == d.ID {
			reference = one.Reference
		}
	}
	if _, err := first.cloud.CDN.Create(t.Context(), reference, "third.sites.test"); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "another installation") {
		t.Errorf("Create with the other's reference: %v, want a conflict", err)
	}
}

func (a account) account() *awscloud.Account {
	return awscloud.NewAccount(a.loaded, a.cfg, site.Limits{})
}

// A recreated stack finds the functions and distributions of the previous one,
// whose names lack the installation. Its distributions move over.
func TestUpkeepMovesDistributions(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{})
	client := cloudfront.NewFromConfig(a.loaded)
	arn := functionNamed(t, client, "troy-0", "arn:aws:cloudfront::123456789012:key-value-store/of-the-stack-before", "import cf from 'cloudfront';\nasync function handler(e) { return { statusCode: 404 }; }")
	access, err := client.CreateOriginAccessControl(t.Context(), &cloudfront.CreateOriginAccessControlInput{OriginAccessControlConfig: &types.OriginAccessControlConfig{
		Name: aws.String("troy-0"), OriginAccessControlOriginType: "s3", SigningBehavior: "always", SigningProtocol: "sigv4",
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := a.publish(t, "blog.sites.test", "home")
	other := join(t, server, a.double)
	other.publish(t, "other.sites.test", "of another")
	before := a.edit(t, d.ID, func(c *types.DistributionConfig) {
		c.DefaultCacheBehavior.FunctionAssociations = &types.FunctionAssociations{Quantity: aws.Int32(1), Items: []types.FunctionAssociation{{
			EventType: types.EventTypeViewerRequest, FunctionARN: &arn,
		}}}
		c.Origins.Items[0].OriginAccessControlId = access.OriginAccessControl.Id
	})
	if w := a.read("blog.sites.test", "/"); w.Code != http.StatusNotFound {
		t.Fatalf("with the function of before it answers %d", w.Code)
	}
	if done := a.upkeep(t); done.Distributions != 1 {
		t.Errorf("the upkeep changed %+v, want one distribution", done)
	}
	a.wantPage(t, "blog.sites.test", "home")
	other.wantPage(t, "other.sites.test", "of another")
	calls := len(a.double.Calls())
	if done := a.upkeep(t); done != (awscloud.Upkept{}) {
		t.Errorf("the second upkeep changed %+v", done)
	}
	for _, c := range a.double.Calls()[calls:] {
		if strings.HasPrefix(c.Action, "Update") || strings.HasPrefix(c.Action, "Create") || strings.HasPrefix(c.Action, "Publish") {
			t.Errorf("the second upkeep called %s", c)
		}
	}
	if got, err := a.cloud.CDN.Get(t.Context(), d.ID); err != nil || got.ETag == before {
		t.Errorf("the distribution is %+v, %v", got, err)
	}
	// The old function reads another store: this installation must not remove
	// it.
	if left, err := a.account().Unused(t.Context(), true); err != nil || len(left) > 0 {
		t.Errorf("unused are %v, %v", left, err)
	}
	functionNamed(t, client, "troy-1", a.cfg.KeyValueStoreARN, "function handler(e) { return e.request; }")
	for _, want := range [][]awscloud.Unused{{{What: "the function troy-1", Gone: true}}, nil} {
		left, err := a.account().Unused(t.Context(), true)
		if err != nil || !slices.Equal(left, want) {
			t.Errorf("unused are %v, %v; want %v", left, err, want)
		}
	}
}

// functionNamed makes and publishes a function, and returns its ARN.
func functionNamed(t *testing.T, client *cloudfront.Client, name, store, code string) string {
	t.Helper()
	made, err := client.CreateFunction(t.Context(), &cloudfront.CreateFunctionInput{Name: &name, FunctionCode: []byte(code), FunctionConfig: &types.FunctionConfig{
		Comment: aws.String("Troy: sends a request to the deployment that is live"), Runtime: types.FunctionRuntimeCloudfrontJs20,
		KeyValueStoreAssociations: &types.KeyValueStoreAssociations{Quantity: aws.Int32(1), Items: []types.KeyValueStoreAssociation{{KeyValueStoreARN: &store}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	published, err := client.PublishFunction(t.Context(), &cloudfront.PublishFunctionInput{Name: &name, IfMatch: made.ETag})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(published.FunctionSummary.FunctionMetadata.FunctionARN)
}

// edit changes a distribution behind Troy's back, and returns its ETag.
func (a account) edit(t *testing.T, id string, change func(*types.DistributionConfig)) string {
	t.Helper()
	client := cloudfront.NewFromConfig(a.loaded)
	got, err := client.GetDistribution(t.Context(), &cloudfront.GetDistributionInput{Id: &id})
	if err != nil {
		t.Fatal(err)
	}
	change(got.Distribution.DistributionConfig)
	updated, err := client.UpdateDistribution(t.Context(), &cloudfront.UpdateDistributionInput{Id: &id, IfMatch: got.ETag, DistributionConfig: got.Distribution.DistributionConfig})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(updated.ETag)
}

// The functions' code is rolled out to live functions, whatever interrupts it,
// and never over a later version.
func TestUpkeepRollsOutCode(t *testing.T) {
	t.Parallel()
	type fault struct {
		action string
		f      awsdouble.Fault
	}
	var failing atomic.Pointer[fault]
	a := newAccount(t, s3test.Start(t), awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
		if now := failing.Load(); now != nil && now.action == c.Action {
			return now.f
		}
		return awsdouble.None
	}})
	a.publish(t, "blog.sites.test", "home")
	good := a.double.Functions()
	if len(good) != 2 {
		t.Fatalf("the functions are %d, want 2", len(good))
	}
	change := func(comment, code string) {
		t.Helper()
		for name := range good {
			a.double.SetFunction(name, comment, code)
		}
	}
	const old = "import cf from 'cloudfront';\nfunction handler(e) { return { statusCode: 404 }; }"
	change("Troy: of before", old)
	for _, action := range []string{"UpdateFunction", "PublishFunction"} {
		for _, f := range []awsdouble.Fault{awsdouble.Failed, awsdouble.LostAfter} {
			failing.Store(&fault{action, f})
			if _, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context()); err == nil && f == awsdouble.Failed {
				t.Errorf("%s failed, and the upkeep did not report it", action)
			}
		}
	}
	failing.Store(nil)
	a.upkeep(t)
	for name, code := range a.double.Functions() {
		if code != good[name] {
			t.Errorf("%s runs %.60q", name, code)
		}
	}
	a.wantPage(t, "blog.sites.test", "home")
	if done := a.upkeep(t); done != (awscloud.Upkept{}) {
		t.Errorf("the upkeep changed %+v once more", done)
	}
	change("Troy v999: of a later version", old)
	if done := a.upkeep(t); done != (awscloud.Upkept{}) {
		t.Errorf("the upkeep changed %+v of a later version", done)
	}
	// The price class follows the setting.
	a.cfg.PriceClass = "PriceClass_100"
	if done := a.upkeep(t); done.Distributions != 1 {
		t.Errorf("the upkeep changed %+v, want the distribution", done)
	}
}

// Distributions of earlier versions get the methods that the functions answer.
func TestUpkeepAllowsOptions(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	d := a.publish(t, "blog.sites.test", "home")
	options := func() int {
		w := httptest.NewRecorder()
		a.double.Edge().ServeHTTP(w, httptest.NewRequest(http.MethodOptions, "http://blog.sites.test/", nil))
		return w.Code
	}
	a.edit(t, d.ID, func(c *types.DistributionConfig) { c.DefaultCacheBehavior.AllowedMethods = nil })
	if status := options(); status != http.StatusForbidden {
		t.Fatalf("OPTIONS is answered with %d", status)
	}
	for _, want := range []int{1, 0} {
		if done := a.upkeep(t); done.Distributions != want {
			t.Errorf("the upkeep changed %+v, want %d distributions", done, want)
		}
	}
	if status := options(); status != http.StatusNoContent {
		t.Errorf("OPTIONS is answered with %d", status)
	}
}

// A distribution that can't be moved does not stop the others.
func TestUpkeepGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	var failed atomic.Int64 // the number of the failing call
	a := newAccount(t, s3test.Start(t), awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
		if c.Action != "UpdateDistribution" || !failing.Load() {
			return awsdouble.None
		}
		if failed.CompareAndSwap(0, int64(c.Number)) || failed.Load() == int64(c.Number) {
			return awsdouble.Denied
		}
		return awsdouble.None
	}})
	for _, host := range []string{"a.sites.test", "b.sites.test", "c.sites.test"} {
		a.publish(t, host, host)
	}
	a.cfg.PriceClass = "PriceClass_100"
	failing.Store(true)
	done, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context())
	if troy.KindOf(err) != troy.Forbidden || done.Distributions != 2 {
		t.Errorf("the upkeep changed %+v, %v; want two distributions and the failure of the third", done, err)
	}
	if done := a.upkeep(t); done.Distributions != 1 {
		t.Errorf("the next upkeep changed %+v, want one distribution", done)
	}
}

// A changed distribution keeps the functions of this installation that it uses,
// even while others have room.
func TestUpkeepKeepsShards(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	d := a.publish(t, "blog.sites.test", "home")
	client := cloudfront.NewFromConfig(a.loaded)
	arns := map[types.EventType]string{}
	for name, code := range a.double.Functions() {
		event := types.EventTypeViewerRequest
		if strings.Contains(name, "-response-") {
			event = types.EventTypeViewerResponse
		}
		arns[event] = functionNamed(t, client, strings.TrimSuffix(name, "0")+"1", a.cfg.KeyValueStoreARN, code)
	}
	a.edit(t, d.ID, func(c *types.DistributionConfig) {
		for i, f := range c.DefaultCacheBehavior.FunctionAssociations.Items {
			c.DefaultCacheBehavior.FunctionAssociations.Items[i].FunctionARN = aws.String(arns[f.EventType])
		}
	})
	a.cfg.PriceClass = "PriceClass_100"
	if done := a.upkeep(t); done.Distributions != 1 {
		t.Errorf("the upkeep changed %+v, want one distribution", done)
	}
	a.edit(t, d.ID, func(c *types.DistributionConfig) {
		if c.PriceClass != types.PriceClassPriceClass100 {
			t.Errorf("the price class is %s", c.PriceClass)
		}
		for _, f := range c.DefaultCacheBehavior.FunctionAssociations.Items {
			if got, want := aws.ToString(f.FunctionARN), arns[f.EventType]; got != want {
				t.Errorf("on %s it uses %s, want %s", f.EventType, got, want)
			}
		}
	})
	if done := a.upkeep(t); done != (awscloud.Upkept{}) {
		t.Errorf("the second upkeep changed %+v", done)
	}
	a.wantPage(t, "blog.sites.test", "home")
}

// With a role that may not read or update functions, sites are still
// provisioned, and the upkeep reports it.
func TestFunctionsOfAnEarlierRole(t *testing.T) {
	t.Parallel()
	var denying atomic.Bool
	a := newAccount(t, s3test.Start(t), awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
		if denying.Load() && (c.Action == "GetFunction" || c.Action == "UpdateFunction") {
			return awsdouble.Denied
		}
		return awsdouble.None
	}})
	denying.Store(true)
	a.publish(t, "a.sites.test", "the first makes the functions")
	a.publish(t, "b.sites.test", "the second finds them")
	for name, code := range a.double.Functions() {
		a.double.SetFunction(name, "Troy v1: of before", code)
	}
	a.publish(t, "c.sites.test", "the third finds those of before")
	a.wantPage(t, "c.sites.test", "the third finds those of before")
	if _, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context()); troy.KindOf(err) != troy.Forbidden {
		t.Errorf("the upkeep with the role of before: %v, want Forbidden", err)
	}
	denying.Store(false)
	if done := a.upkeep(t); done.Functions != 1 {
		t.Errorf("the upkeep with this version's role changed %+v, want the functions", done)
	}
}

// A change of the functions' code has to raise codeVersion, so that versions of
// Troy that run side by side agree on which is the later one.
func TestCodeVersion(t *testing.T) {
	t.Parallel()
	sum := sha256.New()
	for _, name := range []string{"viewer_request.min.js", "viewer_preview.min.js", "viewer_response.min.js"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = sum.Write(code)
	}
	const version, digest = 9, "3246c6d8e7616d8e"
	if got := hex.EncodeToString(sum.Sum(nil))[:16]; got != digest || awscloud.CodeVersion != version {
		t.Errorf("the code's digest is %s, its version %d; here they are %s and %d: raise codeVersion, and update both here", got, awscloud.CodeVersion, digest, version)
	}
}
