package forge_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

const deliveryID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"

func githubHeaders(event, signature string) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("X-GitHub-Event", event)
	h.Set("X-GitHub-Delivery", deliveryID)
	h.Set("X-Hub-Signature-256", signature)
	return h
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(http.Header)
		want   string // in the error; empty: none
		kind   troy.ErrorKind
	}{
		{"a valid one", func(http.Header) {}, "", ""},
		{"SHA-1 beside it", func(h http.Header) { h.Set("X-Hub-Signature", "sha1=00") }, "", ""},
		{"SHA-1 alone", func(h http.Header) {
			h.Del("X-Hub-Signature-256")
			h.Set("X-Hub-Signature", "sha1=7c38e4ed0a4d4ba2c3a3b0e8a25e6f3e3c2f9e8d")
		}, "0 headers X-Hub-Signature-256", troy.Unauthenticated},
		{"two signatures", func(h http.Header) { h.Add("X-Hub-Signature-256", "sha256=00") }, "2 headers", troy.Unauthenticated},
		{"no event", func(h http.Header) { h.Del("X-GitHub-Event") }, "X-GitHub-Event: it appears 0 times", troy.Invalid},
		{"two events", func(h http.Header) { h.Add("X-GitHub-Event", "ping") }, "X-GitHub-Event: it appears 2 times", troy.Invalid},
		{"an event with a control character", func(h http.Header) { h.Set("X-GitHub-Event", "push\x00") }, "control character", troy.Invalid},
		{"no id", func(h http.Header) { h.Del("X-GitHub-Delivery") }, "X-GitHub-Delivery", troy.Invalid},
		{"a blank id", func(h http.Header) { h.Set("X-GitHub-Delivery", " ") }, "empty", troy.Invalid},
		{"a long id", func(h http.Header) { h.Set("X-GitHub-Delivery", strings.Repeat("7", 129)) }, "129 characters", troy.Invalid},
		{"a form", func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") }, "expected application/json", troy.Invalid},
		{"no content type", func(h http.Header) { h.Del("Content-Type") }, "expected application/json", troy.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := githubHeaders("push", "sha256="+signature)
			c.change(h)
			d, err := forge.ReadDelivery(h, "X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery")
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || troy.KindOf(err) != c.kind {
					t.Errorf("got %v, want one of kind %s with %q", err, c.kind, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.ID != deliveryID || d.Event != "push" {
				t.Errorf("got %+v", d)
			}
			if forge.HMAC(secret)(d, []byte(body)) != nil {
				t.Error("GitHub's example does not verify")
			}
			if forge.HMAC("") != nil || forge.HMAC(secret)(d, []byte(body+" ")) == nil {
				t.Error("another body, or no secret, verifies")
			}
		})
	}
}
