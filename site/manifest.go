// Package site says what a published site is: the manifest of its files, the
// rules for their paths, how a folder or an archive becomes a manifest, the
// pointer that says which deployment is live, and where on one machine's disk
// all of it lies. The store, the edge and the CLI share it; it talks to no
// network and no database.
package site

import (
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
)

// Digest is the SHA-256 of a file's bytes; in JSON and in names, 64
// lower-case hexadecimal digits.
type Digest [32]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText writes the digest as hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 lower-case hexadecimal digits.
func (d *Digest) UnmarshalText(text []byte) error {
	v, err := ParseDigest(string(text))
	if err == nil {
		*d = v
	}
	return err
}

// ParseDigest reads 64 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("a SHA-256 has 64 hexadecimal digits, not %d", len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return d, fmt.Errorf("a SHA-256 is written in the digits 0-9 and a-f, not %q", c)
		}
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err
}

// File is one file of a site.
type File struct {
	// Path is relative, slash-separated and clean: "assets/app.js".
	Path   string `json:"path"`
	SHA256 Digest `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// Manifest is the files of one deployment, sorted by path.
type Manifest struct {
	Files []File `json:"files"`
	// Carried are hashed assets of earlier deployments that stay reachable
	// for a while after they left the site. No path stands in both lists.
	Carried []Carried `json:"carried,omitempty"`
	// TrailingSlash decides on the addresses of the tree's pages. It belongs to
	// the tree, so that a rollback brings it back too.
	TrailingSlash TrailingSlash `json:"trailing_slash,omitempty"`
}

// Carried is a hashed asset of an earlier deployment.
type Carried struct {
	File
	// Until is when it need not be reachable any more, in Unix seconds.
	Until int64 `json:"until"`
}

// Tree names the files of one deployment of one pipeline.
type Tree struct {
	Pipeline   uuid.UUID
	Deployment uuid.UUID
}

// Pointer says which tree of a pipeline is live. The zero Deployment means
// that none is.
type Pointer struct {
	// Sequence orders the flips of one pipeline: a pointer never gives way to
	// one with a lower sequence.
	Sequence   int64     `json:"sequence"`
	Pipeline   uuid.UUID `json:"pipeline"`
	Deployment uuid.UUID `json:"deployment"`
}
