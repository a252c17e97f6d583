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

// MaxDelivery is the most bytes that a forge's delivery may have: GitHub sends
// no event of more than 25 MB
// (docs.github.com/webhooks/webhook-events-and-payloads), Bitbucket none of
// more than 256 KB. Web refuses to read further.
const MaxDelivery = 25_000_000

// Delivery is what the headers of a forge's request say. Nothing of it is
// signed, so ID keeps what comes twice from counting twice, and no more.
type Delivery struct {
	// ID is the same whenever the delivery is sent again.
	ID string
	// Event is its name: "push", "repo:push".
	Event string
	// Signature is what proves the body, in the forge's own form.
	Signature string
}

// Webhook is how the deliveries of a forge to its address, /hooks/PROVIDER,
// are verified, on the raw bytes, and parsed after that.
type Webhook struct {
	// Headers reads the headers of a request. Errors are *troy.Error:
	// Unauthenticated without a signature, Invalid for anything else that is
	// missing or appears twice.
	Headers func(http.Header) (Delivery, error)
	// Verify returns an Unauthenticated error unless the body is the sender's.
	// It is nil while no secret is set, so that nothing can be verified.
	Verify func(d Delivery, body []byte) error
	// Parse reads the body of a delivery that was verified. Errors are
	// *troy.Error of kind Invalid with the field at fault.
	Parse func(event string, body []byte) (troy.ForgeEvent, error)
}

// ReadDelivery reads a delivery from the headers with these names. A delivery
// that is verified by other means has no signature; its name is empty. Errors
// are as Webhook.Headers has them.
func ReadDelivery(h http.Header, signature, event, id string) (d Delivery, err error) {
	if signature != "" {
		if values := h.Values(signature); len(values) != 1 {
			return d, troy.Errorf(troy.Unauthenticated, "there are %d headers %s; expected one, sha256=<HMAC-SHA-256 of the body>", len(values), signature)
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

// HMAC returns a Webhook's Verify for bodies that are signed with the secret,
// by VerifyHMAC's rules. It returns nil without a secret.
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
// HMAC-SHA-256 of the body with the secret, in constant time: the form that
// GitHub and Bitbucket use, and app events as well
// (docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries).
// With an empty secret nothing is valid.
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
