package hook

import (
	"mime"
	"net/http"

	"github.com/troy-iaas/troy"
)

// MaxBody is the most bytes that a forge's delivery may have: GitHub sends no
// event of more than 25 MB (docs.github.com/webhooks/webhook-events-and-payloads),
// Bitbucket none of more than 256 KB. Web refuses to read further.
const MaxBody = 25_000_000

// Delivery is what the headers of a forge's request say. Nothing of it is
// signed, so ID keeps what comes twice from counting twice, and no more.
type Delivery struct {
	// ID is the same whenever the delivery is sent again.
	ID string
	// Event is its name: "push", "repo:push".
	Event     string
	signature string
}

// GitHubDelivery reads the headers of a request of GitHub's
// (docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers).
// Errors are *troy.Error: Unauthenticated without a SHA-256 signature (one of
// SHA-1 alone does not count), Invalid for anything else that is missing or
// appears twice.
func GitHubDelivery(h http.Header) (Delivery, error) {
	return delivery(h, "X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery")
}

// BitbucketDelivery reads the headers of a request of Bitbucket's that is
// signed with the webhook's secret
// (support.atlassian.com/bitbucket-cloud/docs/manage-webhooks). Errors are as
// GitHubDelivery's.
func BitbucketDelivery(h http.Header) (Delivery, error) {
	return delivery(h, "X-Hub-Signature", "X-Event-Key", "X-Request-UUID")
}

// ConnectDelivery reads the headers of a request of Bitbucket's to a Connect
// app, whose signature is a token (ConnectToken): Verify never holds for it.
// Errors are as GitHubDelivery's.
func ConnectDelivery(h http.Header) (Delivery, error) {
	return delivery(h, "", "X-Event-Key", "X-Request-UUID")
}

func delivery(h http.Header, signature, event, id string) (d Delivery, err error) {
	if signature != "" {
		if values := h.Values(signature); len(values) != 1 {
			return d, troy.Errorf(troy.Unauthenticated, "there are %d headers %s; expected one, sha256=<HMAC-SHA-256 of the body>", len(values), signature)
		}
		d.signature = h.Get(signature)
	}
	if d.Event, err = header(h, event); err != nil {
		return Delivery{}, err
	}
	if d.ID, err = header(h, id); err != nil {
		return Delivery{}, err
	}
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || kind != "application/json" {
		return Delivery{}, troy.Errorf(troy.Invalid, "the content type is %.80q; expected application/json", h.Get("Content-Type")).At("Content-Type")
	}
	return d, nil
}

func header(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", troy.Errorf(troy.Invalid, "it appears %d times; expected exactly once", len(values)).At(name)
	}
	var c checker
	value := c.line(name, values[0], maxHeader)
	return value, c.err
}

// Verify reports whether the body is signed with the secret, by VerifyHMAC's
// rules.
func (d Delivery) Verify(secret, body []byte) bool {
	return VerifyHMAC(secret, body, d.signature)
}
