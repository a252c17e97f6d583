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

// Protection says who may see a site. With networks, a visitor's address must be
// in one of them; with passwords, the visitor must know one of them. With
// neither, everyone may see the site.
type Protection struct {
	// Sequence orders the protections of a site. A protection never replaces one
	// with a higher sequence.
	Sequence  int64
	Passwords []Password
	Networks  []netip.Prefix
}

// Password is a password of a protected site.
type Password struct {
	// ID is new with each change of the password. It is not secret.
	ID string `json:"id"`
	// Hash is the argon2id hash of the password in the PHC string format.
	Hash string `json:"hash"`
	// Key signs the cookies of those who signed in with the password.
	Key []byte `json:"key"`
}

// protectionFile is the form of a Protection in a distribution's file.
type protectionFile struct {
	Version   int            `json:"version"`
	Sequence  int64          `json:"sequence"`
	Passwords []Password     `json:"passwords,omitempty"`
	Networks  []netip.Prefix `json:"networks,omitempty"`
}

// MinKey is the minimum length of a Password's Key in bytes.
const MinKey = 32

// Public reports whether everyone may see the site.
func (p Protection) Public() bool { return len(p.Passwords) == 0 && len(p.Networks) == 0 }

// Equal reports whether p and q are the same, including their sequences.
func (p Protection) Equal(q Protection) bool {
	return p.Sequence == q.Sequence && slices.Equal(p.Networks, q.Networks) &&
		slices.EqualFunc(p.Passwords, q.Passwords, func(a, b Password) bool {
			return a.ID == b.ID && a.Hash == b.Hash && slices.Equal(a.Key, b.Key)
		})
}

// check returns an Invalid error if p exceeds its bounds or can't be enforced.
// The error contains no secret.
func (p Protection) check() error {
	switch {
	case len(p.Passwords) > MaxPasswords:
		return troy.Errorf(troy.Invalid, "it has %d passwords; expected at most %d", len(p.Passwords), MaxPasswords)
	case len(p.Networks) > MaxNetworks:
		return troy.Errorf(troy.Invalid, "it has %d networks; expected at most %d", len(p.Networks), MaxNetworks)
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
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("encode a protection: %w", err)
	}
	data, err := json.Marshal(protectionFile{protectionVersion, p.Sequence, p.Passwords, p.Networks})
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
	if f.Version != protectionVersion {
		return Protection{}, troy.Errorf(troy.Invalid, "the protection has version %d; expected %d", f.Version, protectionVersion)
	}
	p := Protection{Sequence: f.Sequence, Passwords: f.Passwords, Networks: f.Networks}
	if err := p.check(); err != nil {
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
