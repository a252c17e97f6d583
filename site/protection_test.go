package site

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func protection(sequence int64) Protection {
	return Protection{
		Sequence:  sequence,
		Passwords: []Password{{ID: "one", Hash: "$argon2id$…", Key: make([]byte, MinKey)}},
		Networks:  []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
	}
}

func TestProtectionRoundTrip(t *testing.T) {
	t.Parallel()
	previews := protection(4)
	previews.PreviewsOnly = true
	signedIn := protection(5)
	signedIn.PreviewKey = []byte(strings.Repeat("k", MinKey))
	for _, p := range []Protection{{}, {Sequence: 7}, protection(3), previews, signedIn, {PreviewKey: signedIn.PreviewKey}} {
		raw, err := EncodeProtection(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeProtection(raw)
		if err != nil || !got.Equal(p) {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	}
	if p, err := DecodeProtection(nil); err != nil || !p.Public() {
		t.Errorf("without a protection: %+v, %v", p, err)
	}
}

// TestUnreadableProtection checks that nothing unreadable counts as public.
func TestUnreadableProtection(t *testing.T) {
	t.Parallel()
	raw, err := EncodeProtection(protection(1))
	if err != nil {
		t.Fatal(err)
	}
	good := string(*raw)
	for name, text := range map[string]string{
		"nothing": `{}`, "a later version": strings.Replace(good, `"version":1`, `"version":2`, 1), "no version": strings.Replace(good, `"version":1,`, "", 1),
		"cut off": good[:len(good)-5], "a list": `[]`, "null": `null`, "empty": ``,
		"a network that is not one": strings.Replace(good, "203.0.113.0/24", "203.0.113.0", 1),
		"a network with host bits":  strings.Replace(good, "203.0.113.0/24", "203.0.113.1/24", 1),
		"a short key":               strings.Replace(good, `"key":"`, `"key":"","x":"`, 1),
		"two of one id":             strings.Replace(good, `"passwords":[`, `"passwords":[{"id":"one","hash":"x","key":"`+strings.Repeat("A", 44)+`"},`, 1),
		"networks as a text":        `{"version":1,"sequence":1,"networks":"203.0.113.0/24"}`,
	} {
		r := json.RawMessage(text)
		p, err := DecodeProtection(&r)
		if err == nil {
			t.Errorf("%s: decoded as %+v", name, p)
		} else if strings.Contains(err.Error(), "argon2") || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s: the error contains a secret: %v", name, err)
		}
	}
	// An earlier version would show the previews, so its form is another one.
	signedIn, err := EncodeProtection(Protection{PreviewKey: make([]byte, MinKey)})
	if err != nil || !strings.Contains(string(*signedIn), `"version":2`) || !strings.Contains(good, `"version":1`) {
		t.Errorf("with a key the form is %s, %v; without one %s", *signedIn, err, good)
	}
	for _, change := range [][2]string{{`"version":2`, `"version":1`}, {`"preview_key"`, `"x"`}, {`"preview_key":"`, `"preview_key":"AA==","x":"`}, {`"version":2`, `"version":3`}} {
		r := json.RawMessage(strings.Replace(string(*signedIn), change[0], change[1], 1))
		if p, err := DecodeProtection(&r); err == nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s was decoded as %+v, %v", r, p, err)
		}
	}
	large := protection(1)
	for range MaxNetworks {
		large.Networks = append(large.Networks, netip.MustParsePrefix("203.0.113.0/24"))
	}
	if _, err := EncodeProtection(large); err == nil {
		t.Error("more networks than allowed were encoded")
	}
}

func TestParseNetwork(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.0/24": "203.0.113.0/24", "203.0.113.7": "203.0.113.7/32", "2001:db8::/32": "2001:db8::/32", "2001:DB8::1": "2001:db8::1/128",
		"::ffff:203.0.113.7": "203.0.113.7/32", "10.0.0.0/8": "10.0.0.0/8",
		"": "", "blog": "", "203.0.113.1/24": "", "0.0.0.0/0": "", "::/0": "", "203.0.113.0/33": "", "203.0.113.0/024": "", "fe80::1%eth0": "",
		"::ffff:203.0.113.0/120": "", " 203.0.113.7": "", "203.0.113": "", "203.0.113.0/24,10.0.0.0/8": "", "\x00": "", strings.Repeat("9", 1000): "",
	} {
		got, err := ParseNetwork(text)
		if want == "" {
			if troy.KindOf(err) != troy.Invalid || len(err.Error()) > 400 {
				t.Errorf("ParseNetwork(%.30q) = %s, %v; want an Invalid error", text, got, err)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("ParseNetwork(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
}

func FuzzDecodeProtection(f *testing.F) {
	raw, err := EncodeProtection(protection(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(*raw))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := json.RawMessage(data)
		p, err := DecodeProtection(&r)
		if err != nil {
			return
		}
		again, err := EncodeProtection(p)
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		if q, err := DecodeProtection(again); err != nil || !q.Equal(p) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
	})
}
