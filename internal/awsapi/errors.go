package awsapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/smithy-go"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
)

// meaning is what an error code of AWS asks for. What is not listed may pass
// by itself, and is tried again: throttling, 5xx, lost connections.
type meaning struct {
	is   error          // one of cloud's errors
	kind troy.ErrorKind // of an error that repeating will not mend
	what string         // said in front of AWS's own words
	wait time.Duration  // until it is worth another try
}

// What calls end with beside the other errors of cloud.
var (
	ErrNotFound     = cloud.ErrNotFound
	ErrPrecondition = cloud.ErrPrecondition
	// ErrInUse is a function that a distribution uses.
	ErrInUse = errors.New("it is in use")
)

// meanings is the one table of what AWS's error codes mean to Troy. The
// services' API references list the codes of each call.
var meanings = map[string]meaning{
	// Gone, or never there.
	"NoSuchKey":                        {is: cloud.ErrNotFound},
	"NotFound":                         {is: cloud.ErrNotFound},
	"NoSuchDistribution":               {is: cloud.ErrNotFound},
	"ResourceNotFoundException":        {is: cloud.ErrNotFound},
	"DistributionAlreadyExists":        {is: cloud.ErrExists},
	"DistributionNotDisabled":          {is: cloud.ErrNotDisabled},
	"ResourceInUse":                    {is: cloud.ErrNotDisabled},
	"FunctionInUse":                    {is: ErrInUse},
	"PreconditionFailed":               {is: cloud.ErrPrecondition},
	"InvalidIfMatchVersion":            {is: cloud.ErrPrecondition},
	"ConditionalRequestConflict":       {is: cloud.ErrPrecondition},
	"ConflictException":                {is: cloud.ErrPrecondition},
	"FunctionAlreadyExists":            {is: cloud.ErrExists},
	"OriginAccessControlAlreadyExists": {is: cloud.ErrExists},

	// What passes when others have ended.
	"AccountLimitExceededException": {wait: 20 * time.Second, what: "the account runs as many builds as its quota allows (Service Quotas, AWS CodeBuild, Concurrently running builds)"},

	// What a person has to mend.
	"AccessDenied":                                        {kind: troy.Forbidden, what: "AWS denies it; compare the role with docs/aws.md"},
	"AccessDeniedException":                               {kind: troy.Forbidden, what: "AWS denies it; compare the role with docs/aws.md"},
	"InvalidAccessKeyId":                                  {kind: troy.Forbidden, what: "AWS does not know the credentials"},
	"SignatureDoesNotMatch":                               {kind: troy.Forbidden, what: "AWS refuses the credentials"},
	"NoSuchBucket":                                        {kind: troy.Conflict, what: "the bucket does not exist"},
	"NoSuchHostedZone":                                    {kind: troy.Conflict, what: "the hosted zone does not exist in this account"},
	"CNAMEAlreadyExists":                                  {kind: troy.Conflict, what: "the host is in use by another distribution, or its DNS record points at one; remove it there"},
	"InvalidViewerCertificate":                            {kind: troy.Conflict, what: "the certificate does not cover the host, or CloudFront can't use it"},
	"InvalidArgument":                                     {kind: troy.Invalid, what: "CloudFront refuses the settings"},
	"TooManyDistributions":                                {kind: troy.Conflict, what: "the account has as many CloudFront distributions as its quota allows; ask AWS to raise it (Service Quotas, Amazon CloudFront, Web distributions per AWS account)"},
	"NoSuchFunctionExists":                                {kind: troy.Conflict, what: "the CloudFront function does not exist; `troyd work` makes it again at its next upkeep"},
	"InvalidFunctionAssociation":                          {kind: troy.Conflict, what: "CloudFront refuses the functions of the distribution"},
	"InvalidOriginAccessControl":                          {kind: troy.Conflict, what: "CloudFront refuses the origin access control of the distribution"},
	"NoSuchOriginAccessControl":                           {is: cloud.ErrNotFound},
	"FunctionSizeLimitExceeded":                           {kind: troy.Conflict, what: "the function's code is larger than CloudFront takes"},
	"TooManyDistributionsAssociatedToFunction":            {wait: 20 * time.Second, what: "as many distributions use the function as may; another one is chosen by the next try"},
	"TooManyDistributionsAssociatedToOriginAccessControl": {wait: 20 * time.Second, what: "as many distributions use the origin access control as may; another one is chosen by the next try"},
	"TooManyInvalidationsInProgress":                      {wait: 20 * time.Second, what: "CloudFront has as many invalidations in progress as it takes"},
	"KeyTooLongError":                                     {kind: troy.Invalid, what: "the path is too long for S3"},
	"TooManyDistributionCNAMEs":                           {kind: troy.Conflict, what: "the distribution has as many aliases as the quota allows"},
	"TooManyFunctions":                                    {kind: troy.Conflict, what: "the account has as many CloudFront functions as its quota allows; ask AWS to raise it (Service Quotas, Amazon CloudFront, Functions per AWS account)"},
	"TooManyOriginAccessControls":                         {kind: troy.Conflict, what: "the account has as many origin access controls as its quota allows; ask AWS to raise it"},
	"ServiceQuotaExceededException":                       {kind: troy.Conflict, what: "the pointers' store is full, or another quota is used up"},
}

// Failed tells what a call ended with. Its text names the call and never a
// credential.
func Failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("%s: %w", what, err)
	}
	m, known := meanings[api.ErrorCode()]
	switch {
	case !known:
		return fmt.Errorf("%s: %s: %s", what, api.ErrorCode(), api.ErrorMessage())
	case m.is != nil:
		return fmt.Errorf("%s: %w (%s)", what, m.is, api.ErrorCode())
	case m.wait > 0:
		return &waitError{m.wait, fmt.Sprintf("%s: %s", what, m.what)}
	}
	return troy.Errorf(m.kind, "%s: %s (%s: %s)", what, m.what, api.ErrorCode(), api.ErrorMessage())
}

// waitError is not a failure: it tells when to come back.
type waitError struct {
	after time.Duration
	text  string
}

func (e *waitError) Error() string { return e.text }

// RetryAfter is how long to wait.
func (e *waitError) RetryAfter() time.Duration { return e.after }
