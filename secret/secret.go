// Package secret protects secrets. It encrypts ("seals") values before they are
// stored, such as pipelines' secrets and installations' credentials, with the
// operator's key, and removes secrets from logs. Web and workers call it. Rows
// hold sealed values; only the process that needs a plain value opens it.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrUnknownKey means that a value was sealed with a key that is not
// configured: an old key was removed too early.
var ErrUnknownKey = errors.New("sealed with a key that is not configured")

// ErrAltered means that a value was not sealed for this subject: it was
// truncated, changed, or taken from another row.
var ErrAltered = errors.New("not sealed for this subject, or altered")

// KeyBytes is the length of a key in bytes.
const KeyBytes = 32

// MaxSealed is the maximum length of a value that Seal accepts, in bytes.
const MaxSealed = 1 << 20

// A sealed value is the format's version, the key's id, the nonce, and the
// ciphertext with its tag.
const (
	version    = 1
	keyIDBytes = 4
	header     = 1 + keyIDBytes
)

// Subject identifies the owner of a value. A sealed value opens only for the
// subject that it was sealed for, so it is useless in another row.
type Subject struct {
	Kind string // the table or the kind: "variable"
	ID   string // the owner: a pipeline's id
	Name string // the value's name: "NPM_TOKEN"
}

// additional encodes the subject as additional authenticated data. Each part is
// preceded by its length, so different subjects have different encodings.
func (s Subject) additional(head []byte) []byte {
	out := append([]byte(nil), head...)
	for _, part := range []string{s.Kind, s.ID, s.Name} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

type key struct {
	id   [keyIDBytes]byte
	aead cipher.AEAD
}

// Sealer seals and opens values. It is safe for concurrent use.
type Sealer struct {
	keys []key // the newest first
}

// New returns a Sealer for the keys in a setting such as TROY_SECRET_KEY: one
// or several, separated by commas or white space, each 32 bytes in base64 or
// hexadecimal. The first key seals; all of them open. To rotate a key, put a
// new one first and seal again the values that are Stale. Errors give a key's
// position and never its value.
func New(setting string) (*Sealer, error) {
	fields := strings.FieldsFunc(setting, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' })
	if len(fields) == 0 {
		return nil, errors.New("no key is set")
	}
	s := &Sealer{}
	for i, field := range fields {
		raw, err := parseKey(field)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(fields), err)
		}
		k, err := newKey(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(fields), err)
		}
		for j, other := range s.keys {
			if other.id == k.id {
				return nil, fmt.Errorf("key %d of %d is the same as key %d", i+1, len(fields), j+1)
			}
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// NewKey returns a random key in the form that New accepts.
func NewKey() string {
	raw := make([]byte, KeyBytes)
	rand.Read(raw) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(raw)
}

func parseKey(text string) ([]byte, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != KeyBytes {
		bare := strings.TrimRight(text, "=")
		raw, err = base64.RawStdEncoding.DecodeString(bare)
		if err != nil {
			raw, err = base64.RawURLEncoding.DecodeString(bare)
		}
	}
	if err != nil || len(raw) != KeyBytes {
		return nil, fmt.Errorf("expected %d bytes in base64 or hexadecimal; make a key with `openssl rand -base64 %d`", KeyBytes, KeyBytes)
	}
	if strings.Count(string(raw), string(raw[:1])) == len(raw) {
		return nil, errors.New("all of its bytes are the same; make a random key")
	}
	return raw, nil
}

// newKey derives the sealing key and the key's id from the operator's key (RFC
// 5869), so that the id in sealed values reveals nothing about the key.
func newKey(raw []byte) (key, error) {
	var k key
	sealing, err := hkdf.Key(sha256.New, raw, nil, "troy seal 1", KeyBytes)
	if err != nil {
		return k, err
	}
	id, err := hkdf.Key(sha256.New, raw, nil, "troy key id 1", keyIDBytes)
	if err != nil {
		return k, err
	}
	copy(k.id[:], id)
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return k, err
	}
	// Random nonces of 96 bits are safe for 2³² values under one key
	// (NIST SP 800-38D §8.3); Troy seals thousands.
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// Seal encrypts a value for a subject with the newest key. Equal values have
// different encryptions.
func (s *Sealer) Seal(value []byte, of Subject) ([]byte, error) {
	if len(value) > MaxSealed {
		return nil, fmt.Errorf("seal %s %s %s: %d bytes; expected at most %d", of.Kind, of.ID, of.Name, len(value), MaxSealed)
	}
	k := s.keys[0]
	out := make([]byte, header, header+len(value)+k.aead.Overhead())
	out[0] = version
	copy(out[1:], k.id[:])
	return k.aead.Seal(out, nil, value, of.additional(out)), nil //nolint:gosec // the AEAD draws its own nonce and takes none
}

// Open decrypts a value that Seal encrypted for the same subject. It returns
// ErrUnknownKey if the key is not configured, and ErrAltered if the value is
// anything else.
func (s *Sealer) Open(sealed []byte, of Subject) ([]byte, error) {
	if len(sealed) < header || sealed[0] != version {
		return nil, fmt.Errorf("open %s %s %s: %w", of.Kind, of.ID, of.Name, ErrAltered)
	}
	for _, k := range s.keys {
		if string(k.id[:]) != string(sealed[1:header]) {
			continue
		}
		value, err := k.aead.Open(nil, nil, sealed[header:], of.additional(sealed[:header]))
		if err != nil {
			return nil, fmt.Errorf("open %s %s %s: %w", of.Kind, of.ID, of.Name, ErrAltered)
		}
		return value, nil
	}
	return nil, fmt.Errorf("open %s %s %s: %w", of.Kind, of.ID, of.Name, ErrUnknownKey)
}

// Stale reports whether a value was sealed with an older key than the newest.
// Open it and seal it again before you remove the old key.
func (s *Sealer) Stale(sealed []byte) bool {
	return len(sealed) < header || string(s.keys[0].id[:]) != string(sealed[1:header])
}

// Variable returns the subject of a value of a pipeline's variable. context is
// empty for the value that is sealed for no context.
func Variable(pipeline fmt.Stringer, name, context string) Subject {
	if context == "" {
		return Subject{Kind: "variable", ID: pipeline.String(), Name: name}
	}
	return Subject{Kind: "variable_in_context", ID: pipeline.String(), Name: name + "@" + context}
}
