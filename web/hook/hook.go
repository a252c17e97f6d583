// Package hook verifies what the outside sends to Troy's hooks, on the raw
// bytes and before anything parses them, and turns what GitHub and Bitbucket
// send into the words that Troy has for it. It is pure: web reads requests,
// bounded by MaxBody, and keeps secrets and clocks.
package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// VerifyHMAC reports whether header is "sha256=" and the hexadecimal
// HMAC-SHA-256 of the body with the secret, in constant time: the form that
// GitHub and Bitbucket use as well
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
