// Package site defines a published site: the manifest of its files, the rules
// for their paths, the conversion of a folder or an archive to a manifest, the
// pointer to the live deployment, and the location of all of these on a
// machine's disk. The store, the edge and the CLI use it. It uses no network
// and no database.
package site

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Digest is the SHA-256 of a file's bytes. Its text form is 64 lower-case
// hexadecimal digits.
type Digest [32]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText returns the digest in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses 64 lower-case hexadecimal digits.
func (d *Digest) UnmarshalText(text []byte) error {
	v, err := ParseDigest(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// ParseDigest parses 64 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	var text [2 * len(d)]byte
	if len(s) != len(text) {
		return d, fmt.Errorf("the SHA-256 has %d characters; expected 64 hexadecimal digits", len(s))
	}
	copy(text[:], s)
	_, err := hex.Decode(d[:], text[:])
	// It is faster to compare the digits than to look at each.
	if hex.Encode(text[:], d[:]); err == nil && string(text[:]) == s {
		return d, nil
	}
	return Digest{}, fmt.Errorf("the SHA-256 contains %q; expected the digits 0-9 and a-f", strings.TrimLeft(s, "0123456789abcdef")[0])
}

// File is one file of a site.
type File struct {
	// Path is relative, slash-separated and clean: "assets/app.js".
	Path   string `json:"path"`
	SHA256 Digest `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// Manifest lists the files of one deployment, sorted by path.
type Manifest struct {
	Files []File `json:"files"`
	// Carried are hashed assets of earlier deployments that stay reachable for
	// a while after the site left them out. No path is in both lists.
	Carried []Carried `json:"carried,omitempty"`
	// TrailingSlash is the policy for page addresses. It belongs to the tree,
	// so a rollback restores it too.
	TrailingSlash TrailingSlash `json:"trailing_slash,omitempty"`
	// Rules are the compiled rules of the site (package site/rules), as JSON.
	// They too belong to the tree. Nil means that it has none.
	Rules []byte `json:"rules,omitempty"`

	list *list // what is known of Files; may be of others
}

// Carried is a hashed asset of an earlier deployment.
type Carried struct {
	File
	// Until is the end of its time, in Unix seconds.
	Until int64 `json:"until"`
}

// Tree identifies the files of one deployment of one pipeline.
type Tree struct {
	Pipeline   uuid.UUID
	Deployment uuid.UUID
}

// Pointer identifies the live tree of a pipeline. A zero Deployment means that
// nothing is live.
type Pointer struct {
	// Sequence orders the flips of a pipeline. A pointer never replaces one
	// with a higher sequence.
	Sequence   int64     `json:"sequence"`
	Pipeline   uuid.UUID `json:"pipeline"`
	Deployment uuid.UUID `json:"deployment"`
}
