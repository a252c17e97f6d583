package awscloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/google/uuid"
)

// trials are calls without effect that show whether the role may make them: AWS
// checks the permission before the call's arguments.
func (c *CDN) trials(suffix string) map[string]func(context.Context) error {
	const none, name = "E00000000TROY", "troy-doctor"
	guard := aws.String("E0")
	// Neither the functions nor the access control exist, so CloudFront refuses
	// the distribution. It is disabled and tagged in case CloudFront accepts
	// it.
	reference := referencePrefix + uuid.NewString()
	config := c.config(reference, name+"."+suffix, shard{arns: []string{"none", "none"}, access: "none"})
	config.Enabled = aws.Bool(false)
	program := programs()[0]
	return map[string]func(context.Context) error{
		"cloudfront:GetDistribution": func(ctx context.Context) error {
			_, err := c.client.GetDistribution(ctx, &cloudfront.GetDistributionInput{Id: aws.String(none)})
			return err
		},
		"cloudfront:CreateDistribution": func(ctx context.Context) error { return c.tryCreate(ctx, config) },
		"cloudfront:UpdateDistribution": func(ctx context.Context) error {
			_, err := c.client.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{Id: aws.String(none), IfMatch: guard, DistributionConfig: config})
			return err
		},
		"cloudfront:DeleteDistribution": func(ctx context.Context) error {
			_, err := c.client.DeleteDistribution(ctx, &cloudfront.DeleteDistributionInput{Id: aws.String(none), IfMatch: guard})
			return err
		},
		"cloudfront:CreateInvalidation": func(ctx context.Context) error {
			_, err := c.client.CreateInvalidation(ctx, &cloudfront.CreateInvalidationInput{DistributionId: aws.String(none), InvalidationBatch: &types.InvalidationBatch{
				CallerReference: aws.String(name), Paths: &types.Paths{Quantity: aws.Int32(1), Items: []string{"/none"}},
			}})
			return err
		},
		"cloudfront:DescribeFunction": func(ctx context.Context) error {
			_, err := c.client.DescribeFunction(ctx, &cloudfront.DescribeFunctionInput{Name: aws.String(name)})
			return err
		},
		"cloudfront:GetFunction": func(ctx context.Context) error {
			_, err := c.client.GetFunction(ctx, &cloudfront.GetFunctionInput{Name: aws.String(name)})
			return err
		},
		"cloudfront:UpdateFunction": func(ctx context.Context) error {
			_, err := c.client.UpdateFunction(ctx, &cloudfront.UpdateFunctionInput{
				Name: aws.String(name), IfMatch: guard, FunctionCode: program.code, FunctionConfig: c.functionConfig(program),
			})
			return err
		},
		"cloudfront:PublishFunction": func(ctx context.Context) error {
			_, err := c.client.PublishFunction(ctx, &cloudfront.PublishFunctionInput{Name: aws.String(name), IfMatch: guard})
			return err
		},
		"cloudfront:ListOriginAccessControls": func(ctx context.Context) error {
			_, err := c.client.ListOriginAccessControls(ctx, &cloudfront.ListOriginAccessControlsInput{MaxItems: aws.Int32(1)})
			return err
		},
	}
}

// tryCreate makes a disabled distribution that CloudFront has to refuse, and
// removes it if it was made after all. If it can't be removed at once, it has
// the reference of a pipeline that does not exist: `troyd aws orphans` lists
// it.
func (c *CDN) tryCreate(ctx context.Context, config *types.DistributionConfig) error {
	made, err := c.client.CreateDistributionWithTags(ctx, &cloudfront.CreateDistributionWithTagsInput{DistributionConfigWithTags: &types.DistributionConfigWithTags{
		DistributionConfig: config, Tags: &types.Tags{Items: []types.Tag{{Key: aws.String(referenceTag), Value: config.CallerReference}}},
	}})
	if err != nil {
		return err
	}
	// A failed removal does not change the finding.
	_, _ = c.client.DeleteDistribution(ctx, &cloudfront.DeleteDistributionInput{Id: made.Distribution.Id, IfMatch: made.ETag})
	return nil
}
