package web

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// declaration is the body that begins a release.
type declaration struct {
	Files    listOf[site.File]        `json:"files"`
	Manifest string                   `json:"manifest"`
	Base     string                   `json:"base"`
	Removed  listOf[string]           `json:"removed"`
	Message  string                   `json:"message"`
	Config   listOf[rules.ConfigFile] `json:"config"`
	Strict   bool                     `json:"strict"`
}

// newDeclaration returns an empty declaration that bounds what it reads.
func newDeclaration(limits site.Limits) *declaration {
	var d declaration
	d.Files.name, d.Files.what, d.Files.most = "files", "files", limits.Files
	d.Removed.name, d.Removed.what, d.Removed.most = "removed", "paths", limits.Files
	d.Config.name, d.Config.what, d.Config.most = "config", "configuration files", len(rules.ConfigNames())
	return &d
}

// listedFiles say which files a release has: they list them, say that they are those
// of the live deployment, or how they differ from those.
type listedFiles struct {
	files          []site.File
	manifest, base string // digests of lists
	removed        []string
}

// releaseFiles returns the files of a release that is to begin. Only what was
// checked when it was declared is not checked: the files of the live deployment.
func (s *server) releaseFiles(ctx context.Context, p queries.Pipeline, l listedFiles) (site.Manifest, error) {
	switch {
	case l.removed != nil && l.base == "":
		return site.Manifest{}, troy.Errorf(troy.Invalid, "it needs base, the list from which files are removed").At("removed")
	case l.manifest != "" && (l.files != nil || l.base != ""):
		return site.Manifest{}, troy.Errorf(troy.Invalid, "it can't be combined with files and base, which it stands for").At("manifest")
	case l.manifest != "":
		return s.liveManifest(ctx, p, l.manifest, "manifest")
	case l.base == "":
		return site.Manifest{Files: l.files}, nil
	}
	base, err := s.liveManifest(ctx, p, l.base, "base")
	if err != nil {
		return base, err
	}
	return base.Edit(site.Edits{Put: l.files, Removed: l.removed}, s.cfg.Limits)
}

func otherManifest(field string) error {
	return troy.Errorf(troy.Conflict, "it is not the manifest of the live deployment; list the files").At(field)
}

// liveManifest reads the manifest of the live deployment if the digest of its
// list is the one in this field.
func (s *server) liveManifest(ctx context.Context, p queries.Pipeline, text, field string) (m site.Manifest, err error) {
	digest, err := site.ParseDigest(text)
	if err != nil {
		return m, troy.Errorf(troy.Invalid, "%w", err).At(field)
	}
	if p.LiveDeploymentID == nil {
		return m, otherManifest(field)
	}
	live, err := s.q.DeploymentGet(ctx, *p.LiveDeploymentID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return m, otherManifest(field)
	case err != nil:
		return m, fmt.Errorf("read the live deployment of %s: %w", p.ID, err)
	case live.ManifestDigest == nil || *live.ManifestDigest != digest.String():
		return m, otherManifest(field)
	}
	m, err = s.deps.Store.Manifest(ctx, site.Tree{Pipeline: p.ID, Deployment: live.TreeID})
	if errors.Is(err, cloud.ErrNotFound) {
		return m, otherManifest(field)
	}
	if err != nil {
		return m, fmt.Errorf("read the live manifest of %s: %w", p.ID, err)
	}
	if m.Digest() != digest {
		return m, otherManifest(field)
	}
	return m, nil
}
