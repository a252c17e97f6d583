// Package password hashes the passwords of protected sites with argon2id, and
// checks what visitors type with bounded memory and attempts. Web hashes. The
// edge checks; for sites on CloudFront, web does.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/troy-iaas/troy"
)

// PageTemplate is the html/template of the page on which visitors type the
// password: Title, Text, and Failed if the text says what was wrong. The form
// posts to the page's own address.
//
//go:embed page.html
var PageTemplate string

// Bounds of a password.
const (
	MinCharacters = 8
	MaxBytes      = 256
)

// The cost of a hash: OWASP's first choice for argon2id. It takes about 30 ms of
// one core.
const (
	memoryKiB = 19 << 10
	passes    = 2
	threads   = 1
	saltBytes = 16
	hashBytes = 32
)

// Check returns an Invalid or TooLarge error if a password is too short, too
// long or not typable. The error does not contain the password.
func Check(password string) error {
	switch {
	case len(password) > MaxBytes:
		return troy.Errorf(troy.TooLarge, "the password has %d bytes; expected at most %d", len(password), MaxBytes)
	case !utf8.ValidString(password):
		return troy.Errorf(troy.Invalid, "the password is not valid UTF-8")
	case strings.ContainsFunc(password, unicode.IsControl):
		return troy.Errorf(troy.Invalid, "the password contains a control character, such as a tab or a line end, which people can't type into a form")
	case utf8.RuneCountInString(password) < MinCharacters:
		return troy.Errorf(troy.Invalid, "the password has %d characters; expected at least %d", utf8.RuneCountInString(password), MinCharacters)
	}
	return nil
}

// NewSalt returns a random salt.
func NewSalt() []byte {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails (crypto/rand)
	return salt
}

// Hash returns the argon2id hash of a password in the PHC string format. The
// passwords of one site share a salt, so that checking a password against all
// of them costs one hash.
func Hash(password string, salt []byte) string {
	h := Hashed{memory: memoryKiB, passes: passes, threads: threads, salt: string(salt)}
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(h.sum(password, hashBytes)))
}

// Hashed is a parsed hash.
type Hashed struct {
	memory, passes uint32
	threads        uint8
	salt           string
	hash           []byte
}

// Parse parses a hash. It accepts costs up to four times those of Hash, so that
// no stored hash makes a server run out of memory. Its error does not contain
// the hash.
func Parse(phc string) (Hashed, error) {
	var h Hashed
	invalid := errors.New("not an argon2id hash in the PHC string format, or too expensive")
	parts := strings.Split(phc, "$")
	if len(phc) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, invalid
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.threads); err != nil || n != 3 ||
		parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.passes, h.threads) {
		return h, invalid
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return h, invalid
	}
	h.salt = string(salt)
	if h.hash, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(h.hash) < 16 || len(h.hash) > 64 {
		return h, invalid
	}
	if h.memory < 8 || h.memory > 4*memoryKiB || h.passes < 1 || h.passes > 4*passes || h.threads < 1 || h.threads > 4 {
		return h, invalid
	}
	return h, nil
}

// sum hashes a password with h's parameters. Keyboards differ in how they
// compose an accented letter, so it hashes the composed form (RFC 8265 §4.2).
func (h Hashed) sum(password string, length int) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), []byte(h.salt), h.passes, h.memory, h.threads, uint32(length))
}

// cost is what hashes have in common that one computation can serve.
type cost struct {
	memory, passes uint32
	threads        uint8
	salt           string
	length         int
}

// ErrBusy means that too many passwords are being checked.
var ErrBusy = errors.New("too many passwords are being checked")

// Checker checks passwords. It bounds how many hashes are computed at a time,
// and with it the memory, and how many callers wait. It is safe for concurrent
// use.
type Checker struct {
	slots   chan struct{}
	wait    time.Duration
	waiting atomic.Int64
	most    int64
	hashes  atomic.Int64 // computed so far
}

// NewChecker returns a Checker that computes up to slots hashes at a time. A
// caller waits for its turn at most for the duration of wait, with up to most
// others.
func NewChecker(slots, most int, wait time.Duration) *Checker {
	return &Checker{slots: make(chan struct{}, slots), most: int64(most), wait: wait}
}

// Hashes returns the number of hashes that were computed.
func (c *Checker) Hashes() int64 { return c.hashes.Load() }

// Match returns the index of the hash that a password has, or -1. It compares
// in constant time, and its duration does not tell which hash matched. It
// returns ErrBusy if its turn does not come, and the error of ctx.
func (c *Checker) Match(ctx context.Context, password string, hashes []Hashed) (int, error) {
	if len(password) > MaxBytes || len(hashes) == 0 {
		return -1, nil
	}
	if c.waiting.Add(1) > c.most {
		c.waiting.Add(-1)
		return -1, ErrBusy
	}
	patience := time.NewTimer(c.wait)
	defer patience.Stop()
	select {
	case c.slots <- struct{}{}:
		c.waiting.Add(-1)
		defer func() { <-c.slots }()
	case <-patience.C:
		c.waiting.Add(-1)
		return -1, ErrBusy
	case <-ctx.Done():
		c.waiting.Add(-1)
		return -1, context.Cause(ctx)
	}
	found := -1
	sums := map[cost][]byte{}
	for i, h := range hashes {
		k := cost{h.memory, h.passes, h.threads, h.salt, len(h.hash)}
		sum, ok := sums[k]
		if !ok {
			c.hashes.Add(1)
			sum = h.sum(password, len(h.hash))
			sums[k] = sum
		}
		// The first of two equal passwords counts, whatever its place.
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum, h.hash)&isNone(found), i, found)
	}
	return found, nil
}

func isNone(found int) int { return subtle.ConstantTimeEq(int32(found), -1) }
