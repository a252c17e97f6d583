package secret_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/secret"
)

func TestFinder(t *testing.T) {
	t.Parallel()
	const token, key = `s3cret/"value"&more`, "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0B\n-----END KEY-----\n"
	f, err := secret.NewFinder(map[string]string{"TOKEN": token, "KEY": key})
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(map[string]string{"k": strings.TrimSpace(key), "t": "x"})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("lorem ipsum dolor sit amet ", 40_000) // longer than one read
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                   {big, ""},
		"unchanged":                 {"a" + token + "b", "TOKEN"},
		"at the end":                {big + token, "TOKEN"},
		"URL-encoded":               {"?t=" + url.QueryEscape(token) + "&", "TOKEN"},
		"inside of base64":          {"data:" + base64.StdEncoding.EncodeToString([]byte("user:"+token+"!")), "TOKEN"},
		"several lines":             {big + key, "KEY"},
		"with other line ends":      {strings.ReplaceAll(key, "\n", "\r\n"), "KEY"},
		"in JSON":                   {string(quoted), "KEY"},
		"a line of it":              {"<pre>-----BEGIN KEY-----\n…\n-----END KEY-----</pre>", ""},
		"its beginning":             {token[:len(token)-1], ""},
		"something like a token":    {"ghp_0123456789abcdefghijklmnopqrstuvwxyzAB", ""},
		"the first of two by place": {key + token, "KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := f.Find(iotest.HalfReader(strings.NewReader(test.text)))
			if err != nil || got != test.want {
				t.Fatalf("Find: %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestFinderAtEveryPlace moves a secret across the boundary between two reads.
func TestFinderAtEveryPlace(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	f, err := secret.NewFinder(map[string]string{"TOKEN": token})
	if err != nil {
		t.Fatal(err)
	}
	const part = 256 << 10
	for at := part - len(token) - 1; at <= part+1; at++ {
		text := strings.Repeat(".", at) + token + strings.Repeat(".", part)
		if got, err := f.Find(strings.NewReader(text)); err != nil || got != "TOKEN" {
			t.Fatalf("at %d: %q, %v", at, got, err)
		}
	}
}

func TestFinderRefuses(t *testing.T) {
	t.Parallel()
	if _, err := secret.NewFinder(map[string]string{"A": "short"}); troy.KindOf(err) != troy.Invalid || strings.Contains(err.Error(), "short") && !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a short value: %v", err)
	}
	f, err := secret.NewFinder(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Find(strings.NewReader("anything")); got != "" || err != nil {
		t.Errorf("without secrets: %q, %v", got, err)
	}
	f, err = secret.NewFinder(map[string]string{"A": "long enough"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(iotest.ErrReader(iotest.ErrTimeout)); err == nil {
		t.Error("an error of the reader is lost")
	}
}
