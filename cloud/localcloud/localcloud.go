// Package localcloud is the cloud of one machine: distributions, alias records,
// pointers and stored trees are files below one folder, replaced under locks,
// so that all processes of the machine share them. It behaves like the real
// cloud: changes of a distribution take a while, ETags guard them, and a
// distribution must be disabled before its deletion. `troyd dev` and single-box
// installations use it; the edge serves its files, by site.Layout.
package localcloud

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// Config sets the folder and the speed of the cloud.
type Config struct {
	// Root is the folder of everything; New creates it if it does not exist.
	Root string
	// PropagationDelay is how long a distribution is in progress after each
	// change. Zero deploys at once.
	PropagationDelay time.Duration
	// PollDelay is the poll interval that callers get; zero means
	// PropagationDelay, but at least a second.
	PollDelay time.Duration
	// Limits bounds the manifests that are read.
	Limits site.Limits
	// Addresses are those of the edge for custom hosts, if it has fixed ones.
	Addresses []netip.Addr
	// Certificates means that the edge issues certificates for custom hosts.
	Certificates bool
}

// staleAfter is the age at which a temporary file counts as abandoned.
const staleAfter = time.Hour

// New opens the cloud in cfg.Root.
func New(cfg Config) (cloud.Cloud, error) {
	if cfg.Root == "" {
		return cloud.Cloud{}, fmt.Errorf("local cloud: the root folder is not set")
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return cloud.Cloud{}, fmt.Errorf("local cloud: %w", err)
	}
	s := state{files.Root(root), site.Layout{Root: root}}
	for _, dir := range []string{s.Temp(), s.Path("locks"), s.Path("hosts"), s.Path("records"), s.Path("distributions"), s.Path("pointers"), s.Path("previews"), s.Path("sites"), s.Path(removedFolder)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return cloud.Cloud{}, fmt.Errorf("local cloud: %w", files.Error(err))
		}
	}
	if err := files.RemoveStale(s.Temp(), time.Now().Add(-staleAfter)); err != nil {
		return cloud.Cloud{}, fmt.Errorf("local cloud: %w", err)
	}
	s.bump()
	if cfg.PollDelay == 0 {
		cfg.PollDelay = max(cfg.PropagationDelay, time.Second)
	}
	c := &cdn{state: s, delay: cfg.PropagationDelay}
	return cloud.Cloud{
		Store:            newStore(s.layout, cfg.Limits),
		CDN:              c,
		DNS:              &dns{state: s},
		Previews:         &previews{c},
		Domains:          &domains{cdn: c, addresses: cfg.Addresses, certificates: cfg.Certificates},
		PropagationDelay: cfg.PollDelay,
	}, nil
}

// state is the folder of the small JSON files and their locks.
type state struct {
	files.Root
	layout site.Layout
}

// bump tells the edges of this machine that a record, a distribution or a
// pointer has changed. Without it, after an error or a crash, they notice the
// change within about a second, so an error is not worth a failed operation.
func (s state) bump() { _ = generation.Bump(s.layout.Generation()) }

// write replaces one of the files that edges read.
func (s state) write(file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return s.replace(file, data)
}

// replace replaces one of the files that edges read. Edges read it before its
// name is on the disk, which takes as long as everything before. If the machine
// crashes in between, the previous file may come back; the caller's work is not
// done then, and is repeated.
func (s state) replace(file string, data []byte) error {
	if err := files.Replace(s.Temp(), file, data); err != nil {
		return err
	}
	s.bump()
	return files.SyncFolder(filepath.Dir(file))
}

// remove removes one of the files that edges read.
func (s state) remove(file string) error {
	defer s.bump()
	return files.Remove(file)
}
