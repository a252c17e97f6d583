package localcloud

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// Custom is a custom host that the edge serves.
type Custom struct {
	Host         string
	Distribution string // its id
	// Lost means that the distribution does not exist or does not know the host, so
	// the edge answers 404.
	Lost bool
}

// CustomHosts lists the custom hosts in a folder of New, for all pipelines. It
// changes nothing.
func CustomHosts(root string) ([]Custom, error) {
	layout := site.Layout{Root: root}
	c := &cdn{state: state{layout: layout}}
	entries, err := os.ReadDir(filepath.Dir(layout.Record("host")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Custom
	for _, e := range entries {
		host, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		if parent, wildcard := strings.CutPrefix(host, "_wildcard."); wildcard {
			host = "*." + parent
		}
		record, err := site.ReadRecord(layout.Record(host))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !record.Custom {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the record of %s: %w", host, err)
		}
		id, _, _ := strings.Cut(record.Target, ".")
		of, err := c.read(id)
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return nil, fmt.Errorf("read the distribution of %s: %w", host, err)
		}
		all = append(all, Custom{Host: host, Distribution: id, Lost: err != nil || !slices.Contains(of.Custom, host)})
	}
	return all, nil
}

// DiscardCustom removes a custom host that CustomHosts listed. It does nothing if the
// host's record has changed since.
func DiscardCustom(root string, host Custom) error {
	layout := site.Layout{Root: root}
	record, err := site.ReadRecord(layout.Record(host.Host))
	if errors.Is(err, fs.ErrNotExist) || err == nil && record.Target != site.DistributionDomain(host.Distribution) {
		return nil
	}
	if err != nil {
		return err
	}
	s := state{layout: layout}
	return s.remove(layout.Record(host.Host))
}
