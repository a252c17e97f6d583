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
)

// releaseFiles returns the files of a release that is to begin: those that it
// lists, or, if it has the digest of a manifest in place of a list, those of the
// live deployment.
func (s *server) releaseFiles(ctx context.Context, p queries.Pipeline, listed []site.File, manifest string) ([]site.File, error) {
	if manifest == "" {
		return listed, nil
	}
	if listed != nil {
		return nil, troy.Errorf(troy.Invalid, "it can't be combined with files, which it stands for").At("manifest")
	}
	digest, err := site.ParseDigest(manifest)
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "%w", err).At("manifest")
	}
	m, err := s.liveManifest(ctx, p, digest)
	if err != nil {
		return nil, err
	}
	if m.Digest() != digest {
		return nil, otherManifest()
	}
	return m.Files, nil
}

func otherManifest() error {
	return troy.Errorf(troy.Conflict, "it is not the manifest of the live deployment; list the files").At("manifest")
}

// liveManifest reads the manifest of the live deployment if its row has the
// digest.
func (s *server) liveManifest(ctx context.Context, p queries.Pipeline, digest site.Digest) (m site.Manifest, err error) {
	if p.LiveDeploymentID == nil {
		return m, otherManifest()
	}
	live, err := s.q.DeploymentGet(ctx, *p.LiveDeploymentID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return m, otherManifest()
	case err != nil:
		return m, fmt.Errorf("read the live deployment of %s: %w", p.ID, err)
	case live.ManifestDigest == nil || *live.ManifestDigest != digest.String():
		return m, otherManifest()
	}
	m, err = s.deps.Store.Manifest(ctx, site.Tree{Pipeline: p.ID, Deployment: live.TreeID})
	if errors.Is(err, cloud.ErrNotFound) {
		return m, otherManifest()
	}
	if err != nil {
		return m, fmt.Errorf("read the live manifest of %s: %w", p.ID, err)
	}
	return m, nil
}
