package forge_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy/forge"
)

// The example of docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
const (
	secret    = "It's a Secret to Everybody"
	body      = "Hello, World!"
	signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
)

func TestVerifyHMAC(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, secret, body, header string
		want                       bool
	}{
		{"GitHub's example", secret, body, "sha256=" + signature, true},
		{"capital digits", secret, body, "sha256=" + strings.ToUpper(signature), true},
		{"another secret", secret + "!", body, "sha256=" + signature, false},
		{"another body", secret, body + "\n", "sha256=" + signature, false},
		{"an empty secret", "", body, "sha256=" + signature, false},
		{"an empty secret, rightly signed", "", "", "sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", false},
		{"no header", secret, body, "", false},
		{"no prefix", secret, body, signature, false},
		{"SHA-1", secret, body, "sha1=" + signature, false},
		{"cut off", secret, body, "sha256=" + signature[:62], false},
		{"too long", secret, body, "sha256=" + signature + "00", false},
		{"no hexadecimal", secret, body, "sha256=" + strings.Repeat("g", 64), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := forge.VerifyHMAC([]byte(c.secret), []byte(c.body), c.header); got != c.want {
				t.Errorf("VerifyHMAC(%q, %q, %q) = %v, want %v", c.secret, c.body, c.header, got, c.want)
			}
		})
	}
}
