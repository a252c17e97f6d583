package certificates

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/disk"
)

// problem is why an attempt to get a certificate failed.
type problem struct {
	code     string // for programs
	sentence string // for people
	// until is when to try again; zero means that the manager decides.
	until time.Time
	// each is the time in which the reached limit allows one more order.
	each time.Duration
	// bucket is the limit of the authority that was reached, or "".
	bucket string
}

// The codes of problems, as in state files.
const (
	authorityDown = "authority_down"
	rateLimited   = "rate_limited"
	forbiddenCAA  = "caa"
	noAddress     = "dns"
	noConnection  = "connection"
	wrongServer   = "wrong_server"
	rejected      = "rejected"
	refused       = "refused"
	noAccount     = "account"
	untrusted     = "untrusted"
	wrongClock    = "clock"
	noStorage     = "storage"
	tooSlow       = "slow"
	needsDNS      = "needs_dns"
	private       = "private_name"
	failed        = "failed"
)

// errNotWanted means that the host needs no certificate any more.
var errNotWanted = &problem{code: "not_wanted"}

// explained are the problems that an authority reports (RFC 8555 §6.7), with a
// sentence for each. Its arguments are the host and what the authority said.
var explained = map[string]struct{ code, sentence string }{
	acme.ProblemTypeCAA:                     {forbiddenCAA, "A CAA record forbids the certificate authority to issue a certificate for %[1]s; add the authority to the CAA records, or remove them. It said: %[2]s"},
	acme.ProblemTypeDNS:                     {noAddress, "The certificate authority can't look up %[1]s in DNS; check its records. It said: %[2]s"},
	acme.ProblemTypeConnection:              {noConnection, "The certificate authority can't connect to %[1]s; its ports 80 and 443 must lead to this server. It said: %[2]s"},
	acme.ProblemTypeTLS:                     {noConnection, "The certificate authority can't make a TLS connection to %[1]s; port 443 must lead to this server. It said: %[2]s"},
	acme.ProblemTypeUnauthorized:            {wrongServer, "Another server answered for %[1]s; point its DNS records to this server, with no proxy in between. The certificate authority said: %[2]s"},
	acme.ProblemTypeIncorrectResponse:       {wrongServer, "Another server answered for %[1]s; point its DNS records to this server, with no proxy in between. The certificate authority said: %[2]s"},
	acme.ProblemTypeRejectedIdentifier:      {rejected, "The certificate authority issues no certificates for %[1]s. It said: %[2]s"},
	acme.ProblemTypeUnsupportedIdentifier:   {rejected, "The certificate authority issues no certificates for %[1]s. It said: %[2]s"},
	acme.ProblemTypeBadCSR:                  {refused, "The certificate authority refused the request for %[1]s. It said: %[2]s"},
	acme.ProblemTypeMalformed:               {refused, "The certificate authority refused the request for %[1]s. It said: %[2]s"},
	acme.ProblemTypeOrderNotReady:           {refused, "The certificate authority refused the request for %[1]s. It said: %[2]s"},
	acme.ProblemTypeServerInternal:          {authorityDown, "The certificate authority has an internal error, so Troy can't get a certificate for %[1]s yet. It said: %[2]s"},
	acme.ProblemTypeExternalAccountRequired: {noAccount, "The certificate authority needs an account that was made on its website, which Troy does not support, so it can't get a certificate for %[1]s. It said: %[2]s"},
	acme.ProblemTypeUserActionRequired:      {noAccount, "The certificate authority waits for you to accept its new terms, so Troy can't get a certificate for %[1]s. It said: %[2]s"},
	acme.ProblemTypeInvalidContact:          {noAccount, "The certificate authority does not accept the address in TROY_ACME_EMAIL, so Troy can't get a certificate for %[1]s. It said: %[2]s"},
	acme.ProblemTypeUnsupportedContact:      {noAccount, "The certificate authority does not accept the address in TROY_ACME_EMAIL, so Troy can't get a certificate for %[1]s. It said: %[2]s"},
	acme.ProblemTypeAccountDoesNotExist:     {noAccount, "The certificate authority does not know the account, so Troy can't get a certificate for %[1]s. It said: %[2]s"},
}

// explain says in one sentence why Troy can't get a certificate for a host.
func explain(host string, err error) *problem {
	var limited *limitError
	var reported acme.Problem
	var store storageError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var network net.Error
	var address *url.Error
	switch {
	case errors.As(err, &limited):
		return &problem{code: rateLimited, until: limited.until, each: limited.each, sentence: fmt.Sprintf(
			"The certificate authority's limit of %s is reached, so Troy orders the certificate for %s after %s.", limited.what, host, clock(limited.until))}
	case errors.As(err, &store):
		return &problem{code: noStorage, sentence: storageSentence(host, store)}
	case errors.As(err, &reported):
		return explainReported(host, reported)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &problem{code: wrongClock, sentence: fmt.Sprintf(
			"The certificate authority's own certificate is not valid at %s, the time of this machine's clock. Set the clock, so that Troy can get a certificate for %s.", clock(time.Now()), host)}
	case errors.As(err, &unknown):
		return &problem{code: untrusted, sentence: fmt.Sprintf(
			"The certificate authority's own certificate is not trusted. Set TROY_ACME_CA_FILE to its root, so that Troy can get a certificate for %s.", host)}
	case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &address):
		return &problem{code: tooSlow, sentence: fmt.Sprintf("The order for %s did not finish within %s.", host, orderTime)}
	case errors.As(err, &network) || errors.As(err, &address):
		return &problem{code: authorityDown, sentence: fmt.Sprintf("The certificate authority can't be reached, so Troy can't get a certificate for %s yet: %s", host, plain(cause(err)))}
	}
	return &problem{code: failed, sentence: fmt.Sprintf("Troy can't get a certificate for %s: %s", host, plain(err.Error()))}
}

// cause returns the innermost error's text without the address, which the log
// has.
func cause(err error) string {
	var address *url.Error
	if errors.As(err, &address) {
		return address.Err.Error()
	}
	return err.Error()
}

func storageSentence(host string, err error) string {
	if disk.IsFull(err) {
		return fmt.Sprintf("The disk of the data folder is full, so the certificate for %s can't be stored; free some space.", host)
	}
	return fmt.Sprintf("The folder of certificates can't be used for %s: %s", host, plain(err.Error()))
}

// explainReported explains a problem document of the authority.
func explainReported(host string, reported acme.Problem) *problem {
	detail := reported.Detail
	kind := reported.Type
	if len(reported.Subproblems) > 0 {
		kind, detail = reported.Subproblems[0].Type, reported.Subproblems[0].Detail
	}
	if kind == acme.ProblemTypeRateLimited || reported.Status == http.StatusTooManyRequests {
		until := retryTime(detail)
		return &problem{code: rateLimited, until: until, bucket: limitOf(detail), sentence: fmt.Sprintf(
			"The certificate authority's rate limit is reached, so Troy orders the certificate for %s after %s. It said: %s", host, clock(until), plain(detail))}
	}
	if e, ok := explained[kind]; ok {
		return &problem{code: e.code, sentence: fmt.Sprintf(e.sentence, host, plain(detail))}
	}
	if reported.Status >= 500 {
		return &problem{code: authorityDown, sentence: fmt.Sprintf("The certificate authority has an internal error (status %d), so Troy can't get a certificate for %s yet.", reported.Status, host)}
	}
	return &problem{code: failed, sentence: fmt.Sprintf("The certificate authority issued no certificate for %s. It said: %s", host, plain(detail))}
}

// retryPattern is the time in Let's Encrypt's messages about rate limits.
var retryPattern = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)`)

// retryTime returns when the authority allows another order: the time in its
// message, or else in an hour. A time far away is not believed.
func retryTime(detail string) time.Time {
	now := time.Now()
	if found := retryPattern.FindStringSubmatch(detail); found != nil {
		if t, err := time.Parse(time.DateTime, strings.Replace(found[1], "T", " ", 1)); err == nil && t.After(now) && t.Before(now.Add(8*24*time.Hour)) {
			return t
		}
	}
	return now.Add(time.Hour)
}

// early returns a problem if a certificate is not valid yet by this machine's
// clock.
func early(host string, c certmagic.Certificate, now time.Time) *problem {
	if c.Leaf == nil || !now.Before(c.Leaf.NotBefore) {
		return nil
	}
	return &problem{code: wrongClock, sentence: fmt.Sprintf(
		"The certificate for %s is valid from %s, but this machine's clock says %s; set the clock.", host, clock(c.Leaf.NotBefore), clock(now))}
}

func noDNS(host string) *problem {
	return &problem{code: needsDNS, sentence: fmt.Sprintf(
		"A certificate for %s needs a DNS-01 challenge; set TROY_ACME_DNS, or add each host by its name.", host)}
}

func notPublic(host string) *problem {
	return &problem{code: private, sentence: fmt.Sprintf(
		"%s is not a public name, so Let's Encrypt issues no certificate for it; set TROY_ACME_DIRECTORY to an authority of your own.", host)}
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// plain shortens a foreign text and removes what a terminal would obey.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return troy.Cut(text, 300)
}
