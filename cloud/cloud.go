// Package cloud holds the ports to what serves sites: the store of their
// files, the CDN and the DNS. Workers act through them, web through Store
// alone. The adapters are awscloud and localcloud; both pass cloudtest.
//
// Every call may fail before or after its effect, so every call may be
// repeated: doing again what is done already is not an error, unless the call
// says so. Calls honour their context. An error that repeating will not mend
// is a *troy.Error of kind Invalid, Conflict, NotFound or Moved; any other
// error may pass by itself.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// ErrNotFound is returned, wrapped or not, when the thing asked for does not
// exist.
var ErrNotFound = errors.New("not found")

// ErrExists is returned by CDN.Create when the reference was used before. The
// distribution is then found with CDN.Find.
var ErrExists = errors.New("already exists")

// ErrPrecondition is returned when a distribution changed after the ETag was
// read: read it again and retry.
var ErrPrecondition = errors.New("changed meanwhile")

// ErrNotDisabled is returned by CDN.Delete while the distribution is enabled
// or its disabling is still in progress.
var ErrNotDisabled = errors.New("not disabled yet")

// ErrStalePointer is returned by CDN.Flip when the pointer in force has a
// higher sequence. The pointer stays as it is.
var ErrStalePointer = errors.New("a later deployment is live")

// StalePointerError is the ErrStalePointer that tells which sequence is in
// force.
type StalePointerError struct{ InForce int64 }

func (e *StalePointerError) Error() string { return ErrStalePointer.Error() }

// Is makes it an ErrStalePointer.
func (e *StalePointerError) Is(target error) bool { return target == ErrStalePointer }

// DigestError says that the bytes of an upload are not those declared.
type DigestError struct {
	Declared, Got         site.Digest
	DeclaredSize, GotSize int64
}

func (e *DigestError) Error() string {
	if e.DeclaredSize != e.GotSize {
		return fmt.Sprintf("the upload has %d bytes, declared were %d", e.GotSize, e.DeclaredSize)
	}
	return fmt.Sprintf("the upload's SHA-256 is %s, declared was %s", e.Got, e.Declared)
}

// MissingError says which files of a tree have not been uploaded.
type MissingError struct{ Files []site.File }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d files have not been uploaded, the first is %s", len(e.Files), e.Files[0].Path)
}

// Store holds the trees of deployments. What one pipeline has stored is never
// used for, or told to, another.
type Store interface {
	// Begin declares a tree and reports which of its files have to be sent:
	// those whose bytes the pipeline has neither in this tree nor in another
	// one, one file for each digest. Declaring a tree again with the same
	// files continues it, with the trailing slash policy that it was declared
	// with first; with other files it is ErrExists.
	Begin(ctx context.Context, t site.Tree, m site.Manifest) (missing []site.File, err error)

	// Put stores one declared file. It reads at most f.Size+1 bytes and
	// returns *DigestError when they are not f's; then nothing is kept.
	// A tree that was not declared is ErrNotFound.
	Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error

	// Seal makes a declared tree whole, durable and ready to be served:
	// it takes over from other trees of the pipeline what was not sent, and
	// fails with *MissingError when something is nowhere. carried replaces the
	// tree's list of assets carried from earlier deployments; those that are
	// nowhere, or whose path the tree has itself, are left out. A sealed tree
	// may be sealed again.
	Seal(ctx context.Context, t site.Tree, carried []site.Carried) error

	// Manifest returns a tree's manifest, ErrNotFound if it was not declared.
	Manifest(ctx context.Context, t site.Tree) (site.Manifest, error)

	// Remove deletes trees of a pipeline, and the bytes that no other tree of
	// it needs. Trees that are not there are no error.
	Remove(ctx context.Context, pipeline uuid.UUID, deployments ...uuid.UUID) error

	// RemoveAll deletes everything of a pipeline and reports how many files
	// (objects, on AWS) it removed; 0 means that nothing was left.
	RemoveAll(ctx context.Context, pipeline uuid.UUID) (int, error)
}

// Signer is a Store that can be sent files without Troy in between.
type Signer interface {
	// Sign returns, for each of a declared tree's files, a request that anybody
	// may make until it expires, and that stores that file and no other bytes.
	// The store refuses it (412) when the file is there already.
	Sign(ctx context.Context, t site.Tree, files []site.File) (requests []SignedPut, expires time.Time, err error)
}

// SignedPut is a PUT that carries its permission in its URL.
type SignedPut struct {
	URL string
	// Header has to be sent as it is, beside Content-Length.
	Header http.Header
}

// Distribution is what a CDN serves a site's hosts with.
type Distribution struct {
	ID     string
	Domain string // the CDN's own name for it, the alias record's target
	ETag   string // guards Disable and Delete
	// Enabled is the wanted state; Deployed says that it has been reached
	// everywhere. A fresh or changed distribution is not Deployed for minutes.
	Enabled, Deployed bool
}

// CDN makes distributions and points them at trees.
type CDN interface {
	// Create makes an enabled distribution for the host. The reference
	// derives from the pipeline; used a second time it is ErrExists.
	// A host that another distribution serves is a *troy.Error of kind
	// Conflict.
	Create(ctx context.Context, reference string, host string) (Distribution, error)
	// Find returns the distribution that was created with the reference, or
	// ErrNotFound. It finds what a Create made whose answer was lost.
	Find(ctx context.Context, reference string) (Distribution, error)
	// Get returns a distribution's present state, or ErrNotFound.
	Get(ctx context.Context, id string) (Distribution, error)
	// Disable stops a distribution from serving, guarded by the ETag:
	// ErrPrecondition when it changed. Poll Get until !Enabled and Deployed.
	Disable(ctx context.Context, id, etag string) error
	// Delete removes a disabled distribution and its pointer. ErrNotDisabled
	// and ErrPrecondition ask for a later try; one that is gone is not an error.
	Delete(ctx context.Context, id, etag string) error
	// Flip makes p the distribution's pointer and refreshes what the CDN
	// holds, unless the one in force has a higher sequence, or the same and
	// another tree: *StalePointerError. A pointer that differs from the one in
	// force in its sequence alone says that the tree was sealed again: the CDN
	// forgets what it holds of it.
	// When it returns nil, new requests are answered from p's tree (on a CDN
	// within seconds).
	Flip(ctx context.Context, id string, p site.Pointer) error
}

// DNS keeps the records of hosts.
type DNS interface {
	// Lookup returns the target of a host's alias record, or ErrNotFound.
	Lookup(ctx context.Context, host string) (target string, err error)
	// Upsert makes the host an alias of target. A record that points at target
	// is Troy's own, from a call whose answer was lost, and no error. Any other
	// record of the host is not: it stays as it is, and Upsert returns a
	// *troy.Error of kind Conflict that names it.
	Upsert(ctx context.Context, host, target string) error
	// Delete removes the host's record if it points at target. One that is
	// absent, or points elsewhere, is not an error.
	Delete(ctx context.Context, host, target string) error
}

// Cloud is the three ports together, as one adapter provides them.
type Cloud struct {
	Store Store
	CDN   CDN
	DNS   DNS
	// PropagationDelay is how long to wait between two looks at a
	// distribution that is being changed.
	PropagationDelay time.Duration
}
