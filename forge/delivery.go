package forge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"net/http"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/payload"
)

// MaxDelivery is the maximum size of a forge's delivery in bytes: GitHub's
// events have up to 25 MB
// (docs.github.com/webhooks/webhook-events-and-payloads), Bitbucket's 256 KB.
// Web does not read more.
const MaxDelivery = 25_000_000

// Delivery is the data in the headers of a forge's request. None of it is
// signed, so ID serves only to recognize repetitions.
type Delivery struct {
	// ID stays the same when the delivery is sent again.
	ID string
	// Event is its name: "push", "repo:push".
	Event string
	// Signature authenticates the body, in the forge's own form.
	Signature string
}

// Webhook verifies the raw bytes of a forge's deliveries to its address,
// /hooks/PROVIDER, and then parses them.
type Webhook struct {
	// Headers reads the headers of a request. Errors are *troy.Error:
	// Unauthenticated without a signature, Invalid for any other header that is
	// missing or appears twice.
	Headers func(http.Header) (Delivery, error)
	// Verify returns an Unauthenticated error unless the body is the sender's.
	// It is nil while no secret is set, so that nothing can be verified.
	Verify func(d Delivery, body []byte) error
	// Parse reads the body of a verified delivery. Errors are *troy.Error of
	// kind Invalid with the invalid field.
	Parse func(event string, body []byte) (troy.ForgeEvent, error)
}

// ReadDelivery reads a delivery from the headers with these names. The
// signature's name is empty for a delivery that is verified otherwise. Its
// errors are those of Webhook.Headers.
func ReadDelivery(h http.Header, signature, event, id string) (d Delivery, err error) {
	if signature != "" {
		if values := h.Values(signature); len(values) != 1 {
			return d, troy.Errorf(troy.Unauthenticated, "got %d headers %s; expected one, sha256=<HMAC-SHA-256 of the body>", len(values), signature)
		}
		d.Signature = h.Get(signature)
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
	var c payload.Checker
	value := c.Line(name, values[0], payload.MaxHeader)
	return value, c.Err
}

// HMAC returns a Webhook's Verify for bodies signed with the secret, by
// VerifyHMAC's rules. It returns nil if the secret is empty.
func HMAC(secret string) func(d Delivery, body []byte) error {
	if secret == "" {
		return nil
	}
	return func(d Delivery, body []byte) error {
		if !VerifyHMAC([]byte(secret), body, d.Signature) {
			return troy.Errorf(troy.Unauthenticated, "the signature is wrong; expected sha256=<HMAC-SHA-256 of the body with the webhook's secret>")
		}
		return nil
	}
}

// VerifyHMAC reports whether header is "sha256=" and the hexadecimal
// HMAC-SHA-256 of the body with the secret, in constant time. GitHub, Bitbucket
// and app events use this form
// (docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries). It
// returns false for an empty secret.
func VerifyHMAC(secret, body []byte, header string) bool {
	digits, ok := strings.CutPrefix(header, "sha256=")
	if !ok || len(secret) == 0 || len(digits) != 2*sha256.Size {
		return false
	}
	given, err := hex.DecodeString(digits)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}
