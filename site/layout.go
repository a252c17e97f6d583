package site

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// Layout gives the locations of a site's files on one machine, below Root (the
// folder "cloud" of TROY_DATA_DIR). localcloud writes them; the edge reads them
// and nothing else, so sites stay up without a database.
//
//	generation                           counts changes of records, distributions and pointers (internal/generation)
//	records/<host>.json                  Record: the host's alias record, or a custom host
//	records/_wildcard.<host>.json        Record: the custom host *.<host>
//	distributions/<id>.json              localcloud's Distribution; the edge reads DistributionFile
//	pointers/<distribution id>.json      Pointer
//	previews/<distribution id>/<label>.json  Pointer: what a preview shows
//	sites/<pipeline>/trees/<deployment>  the sealed tree's manifest (EncodeManifest)
//	sites/<pipeline>/open/<deployment>   a declared tree's manifest before it is sealed
//	sites/<pipeline>/blobs/<2 hex>/<sha> a file's bytes, if it is not in a pack
//	sites/<pipeline>/blobs/<2 hex>/<sha>.<coding> an encoded form of it, by the edge
//	sites/<pipeline>/packs/<uuid>.pack   a pack of small files (package pack)
//	sites/<pipeline>/unsynced/<boot>.<sha>        a blob, before a Seal synced it
//	sites/<pipeline>/unsynced/<boot>.<uuid>.pack  a pack, before a Seal synced it
//	sites/<pipeline>/damaged/            what "troyd store repair" set aside
//	sites/<pipeline>/traffic/            counts of requests, by the edge (package traffic)
//	sites/<pipeline>/incoming/           files that are being written
//	sites/<pipeline>/lock                flock: Begin, Seal, Remove exclude each other
//	certificates/                        certificates and their keys, by the edge (certmagic's FileStorage)
//	certificates/state/<host>.json       CertificateState; a wildcard's file is _wildcard.<host>.json
//	certificates/gone/<host>             the host is not served any more, so its certificate can go
//
// localcloud also keeps hosts/ (each host's distribution), locks/, tmp/ (files
// that are being written) and removed/ (sites that are being deleted), which
// only it reads.
//
// Files are created by rename and never changed in place.
type Layout struct{ Root string }

// Record is a host's alias record.
type Record struct {
	Host   string `json:"host"`
	Target string `json:"target"` // a distribution's domain
	// Custom means that the distribution serves the host besides its own. The
	// host may be a wildcard.
	Custom bool `json:"custom,omitempty"`
	// Redirect is the host to which a custom host redirects, or "".
	Redirect string `json:"redirect,omitempty"`
}

// DistributionFile is the part of a distribution that the edge reads.
type DistributionFile struct {
	ID      string `json:"id"`
	Domain  string `json:"domain"`
	Host    string `json:"host"` // the one host that it serves (its alias)
	Enabled bool   `json:"enabled"`
	// Protection says who may see the site (DecodeProtection); nil means
	// everyone. It is part of this file, so that a site whose protection is lost
	// is not served.
	Protection *json.RawMessage `json:"protection,omitempty"`
}

// DistributionDomain returns the domain of the distribution with this id.
func DistributionDomain(id string) string { return id + ".distribution.internal" }

// Generation returns the file that counts the changes of records, distributions
// and pointers. A writer bumps it after each change.
func (l Layout) Generation() string { return filepath.Join(l.Root, "generation") }

// Record returns the file of a host's alias record. The host must be
// normalized; it may be a wildcard. No normalized host has an underscore.
func (l Layout) Record(host string) string {
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		host = "_wildcard." + parent
	}
	return filepath.Join(l.Root, "records", host+".json")
}

// HasRecord reports whether a host has an alias record.
func (l Layout) HasRecord(host string) (bool, error) {
	_, err := os.Stat(l.Record(host))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Distribution returns the file of a distribution.
func (l Layout) Distribution(id string) string {
	return filepath.Join(l.Root, "distributions", id+".json")
}

// Pointer returns the file of a distribution's pointer.
func (l Layout) Pointer(distribution string) string {
	return filepath.Join(l.Root, "pointers", distribution+".json")
}

// Site returns the folder of all files stored for a pipeline.
func (l Layout) Site(pipeline uuid.UUID) string {
	return filepath.Join(l.Root, "sites", pipeline.String())
}

// Tree returns the file of a sealed tree's manifest.
func (l Layout) Tree(t Tree) string {
	return filepath.Join(l.Site(t.Pipeline), "trees", t.Deployment.String())
}

// OpenTree returns the file of a declared tree's manifest before it is sealed.
func (l Layout) OpenTree(t Tree) string {
	return filepath.Join(l.Site(t.Pipeline), "open", t.Deployment.String())
}

// Blob returns the file that holds the bytes with this digest.
func (l Layout) Blob(pipeline uuid.UUID, d Digest) string {
	s := d.String()
	return filepath.Join(l.Site(pipeline), "blobs", s[:2], s)
}

// Packs returns the folder of a pipeline's packs.
func (l Layout) Packs(pipeline uuid.UUID) string {
	return filepath.Join(l.Site(pipeline), "packs")
}

// Unsynced returns the folder of the blobs and packs that a power cut may
// damage. Their names begin with the id of the machine's start (boot) in which
// they were written.
func (l Layout) Unsynced(pipeline uuid.UUID) string {
	return filepath.Join(l.Site(pipeline), "unsynced")
}

// Encoded returns the file of an encoded form of the bytes with this digest.
// coding is a content coding of HTTP. The edge writes and checks these files;
// they are removed with the blob.
func (l Layout) Encoded(pipeline uuid.UUID, d Digest, coding string) string {
	return l.Blob(pipeline, d) + "." + coding
}

// Incoming returns the folder in which a pipeline's files are written before
// they are renamed into place.
func (l Layout) Incoming(pipeline uuid.UUID) string {
	return filepath.Join(l.Site(pipeline), "incoming")
}

// Traffic returns the folder with the counts of requests to a pipeline's site.
func (l Layout) Traffic(pipeline uuid.UUID) string {
	return filepath.Join(l.Site(pipeline), "traffic")
}
