package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/secret"
)

func sealer(t *testing.T, setting string) *secret.Sealer {
	t.Helper()
	s, err := secret.New(setting)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpens(t *testing.T) {
	t.Parallel()
	s := sealer(t, secret.NewKey())
	of := secret.Subject{Kind: "variable", ID: "p1", Name: "NPM_TOKEN"}
	for _, value := range []string{"", "hunter2hunter2", strings.Repeat("x", secret.MaxSealed)} {
		sealed, err := s.Seal([]byte(value), of)
		if err != nil {
			t.Fatal(err)
		}
		if len(value) > 0 && bytes.Contains(sealed, []byte(value)) {
			t.Fatal("the sealed value shows the plain one")
		}
		again, err := s.Seal([]byte(value), of)
		if err != nil || bytes.Equal(sealed, again) {
			t.Fatalf("sealed twice to the same bytes (%v)", err)
		}
		got, err := s.Open(sealed, of)
		if err != nil || string(got) != value {
			t.Fatalf("Open: %d bytes, %v", len(got), err)
		}
	}
	if _, err := s.Seal(make([]byte, secret.MaxSealed+1), of); err == nil {
		t.Error("a value over the limit was sealed")
	}
}

func TestSealedValueStaysWithItsSubject(t *testing.T) {
	t.Parallel()
	s := sealer(t, secret.NewKey())
	sealed, err := s.Seal([]byte("a secret value"), secret.Subject{Kind: "variable", ID: "ab", Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []secret.Subject{
		{}, {Kind: "variable", ID: "a", Name: "bc"}, {Kind: "variablea", ID: "b", Name: "c"},
		{Kind: "installation", ID: "ab", Name: "c"}, {Kind: "variable", ID: "ab", Name: "d"},
	} {
		if _, err := s.Open(sealed, other); !errors.Is(err, secret.ErrAltered) {
			t.Errorf("opened for %+v: %v", other, err)
		}
	}
}

func TestAlteredValueIsRefused(t *testing.T) {
	t.Parallel()
	s := sealer(t, secret.NewKey())
	of := secret.Subject{Kind: "variable"}
	sealed, err := s.Seal([]byte("a secret value"), of)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := s.Open(changed, of); !errors.Is(err, secret.ErrAltered) && !errors.Is(err, secret.ErrUnknownKey) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := s.Open(sealed[:i], of); !errors.Is(err, secret.ErrAltered) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	oldKey, newKey := secret.NewKey(), secret.NewKey()
	of := secret.Subject{Kind: "installation", ID: "7"}
	sealed, err := sealer(t, oldKey).Seal([]byte("a token"), of)
	if err != nil {
		t.Fatal(err)
	}
	both := sealer(t, newKey+","+oldKey)
	if got, err := both.Open(sealed, of); err != nil || string(got) != "a token" {
		t.Fatalf("the old key no longer opens: %v", err)
	}
	if !both.Stale(sealed) {
		t.Error("a value under the old key is not stale")
	}
	again, err := both.Seal([]byte("a token"), of)
	if err != nil || both.Stale(again) {
		t.Fatalf("sealed again and still stale (%v)", err)
	}
	if _, err := sealer(t, newKey).Open(again, of); err != nil {
		t.Errorf("the newest key did not seal: %v", err)
	}
	if _, err := sealer(t, newKey).Open(sealed, of); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("without the old key: %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	raw := []byte("0123456789abcdef0123456789ABCDEF")
	raw[3], raw[9] = 0xfb, 0xff // - and _ against + and /
	of := secret.Subject{Kind: "k"}
	sealed, err := sealer(t, hex.EncodeToString(raw)).Seal([]byte("v"), of)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		base64.URLEncoding.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		" " + hex.EncodeToString(raw) + "\n",
	} {
		if _, err := sealer(t, form).Open(sealed, of); err != nil {
			t.Errorf("%q is another key: %v", form, err)
		}
	}
	for _, bad := range []string{
		"", " , ", "short", strings.Repeat("0", 64), hex.EncodeToString(raw[:31]), hex.EncodeToString(append(raw, 1)),
		hex.EncodeToString(raw) + "," + base64.StdEncoding.EncodeToString(raw),
		secret.NewKey() + ",not-a-key-but-long-enough-to-be-one-000000",
	} {
		_, err := secret.New(bad)
		if err == nil {
			t.Errorf("New(%q) accepted it", bad)
		} else if len(bad) > 8 && strings.Contains(err.Error(), bad) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}
