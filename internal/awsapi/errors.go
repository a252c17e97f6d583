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

// meaning is the required reaction to an error code of AWS. Errors that are not
// listed may pass by themselves and are retried: throttling, 5xx, lost
// connections.
type meaning struct {
	is   error          // one of package cloud's errors
	kind troy.ErrorKind // of an error that a retry does not fix
	what string         // precedes AWS's message
	wait time.Duration  // the time until a retry makes sense
}

// Errors of calls in addition to package cloud's.
var (
	ErrNotFound     = cloud.ErrNotFound
	ErrPrecondition = cloud.ErrPrecondition
	// ErrInUse means that a distribution uses the function or the certificate.
	ErrInUse = errors.New("it is in use")
)

// meanings maps AWS's error codes to Troy's reactions. The services' API
// references list the codes of each call.
var meanings = map[string]meaning{
	// Deleted, or never created.
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
	"EntityNotFound":                   {is: cloud.ErrNotFound},
	"EntityAlreadyExists":              {is: cloud.ErrExists},
	"ResourceNotDisabled":              {is: cloud.ErrNotDisabled},
	"ResourceInUseException":           {is: ErrInUse},
	"ConflictException":                {is: cloud.ErrPrecondition},
	"FunctionAlreadyExists":            {is: cloud.ErrExists},
	"OriginAccessControlAlreadyExists": {is: cloud.ErrExists},

	// Passes when other operations have ended.
	"AccountLimitExceededException": {wait: 20 * time.Second, what: "the account runs as many builds as its quota allows (Service Quotas, AWS CodeBuild, Concurrently running builds)"},

	// A person has to fix it.
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
	"NoSuchFunctionExists":                                {kind: troy.Conflict, what: "the CloudFront function does not exist; `troyd work` creates it again at its next upkeep"},
	"InvalidFunctionAssociation":                          {kind: troy.Conflict, what: "CloudFront refuses the functions of the distribution"},
	"InvalidOriginAccessControl":                          {kind: troy.Conflict, what: "CloudFront refuses the origin access control of the distribution"},
	"NoSuchOriginAccessControl":                           {is: cloud.ErrNotFound},
	"FunctionSizeLimitExceeded":                           {kind: troy.Conflict, what: "the function's code is larger than CloudFront allows"},
	"TooManyDistributionsAssociatedToFunction":            {wait: 20 * time.Second, what: "the maximum number of distributions use the function; the next try chooses another one"},
	"TooManyDistributionsAssociatedToOriginAccessControl": {wait: 20 * time.Second, what: "the maximum number of distributions use the origin access control; the next try chooses another one"},
	"TooManyInvalidationsInProgress":                      {wait: 20 * time.Second, what: "CloudFront has the maximum number of invalidations in progress"},
	"KeyTooLongError":                                     {kind: troy.Invalid, what: "the path is too long for S3"},
	"EntityLimitExceeded":                                 {kind: troy.Conflict, what: "the account has as many distribution tenants, or connection groups, as its quota allows; ask AWS to raise it"},
	"LimitExceededException":                              {kind: troy.Conflict, what: "the account has, or requested, as many certificates as its quota allows (Service Quotas, AWS Certificate Manager)"},
	"TooManyDistributionCNAMEs":                           {kind: troy.Conflict, what: "the distribution has as many aliases as the quota allows"},
	"TooManyFunctions":                                    {kind: troy.Conflict, what: "the account has as many CloudFront functions as its quota allows; ask AWS to raise it (Service Quotas, Amazon CloudFront, Functions per AWS account)"},
	"TooManyOriginAccessControls":                         {kind: troy.Conflict, what: "the account has as many origin access controls as its quota allows; ask AWS to raise it"},
	"ServiceQuotaExceededException":                       {kind: troy.Conflict, what: "the pointers' store is full, or another quota is used up"},
}

// Failed returns the error of a call. Its text names the call and never a
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

// waitError is not a failure: it says when to come back.
type waitError struct {
	after time.Duration
	text  string
}

func (e *waitError) Error() string { return e.text }

// RetryAfter returns the time to wait.
func (e *waitError) RetryAfter() time.Duration { return e.after }
