package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// makeRoom makes room for one more function that reads the pointers' store. If
// the maximum number of functions reads it, makeRoom deletes functions of
// earlier versions that no distribution uses. If it can delete none, it returns
// a Conflict error.
func (c *CDN) makeRoom(ctx context.Context) error {
	var readers []string
	err := c.eachFunction(ctx, func(f types.FunctionSummary) {
		if storeOf(f.FunctionConfig) == c.cfg.KeyValueStoreARN {
			readers = append(readers, aws.ToString(f.Name))
		}
	})
	if troy.KindOf(err) == troy.Forbidden {
		return nil // the role of an earlier version's template; CloudFront itself refuses one too many
	}
	if err != nil || len(readers) < maxShards {
		return err
	}
	used := map[string]int{}
	if err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		for _, arn := range associations(d) {
			used[functionNamed(arn)]++
		}
		return true, nil
	}); err != nil {
		return err
	}
	slices.Sort(readers)
	var said []string
	for _, name := range readers {
		if used[name] == 0 && strings.HasPrefix(name, referencePrefix) && !strings.HasPrefix(name, c.installation()+"-") {
			err := c.removeFunction(ctx, name)
			if err == nil {
				return nil
			}
			if !errors.Is(err, awsapi.ErrInUse) {
				return err
			}
		}
		said = append(said, fmt.Sprintf("%s (used by %d)", name, used[name]))
	}
	return troy.Errorf(troy.Conflict, "%d functions read the pointers' store, CloudFront's maximum: %s. "+
		"Functions of earlier versions are deleted once no distribution uses them; `troyd work` moves distributions every %s. "+
		"If their number does not fall, delete pipelines, or set up another installation with its own store",
		len(readers), strings.Join(said, ", "), UpkeepInterval)
}

// eachFunction walks the functions of the account.
func (c *CDN) eachFunction(ctx context.Context, each func(types.FunctionSummary)) error {
	var marker *string
	for {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.ListFunctionsOutput, error) {
			return c.client.ListFunctions(ctx, &cloudfront.ListFunctionsInput{Marker: marker, Stage: types.FunctionStageDevelopment})
		})
		if err != nil {
			return awsapi.Failed("list the functions", err)
		}
		for _, f := range page.FunctionList.Items {
			each(f)
		}
		if marker = page.FunctionList.NextMarker; aws.ToString(marker) == "" {
			return nil
		}
	}
}
