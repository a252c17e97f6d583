package site

import (
	"path/filepath"

	"github.com/google/uuid"
)

// Layout is where a site's files lie on one machine, below Root (the folder
// "cloud" of TROY_DATA_DIR). localcloud writes there, the edge reads there
// and nothing else, so that sites stay up without a database.
//
//	records/<host>.json                  Record: the host's alias record
//	distributions/<id>.json              localcloud's Distribution; the edge reads DistributionFile
//	pointers/<distribution id>.json      Pointer
//	sites/<pipeline>/trees/<deployment>  the sealed tree's manifest (EncodeManifest)
//	sites/<pipeline>/open/<deployment>   a declared tree's manifest until it is sealed
//	sites/<pipeline>/blobs/<2 hex>/<sha> a file's bytes
//	sites/<pipeline>/incoming/           uploads that are not verified yet
//	sites/<pipeline>/lock                flock: Begin, Seal, Remove exclude each other
//
// Beside them localcloud keeps hosts/ (which distribution has a host), locks/,
// tmp/ (files on their way to their names) and removed/ (sites on their way
// out), which nobody else reads.
//
// Every file appears by rename and is never changed in place.
type Layout struct{ Root string }

// Record is a host's alias record.
type Record struct {
	Host   string `json:"host"`
	Target string `json:"target"` // a distribution's domain
}

// DistributionFile is the part of a distribution that the edge needs.
type DistributionFile struct {
	ID      string `json:"id"`
	Domain  string `json:"domain"`
	Host    string `json:"host"` // the one host that it serves (its alias)
	Enabled bool   `json:"enabled"`
}

// DistributionDomain is the domain of the distribution with this id.
func DistributionDomain(id string) string { return id + ".distribution.internal" }

// Record is the file of a host's alias record. The host must be normalised.
func (l Layout) Record(host string) string {
	return filepath.Join(l.Root, "records", host+".json")
}

// Distribution is the file of a distribution.
func (l Layout) Distribution(id string) string {
	return filepath.Join(l.Root, "distributions", id+".json")
}

// Pointer is the file of a distribution's pointer.
func (l Layout) Pointer(distribution string) string {
	return filepath.Join(l.Root, "pointers", distribution+".json")
}

// Site is the folder of everything that a pipeline has stored.
func (l Layout) Site(pipeline uuid.UUID) string {
	return filepath.Join(l.Root, "sites", pipeline.String())
}

// Tree is the file of a sealed tree's manifest.
func (l Layout) Tree(t Tree) string {
	return filepath.Join(l.Site(t.Pipeline), "trees", t.Deployment.String())
}

// OpenTree is the file of a declared tree's manifest until it is sealed.
func (l Layout) OpenTree(t Tree) string {
	return filepath.Join(l.Site(t.Pipeline), "open", t.Deployment.String())
}

// Blob is the file that holds the bytes with this digest.
func (l Layout) Blob(pipeline uuid.UUID, d Digest) string {
	s := d.String()
	return filepath.Join(l.Site(pipeline), "blobs", s[:2], s)
}
