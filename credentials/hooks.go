package credentials

import (
	"crypto/rand"
	"encoding/base64"
	"regexp"
)

// The secret of a deploy hook is 256 random bits after a prefix that secret
// scanners recognise. HookSecrets matches all that begin like one, so that logs
// can hide them.
var (
	hookForm    = regexp.MustCompile(`^troyhook_[A-Za-z0-9_-]{43}$`)
	HookSecrets = regexp.MustCompile(`(?i)troyhook_[^/]*`)
)

// NewHook generates the secret of a deploy hook, and what is stored of it.
func NewHook() (text string, stored []byte, err error) {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", nil, err
	}
	text = "troyhook_" + base64.RawURLEncoding.EncodeToString(random[:])
	return text, hash(text), nil
}

// HookHash returns what is stored of a secret. ok is false if the text can't be
// the secret of a deploy hook.
func HookHash(text string) (stored []byte, ok bool) {
	if !hookForm.MatchString(text) {
		return nil, false
	}
	return hash(text), true
}
