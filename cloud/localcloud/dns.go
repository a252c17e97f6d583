package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

type dns struct{ state }

func (d *dns) Lookup(ctx context.Context, host string) (string, error) {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return "", fmt.Errorf("look up record: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("look up record of %s: %w", host, err)
	}
	record, err := site.ReadRecord(d.layout.Record(host))
	if errors.Is(err, fs.ErrNotExist) {
		err = cloud.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("look up record of %s: %w", host, err)
	}
	return record.Target, nil
}

func (d *dns) Upsert(ctx context.Context, host, target string) error {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return fmt.Errorf("upsert record: %w", err)
	}
	if target == "" {
		return fmt.Errorf("upsert record of %s: %w", host, troy.Errorf(troy.Invalid, "the target is empty"))
	}
	release, err := d.Lock(ctx, "record", host)
	if err != nil {
		return fmt.Errorf("upsert record of %s: %w", host, err)
	}
	defer release()
	before, err := site.ReadRecord(d.layout.Record(host))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("upsert record of %s: %w", host, err)
	case before.Custom:
		return troy.Errorf(troy.Conflict, "a site has %s as its custom host; Troy did not change it. Choose another name for the site", host)
	case before.Target != target:
		return troy.Errorf(troy.Conflict, "%s has a record that Troy did not make (to %s); Troy did not change it. Remove it, or choose another name for the site", host, before.Target)
	}
	if err := d.write(d.layout.Record(host), site.Record{Host: host, Target: target}); err != nil {
		return fmt.Errorf("upsert record of %s: %w", host, err)
	}
	return nil
}

func (d *dns) Delete(ctx context.Context, host, target string) error {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return fmt.Errorf("delete record: %w", err)
	}
	release, err := d.Lock(ctx, "record", host)
	if err != nil {
		return fmt.Errorf("delete record of %s: %w", host, err)
	}
	defer release()
	record, err := site.ReadRecord(d.layout.Record(host))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("delete record of %s: %w", host, err)
	case record.Target != target || record.Custom:
		return nil
	}
	if err := d.remove(d.layout.Record(host)); err != nil {
		return fmt.Errorf("delete record of %s: %w", host, err)
	}
	return nil
}
