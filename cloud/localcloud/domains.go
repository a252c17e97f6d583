package localcloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// maxCustom is the maximum number of a distribution's custom hosts. Their names
// are in the distribution's file, whose size is limited.
const maxCustom = 200

// fullDisk is the number of free bytes below which files can't be written for
// sure.
const fullDisk = 16 << 10

// domains keeps each custom host as a record that the edge reads.
type domains struct {
	*cdn
	addresses    []netip.Addr
	certificates bool
}

func (d *domains) Target(ctx context.Context, id string) (string, []netip.Addr, error) {
	of, err := d.get(ctx, id)
	if err != nil {
		return "", nil, fmt.Errorf("find the target of distribution %s: %w", id, err)
	}
	return of.Host, slices.Clone(d.addresses), nil
}

func (d *domains) Attach(ctx context.Context, id string, h cloud.CustomHost) error {
	if err := d.attach(ctx, id, h); err != nil {
		return fmt.Errorf("attach %s to distribution %s: %w", troy.Clip(h.Host), id, err)
	}
	return nil
}

func (d *domains) attach(ctx context.Context, id string, h cloud.CustomHost) error {
	host, err := cloud.NormalizeCustom(h.Host)
	if err != nil {
		return err
	}
	redirect := h.Redirect
	if redirect != "" {
		if redirect, err = site.NormalizeHost(redirect); err != nil {
			return err
		}
	}
	release, err := d.lockBoth(ctx, host, id)
	if err != nil {
		return err
	}
	defer release()
	of, err := d.read(id)
	if err != nil {
		return err
	}
	if holder, err := d.holder(host); err != nil || holder != "" {
		return cmp.Or[error](err, troy.Errorf(troy.Conflict, "%s is the own host of a distribution", host))
	}
	if err := d.checkCustom(host, id); err != nil {
		return err
	}
	if !slices.Contains(of.Custom, host) {
		if len(of.Custom) >= maxCustom {
			return troy.Errorf(troy.Conflict, "the distribution has %d custom hosts, which is the maximum", len(of.Custom))
		}
		of.Custom = append(of.Custom, host)
		if err := d.write(d.layout.Distribution(id), of); err != nil {
			return err
		}
	}
	releaseRecord, err := d.Lock(ctx, "record", host)
	if err != nil {
		return err
	}
	defer releaseRecord()
	record := site.Record{Host: host, Target: of.Domain, Custom: true, Redirect: redirect}
	switch before, err := site.ReadRecord(d.layout.Record(host)); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case before == record && h.Again:
		// The edge repeats a failed attempt for a record that is newer.
	case before == record:
		// An earlier call may have been interrupted between its rename and the
		// sync of the folder.
		d.bump()
		return files.SyncFolder(d.Path("records"))
	case !before.Custom:
		return troy.Errorf(troy.Conflict, "%s has an alias record to %s", host, before.Target)
	}
	return d.write(d.layout.Record(host), record)
}

// checkCustom returns a Conflict if the host is a custom host of a distribution
// other than id. A record whose distribution does not exist is left from a crash.
func (c *cdn) checkCustom(host, id string) error {
	record, err := site.ReadRecord(c.layout.Record(host))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	other, _, _ := strings.Cut(record.Target, ".")
	if !record.Custom || other == id {
		return nil
	}
	switch of, err := c.read(other); {
	case errors.Is(err, cloud.ErrNotFound):
		return nil
	case err != nil:
		return err
	case slices.Contains(of.Custom, host):
		return troy.Errorf(troy.Conflict, "another distribution serves %s", host)
	}
	return nil
}

func (d *domains) Host(ctx context.Context, id, host string) (cloud.HostState, error) {
	state, err := d.state(ctx, id, host)
	if err != nil {
		return cloud.HostState{}, fmt.Errorf("read the state of %s at distribution %s: %w", troy.Clip(host), id, err)
	}
	return state, nil
}

func (d *domains) state(ctx context.Context, id, host string) (cloud.HostState, error) {
	host, err := cloud.NormalizeCustom(host)
	if err != nil {
		return cloud.HostState{}, err
	}
	of, err := d.get(ctx, id)
	if err != nil {
		return cloud.HostState{}, err
	}
	record, err := site.ReadRecord(d.layout.Record(host))
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!record.Custom || record.Target != of.Domain) {
		err = cloud.ErrNotFound
	}
	if err != nil {
		return cloud.HostState{}, err
	}
	state := cloud.HostState{Serving: of.Enabled}
	if !d.certificates {
		return state, nil
	}
	certificate, err := d.layout.ReadCertificateState(host)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		state.Certificate = cloud.CertificateWaiting
	case err != nil:
		return cloud.HostState{}, err
	default:
		state.Certificate, state.Problem = cloud.Certificate(certificate.State), certificate.Problem
		state.NotAfter, state.NextTry = certificate.NotAfter, certificate.NextTry
	}
	if free, err := disk.Free(d.layout.Root); err == nil && free < fullDisk && state.Problem == "" {
		// The edge can't write why it has no certificate.
		state.Problem = fmt.Sprintf("The disk of the data folder is full, so a certificate for %s can't be stored; free some space.", host)
	}
	return state, nil
}

func (d *domains) Detach(ctx context.Context, id, host string) error {
	if err := d.detach(ctx, id, host); err != nil {
		return fmt.Errorf("detach %s from distribution %s: %w", troy.Clip(host), id, err)
	}
	return nil
}

func (d *domains) detach(ctx context.Context, id, host string) error {
	host, err := cloud.NormalizeCustom(host)
	if err != nil {
		return err
	}
	release, err := d.lockBoth(ctx, host, id)
	if err != nil {
		return err
	}
	defer release()
	of, err := d.read(id)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.removeCustom(ctx, of, host); err != nil {
		return err
	}
	at := slices.Index(of.Custom, host)
	if at < 0 {
		return nil
	}
	of.Custom = slices.Delete(of.Custom, at, at+1)
	return d.write(d.layout.Distribution(id), of)
}

// abandon tells the edge that it may remove the certificate of a host. Where the
// edge has a user of its own, its folder can't be written; then the edge removes
// the certificate a day later.
func (c *cdn) abandon(host string) {
	file := c.layout.CertificateGone(host)
	if _, err := os.Stat(c.layout.Certificates()); err == nil && os.MkdirAll(filepath.Dir(file), 0o755) == nil {
		_ = os.WriteFile(file, nil, 0o600)
	}
}

// removeCustom removes the record of a distribution's custom host.
func (c *cdn) removeCustom(ctx context.Context, of distribution, host string) error {
	release, err := c.Lock(ctx, "record", host)
	if err != nil {
		return err
	}
	defer release()
	switch record, err := site.ReadRecord(c.layout.Record(host)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !record.Custom || record.Target != of.Domain:
		return nil // another distribution's
	}
	if err := c.remove(c.layout.Record(host)); err != nil {
		return err
	}
	c.abandon(host)
	return nil
}
