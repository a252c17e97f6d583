package localcloud

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// distribution is the file of a distribution: the edge's part and the CDN's.
type distribution struct {
	site.DistributionFile
	Reference string `json:"reference"`
	ETag      string `json:"etag"`
	// DeployedAt is when the last change is effective everywhere. The file has
	// it, so that the change completes while no process runs.
	DeployedAt time.Time `json:"deployed_at"`
	// Custom lists the custom hosts whose records may exist. It is written
	// before their records, so that Delete finds them all.
	Custom []string `json:"custom,omitempty"`
}

// claim names the distribution that serves a host. A claim whose distribution
// does not exist is left from a crash and is ignored.
type claim struct {
	Distribution string `json:"distribution"`
}

type cdn struct {
	state
	delay time.Duration
}

// distributionID derives from the reference, so that Find reads one file
// however many distributions there are.
func distributionID(reference string) string {
	sum := sha256.Sum256([]byte("troy distribution\x00" + reference))
	return "d" + hex.EncodeToString(sum[:10])
}

// validID keeps an invalid id from naming a file.
func validID(id string) bool {
	return len(id) == 21 && id[0] == 'd' && strings.Trim(id[1:], "0123456789abcdef") == ""
}

func (c *cdn) read(id string) (distribution, error) {
	if !validID(id) {
		return distribution{}, cloud.ErrNotFound
	}
	d, err := site.ReadState[distribution](c.layout.Distribution(id))
	if errors.Is(err, fs.ErrNotExist) {
		err = cloud.ErrNotFound
	}
	return d, err
}

func (c *cdn) changed(d distribution) distribution {
	d.ETag = uuid.NewString()
	d.DeployedAt = time.Now().Add(c.delay)
	return d
}

func (d distribution) public() cloud.Distribution {
	return cloud.Distribution{
		ID: d.ID, Domain: d.Domain, ETag: d.ETag,
		Enabled: d.Enabled, Deployed: !time.Now().Before(d.DeployedAt),
	}
}

func (c *cdn) Create(ctx context.Context, reference, host string) (cloud.Distribution, error) {
	d, err := c.create(ctx, reference, host)
	if err != nil {
		return cloud.Distribution{}, fmt.Errorf("create distribution %s for %s: %w", reference, host, err)
	}
	return d.public(), nil
}

func (c *cdn) create(ctx context.Context, reference, host string) (distribution, error) {
	if reference == "" {
		return distribution{}, troy.Errorf(troy.Invalid, "the reference is empty")
	}
	host, err := site.NormalizeHost(host)
	if err != nil {
		return distribution{}, err
	}
	id := distributionID(reference)
	release, err := c.lockBoth(ctx, host, id)
	if err != nil {
		return distribution{}, err
	}
	defer release()

	if _, err := c.read(id); err == nil {
		return distribution{}, cloud.ErrExists
	} else if !errors.Is(err, cloud.ErrNotFound) {
		return distribution{}, err
	}
	if err := c.checkHost(host); err != nil {
		return distribution{}, err
	}
	if err := files.WriteJSON(c.Temp(), c.claim(host), claim{id}); err != nil {
		return distribution{}, err
	}
	d := c.changed(distribution{
		DistributionFile: site.DistributionFile{ID: id, Domain: site.DistributionDomain(id), Host: host, Enabled: true},
		Reference:        reference,
	})
	return d, c.write(c.layout.Distribution(id), d)
}

func (c *cdn) checkHost(host string) error {
	held, err := c.holder(host)
	if err == nil && held != "" {
		err = troy.Errorf(troy.Conflict, "another distribution serves %s", host)
	}
	if err != nil {
		return err
	}
	return c.checkCustom(host, "")
}

// holder returns the id of the distribution whose own host this is, or "".
func (c *cdn) holder(host string) (id string, err error) {
	held, err := site.ReadState[claim](c.claim(host))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch other, err := c.read(held.Distribution); {
	case errors.Is(err, cloud.ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	case other.Host == host:
		return other.ID, nil
	}
	return "", nil
}

func (c *cdn) claim(host string) string { return c.Path("hosts", host+".json") }

// lockBoth takes the host's lock before the distribution's, the order in every
// function that needs both.
func (c *cdn) lockBoth(ctx context.Context, host, id string) (release func(), err error) {
	releaseHost, err := c.Lock(ctx, "host", host)
	if err != nil {
		return nil, err
	}
	releaseID, err := c.Lock(ctx, "distribution", id)
	if err != nil {
		releaseHost()
		return nil, err
	}
	return func() { releaseID(); releaseHost() }, nil
}

func (c *cdn) Find(ctx context.Context, reference string) (cloud.Distribution, error) {
	d, err := c.get(ctx, distributionID(reference))
	if err != nil {
		return cloud.Distribution{}, fmt.Errorf("find distribution %s: %w", reference, err)
	}
	return d.public(), nil
}

func (c *cdn) Get(ctx context.Context, id string) (cloud.Distribution, error) {
	d, err := c.get(ctx, id)
	if err != nil {
		return cloud.Distribution{}, fmt.Errorf("get distribution %s: %w", id, err)
	}
	return d.public(), nil
}

func (c *cdn) get(ctx context.Context, id string) (distribution, error) {
	if err := ctx.Err(); err != nil {
		return distribution{}, err
	}
	return c.read(id)
}

func (c *cdn) Disable(ctx context.Context, id, etag string) error {
	if err := c.disable(ctx, id, etag); err != nil {
		return fmt.Errorf("disable distribution %s: %w", id, err)
	}
	return nil
}

func (c *cdn) disable(ctx context.Context, id, etag string) error {
	release, err := c.Lock(ctx, "distribution", id)
	if err != nil {
		return err
	}
	defer release()
	d, err := c.read(id)
	switch {
	case err != nil:
		return err
	case d.ETag != etag:
		return cloud.ErrPrecondition
	case !d.Enabled:
		return nil
	}
	d.Enabled = false
	return c.write(c.layout.Distribution(id), c.changed(d))
}

func (c *cdn) Delete(ctx context.Context, id, etag string) error {
	if err := c.delete(ctx, id, etag); err != nil {
		return fmt.Errorf("delete distribution %s: %w", id, err)
	}
	return nil
}

func (c *cdn) delete(ctx context.Context, id, etag string) error {
	// The host of a distribution never changes, so it may be read unlocked.
	d, err := c.get(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := c.lockBoth(ctx, d.Host, id)
	if err != nil {
		return err
	}
	defer release()
	d, err = c.read(id)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return nil
	case err != nil:
		return err
	case d.ETag != etag:
		return cloud.ErrPrecondition
	case d.Enabled || !d.public().Deployed:
		return cloud.ErrNotDisabled
	}
	for _, host := range d.Custom {
		if err := c.removeCustom(ctx, d, host); err != nil {
			return err
		}
	}
	// The distribution goes last: until then, a second Delete finds what a
	// crash left.
	if err := c.remove(c.layout.Pointer(id)); err != nil {
		return err
	}
	if err := c.removePreviews(id); err != nil {
		return err
	}
	if held, err := site.ReadState[claim](c.claim(d.Host)); err == nil && held.Distribution == id {
		if err := files.Remove(c.claim(d.Host)); err != nil {
			return err
		}
	}
	return c.remove(c.layout.Distribution(id))
}

// Protect implements cloud.Protector. It does not change the ETag, as Flip does
// not: neither needs the CDN's delay.
func (c *cdn) Protect(ctx context.Context, id string, p site.Protection) error {
	if err := c.protect(ctx, id, p); err != nil {
		return fmt.Errorf("protect distribution %s: %w", id, err)
	}
	return nil
}

func (c *cdn) protect(ctx context.Context, id string, p site.Protection) error {
	raw, err := site.EncodeProtection(p)
	if err != nil {
		return err
	}
	release, err := c.Lock(ctx, "distribution", id)
	if err != nil {
		return err
	}
	defer release()
	d, err := c.read(id)
	if err != nil {
		return err
	}
	// What can't be read can't be ordered. The edge serves nothing meanwhile, so
	// p repairs it.
	if inForce, err := site.DecodeProtection(d.Protection); err == nil && d.Protection != nil {
		switch {
		case inForce.Equal(p):
			// An earlier call may have been interrupted between its rename and
			// the sync of the folder, or before the edges were told.
			return cmp.Or(files.SyncFolder(c.Path("distributions")), generation.Bump(c.layout.Generation()))
		case inForce.Sequence >= p.Sequence:
			return &cloud.StaleProtectionError{InForce: inForce.Sequence}
		}
	}
	d.Protection = raw
	if err := c.write(c.layout.Distribution(id), d); err != nil {
		return err
	}
	// Edges that are not told would serve without the protection for a second.
	return generation.Bump(c.layout.Generation())
}

func (c *cdn) Flip(ctx context.Context, id string, p site.Pointer) error {
	if err := c.flip(ctx, id, p); err != nil {
		return fmt.Errorf("flip distribution %s to deployment %s: %w", id, p.Deployment, err)
	}
	return nil
}

func (c *cdn) flip(ctx context.Context, id string, p site.Pointer) error {
	release, err := c.Lock(ctx, "distribution", id)
	if err != nil {
		return err
	}
	defer release()
	if _, err := c.read(id); err != nil {
		return err
	}
	inForce, err := site.ReadPointer(c.layout.Pointer(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case inForce == p:
		// An earlier flip may have been interrupted between its rename and the
		// sync of the folder.
		c.bump()
		return files.SyncFolder(c.Path("pointers"))
	case inForce.Sequence >= p.Sequence:
		return &cloud.StalePointerError{InForce: inForce.Sequence}
	}
	data, err := site.EncodePointer(p)
	if err != nil {
		return err
	}
	return c.replace(c.layout.Pointer(id), data)
}
