package password

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
)

func parse(t testing.TB, phc string) Hashed {
	t.Helper()
	h, err := Parse(phc)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMatch(t *testing.T) {
	t.Parallel()
	salt := NewSalt()
	var hashes []Hashed
	for _, p := range []string{"correct horse", "battery staple", "caf\u00e9 cr\u00e8me", "battery staple"} {
		hashes = append(hashes, parse(t, Hash(p, salt)))
	}
	c := NewChecker(2, 8, time.Minute)
	for password, want := range map[string]int{
		"correct horse": 0, "battery staple": 1, "caf\u00e9 cr\u00e8me": 2,
		"cafe\u0301 cre\u0300me": 2, // decomposed, as macOS may send it
		"Correct horse":          -1, "correct horse ": -1, "": -1, "wrong": -1, strings.Repeat("x", MaxBytes+1): -1,
	} {
		before := c.Hashes()
		got, err := c.Match(t.Context(), password, hashes)
		if err != nil || got != want {
			t.Errorf("Match(%.20q) = %d, %v; want %d", password, got, err, want)
		}
		// One hash for all, whichever matches: the duration tells nothing.
		if n := c.Hashes() - before; n != 1 && len(password) <= MaxBytes {
			t.Errorf("Match(%.20q) computed %d hashes, want 1", password, n)
		}
	}
	if got, err := c.Match(t.Context(), "correct horse", nil); got != -1 || err != nil {
		t.Errorf("without hashes: %d, %v", got, err)
	}
	other := append(hashes, parse(t, Hash("another salt", NewSalt())))
	if got, err := c.Match(t.Context(), "another salt", other); got != 4 || err != nil {
		t.Errorf("with another salt: %d, %v", got, err)
	}
}

// TestKnownHash compares with a hash of the reference implementation
// (github.com/P-H-C/phc-winner-argon2, src/test.c).
func TestKnownHash(t *testing.T) {
	t.Parallel()
	known := parse(t, "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	c := NewChecker(1, 1, time.Minute)
	if got, err := c.Match(t.Context(), "password", []Hashed{known}); got != 0 || err != nil {
		t.Errorf("Match = %d, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	good := Hash("correct horse", NewSalt())
	for name, phc := range map[string]string{
		"nothing":        "",
		"text":           "correct horse",
		"argon2i":        strings.Replace(good, "argon2id", "argon2i", 1),
		"a version":      strings.Replace(good, "v=19", "v=16", 1),
		"much memory":    strings.Replace(good, "m=19456", "m=4194304", 1),
		"many passes":    strings.Replace(good, "t=2", "t=100000", 1),
		"many threads":   strings.Replace(good, "p=1", "p=255", 1),
		"too many":       strings.Replace(good, "p=1", "p=256", 1),
		"zero":           strings.Replace(good, "t=2", "t=0", 1),
		"more settings":  strings.Replace(good, "p=1", "p=1,keyid=x", 1),
		"no salt":        "$argon2id$v=19$m=19456,t=2,p=1$$" + strings.Repeat("A", 43),
		"a short hash":   "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
		"not base64":     strings.Replace(good, "$m=", "$m=", 1) + "*",
		"a long one":     good + strings.Repeat("A", 1000),
		"another prefix": "x" + good,
	} {
		if _, err := Parse(phc); err == nil {
			t.Errorf("%s: parsed", name)
		} else if strings.Contains(err.Error(), "$") {
			t.Errorf("%s: the error quotes the hash: %v", name, err)
		}
	}
}

func TestCheckerIsBounded(t *testing.T) {
	t.Parallel()
	hashes := []Hashed{parse(t, Hash("correct horse", NewSalt()))}
	c := NewChecker(1, 1, time.Hour)
	c.slots <- struct{}{} // another hash runs
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { _, err := c.Match(ctx, "correct horse", hashes); ended <- err }()
	for c.waiting.Load() != 1 {
		if t.Context().Err() != nil {
			t.Fatal("it does not wait")
		}
	}
	if _, err := c.Match(t.Context(), "correct horse", hashes); !errors.Is(err, ErrBusy) {
		t.Errorf("the second that waits: %v, want ErrBusy", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
	if n := c.Hashes(); n != 0 {
		t.Errorf("%d hashes were computed", n)
	}
	c.wait = time.Millisecond
	if _, err := c.Match(t.Context(), "correct horse", hashes); !errors.Is(err, ErrBusy) {
		t.Errorf("after its time: %v, want ErrBusy", err)
	}
	<-c.slots
	if got, err := c.Match(t.Context(), "correct horse", hashes); got != 0 || err != nil {
		t.Errorf("afterwards: %d, %v", got, err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for password, want := range map[string]troy.ErrorKind{
		"correct horse": "", "eight888": "", "äöüßäöüß": "",
		"short": troy.Invalid, "": troy.Invalid, "with\ttab in it": troy.Invalid, "with\nline end": troy.Invalid, "not utf-8 \xff\xfe": troy.Invalid,
		strings.Repeat("x", MaxBytes+1): troy.TooLarge, strings.Repeat("x", MaxBytes): "",
	} {
		err := Check(password)
		if (err == nil) != (want == "") || err != nil && troy.KindOf(err) != want {
			t.Errorf("Check(%.20q): %v, want %q", password, err, want)
		}
		if err != nil && len(password) > 3 && strings.Contains(err.Error(), password) {
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, phc string) {
		if h, err := Parse(phc); err == nil && (h.memory > 4*memoryKiB || h.passes > 4*passes || h.threads > 4 || len(h.hash) > 64) {
			t.Errorf("%q is too expensive: %+v", phc, h)
		}
	})
}
