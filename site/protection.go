package site

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/troy-iaas/troy"
)

// Bounds of a protection.
const (
	MaxPasswords = 20
	MaxNetworks  = 100
)

// protectionVersion is the version of Protection's form. The edge refuses to
// serve a site whose protection has another one, so that a form that it does not
// know never makes a site public.
const protectionVersion = 1

// signedInVersion is the version of a form with a PreviewKey, so that an edge
// that does not know the key shows neither the previews nor the site.
const signedInVersion = 2

// Protection says who may see a site. With networks, a visitor's address must be
// in one of them; with passwords, the visitor must know one of them. With
// neither, everyone may see the site.
type Protection struct {
	// Sequence orders the protections of a site. A protection never replaces one
	// with a higher sequence.
	Sequence  int64
	Passwords []Password
	Networks  []netip.Prefix
	// PreviewsOnly means that everyone may see the site itself, and only its
	// previews are protected.
	PreviewsOnly bool
	// PreviewKey, if it is not nil, means that only people who have a session
	// of the dashboard, and programs that know a password, may see the
	// previews. It signs their codes and sessions (PreviewVisit).
	PreviewKey []byte
}

// Password is a password of a protected site.
type Password struct {
	// ID is new with each change of the password. It is not secret.
	ID string `json:"id"`
	// Hash is the argon2id hash of the password in the PHC string format.
	Hash string `json:"hash"`
	// Key signs the cookies of those who signed in with the password.
	Key []byte `json:"key"`
	// Digest is the GeneratedDigest of a generated password, only where
	// CloudFront's functions check it.
	Digest []byte `json:"digest,omitempty"`
}

// DecodePassword returns a password with this id from its JSON. The error does
// not quote the secret.
func DecodePassword(id string, data []byte) (Password, error) {
	var p Password
	if json.Unmarshal(data, &p) != nil {
		return p, troy.Errorf(troy.Invalid, "the sealed value is not valid JSON")
	}
	p.ID = id
	return p, nil
}

// protectionFile is the form of a Protection in a distribution's file.
type protectionFile struct {
	Version   int            `json:"version"`
	Sequence  int64          `json:"sequence"`
	Passwords []Password     `json:"passwords,omitempty"`
	Networks  []netip.Prefix `json:"networks,omitempty"`
	// An edge that does not know this member protects the site too.
	PreviewsOnly bool   `json:"previews_only,omitempty"`
	PreviewKey   []byte `json:"preview_key,omitempty"`
}

// MinKey is the minimum length of a Password's Key and of a PreviewKey in bytes.
const MinKey = 32

// Public reports whether everyone may see the site and its previews.
func (p Protection) Public() bool {
	return len(p.Passwords) == 0 && len(p.Networks) == 0 && p.PreviewKey == nil
}

// Equal reports whether p and q are the same, including their sequences.
func (p Protection) Equal(q Protection) bool {
	return p.Sequence == q.Sequence && p.PreviewsOnly == q.PreviewsOnly && slices.Equal(p.PreviewKey, q.PreviewKey) && slices.Equal(p.Networks, q.Networks) &&
		slices.EqualFunc(p.Passwords, q.Passwords, func(a, b Password) bool {
			return a.ID == b.ID && a.Hash == b.Hash && slices.Equal(a.Key, b.Key) && slices.Equal(a.Digest, b.Digest)
		})
}

// Check returns an Invalid error if p exceeds its bounds or can't be enforced.
// The error contains no secret.
func (p Protection) Check() error {
	switch {
	case len(p.Passwords) > MaxPasswords:
		return troy.Errorf(troy.Invalid, "it has %d passwords; expected at most %d", len(p.Passwords), MaxPasswords)
	case len(p.Networks) > MaxNetworks:
		return troy.Errorf(troy.Invalid, "it has %d networks; expected at most %d", len(p.Networks), MaxNetworks)
	case p.PreviewKey != nil && len(p.PreviewKey) < MinKey:
		return troy.Errorf(troy.Invalid, "the key of its previews is too short")
	}
	ids := map[string]bool{}
	for i, w := range p.Passwords {
		if w.ID == "" || len(w.ID) > 64 || ids[w.ID] || len(w.Key) < MinKey || w.Hash == "" || len(w.Hash) > 512 {
			return troy.Errorf(troy.Invalid, "its password %d is incomplete", i+1)
		}
		ids[w.ID] = true
	}
	for i, n := range p.Networks {
		if !n.IsValid() || n != n.Masked() || n.Addr().Is4In6() {
			return troy.Errorf(troy.Invalid, "its network %d is not valid", i+1)
		}
	}
	return nil
}

// EncodeProtection returns p in the form of a DistributionFile. It returns an
// Invalid error if p exceeds its bounds.
func EncodeProtection(p Protection) (*json.RawMessage, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("encode a protection: %w", err)
	}
	version := protectionVersion
	if p.PreviewKey != nil {
		version = signedInVersion
	}
	data, err := json.Marshal(protectionFile{version, p.Sequence, p.Passwords, p.Networks, p.PreviewsOnly, p.PreviewKey})
	if err != nil {
		return nil, fmt.Errorf("encode a protection: %w", err)
	}
	raw := json.RawMessage(data)
	return &raw, nil
}

// DecodeProtection returns the protection in a DistributionFile; without one it
// is the zero value. If it returns an error, the site must not be served. The
// error contains no secret.
func DecodeProtection(raw *json.RawMessage) (Protection, error) {
	if raw == nil {
		return Protection{}, nil
	}
	var f protectionFile
	if json.Unmarshal(*raw, &f) != nil { // the error's text could quote a secret
		return Protection{}, troy.Errorf(troy.Invalid, "the protection is malformed")
	}
	if f.Version != protectionVersion && f.Version != signedInVersion {
		return Protection{}, troy.Errorf(troy.Invalid, "the protection has version %d; expected %d or %d", f.Version, protectionVersion, signedInVersion)
	}
	if (f.Version == signedInVersion) != (f.PreviewKey != nil) {
		return Protection{}, troy.Errorf(troy.Invalid, "the protection has no key for its previews, or must not have one")
	}
	p := Protection{Sequence: f.Sequence, Passwords: f.Passwords, Networks: f.Networks, PreviewsOnly: f.PreviewsOnly, PreviewKey: f.PreviewKey}
	if err := p.Check(); err != nil {
		return Protection{}, err
	}
	return p, nil
}

// ParseNetwork parses the address of a network, such as 203.0.113.0/24 or
// 2001:db8::/32, or a single address. It returns an Invalid error for anything
// else, for a network with bits set outside its prefix, and for one that
// contains every address.
func ParseNetwork(text string) (netip.Prefix, error) {
	invalid := func(format string, args ...any) (netip.Prefix, error) {
		return netip.Prefix{}, troy.Errorf(troy.Invalid, "%q "+format, append([]any{troy.Clip(text)}, args...)...)
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return invalid("is not an address or a network; expected one such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case prefix.Addr().Is4In6():
		return invalid("is an IPv4 network written as IPv6; expected one such as 203.0.113.0/24")
	case prefix.Bits() == 0:
		return invalid("contains every address, so it would protect nothing")
	case prefix != prefix.Masked():
		return invalid("has bits set after its prefix; expected %s", prefix.Masked())
	}
	return prefix, nil
}
