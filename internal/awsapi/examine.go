package awsapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/troy-iaas/troy/internal/checkup"
)

// Examiner checks parts of an account that the work needs, and reports each
// finding at once. If it can't read a permission, it makes a call that can't
// have an effect.
type Examiner struct {
	Context context.Context
	Loaded  aws.Config
	checkup.Tell
}

// Denied reports whether AWS refused a call because a permission is missing.
func Denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.HasPrefix(api.ErrorCode(), "AccessDenied") || api.ErrorCode() == "AuthorizationError" || api.ErrorCode() == "UnauthorizedOperation")
}

// Words returns an error without the SDK's own text.
func Words(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); len(text) > 300 && i > 0 {
		text = text[i+2:]
	}
	return text
}

// May tests permissions with calls that can't have an effect: AWS checks the
// permission before it reports the invalid call. It returns the denied actions.
func (e Examiner) May(calls map[string]func(context.Context) error) (lacking []string) {
	for _, action := range slices.Sorted(maps.Keys(calls)) {
		ctx, cancel := context.WithTimeout(e.Context, CallTimeout)
		if err := calls[action](ctx); Denied(err) {
			lacking = append(lacking, action)
		}
		cancel()
	}
	return lacking
}

// MaxSkew is the maximum difference of this machine's clock to AWS's. AWS
// refuses signatures at five minutes.
const MaxSkew = time.Minute

// Credentials reports the identity of the credentials and whether this
// machine's clock is right. It returns false without credentials, because all
// other checks would fail the same way.
func (e Examiner) Credentials() bool {
	out, err := Call(e.Context, func(ctx context.Context) (*sts.GetCallerIdentityOutput, error) {
		return sts.NewFromConfig(e.Loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	})
	if err != nil {
		e.Wrong("credentials", Words(err), "give credentials as every AWS SDK finds them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in TROY_AWS_PROFILE, the role of the machine), and check TROY_AWS_ROLE if it is set")
		return false
	}
	e.Well("credentials", "%s", aws.ToString(out.Arn))
	if now, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		received, _ := awsmiddleware.GetResponseAt(out.ResultMetadata)
		if skew := received.Sub(now); skew.Abs() > MaxSkew {
			side := "ahead of"
			if skew < 0 {
				side = "behind"
			}
			e.Wrong("clock", fmt.Sprintf("this machine's clock is %s %s AWS's", skew.Abs().Round(time.Second), side), "set it by NTP: AWS refuses signatures that are five minutes off")
		} else {
			e.Well("clock", "within %s of AWS's", MaxSkew)
		}
	}
	return true
}

// Permissions reports the actions that AWS denies. An empty list means that all
// are allowed.
func (e Examiner) Permissions(part, said string, lacking []string) {
	if len(lacking) == 0 {
		e.Well(part, "%s", said)
		return
	}
	e.Wrong(part, said+"; AWS denies "+strings.Join(lacking, ", "), "allow the denied actions for the role (docs/aws.md)")
}
