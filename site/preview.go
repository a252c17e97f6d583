package site

import (
	"path/filepath"
	"strings"

	"github.com/troy-iaas/troy"
)

// PreviewHost returns the host of a preview: the label, two hyphens and the
// site's slug, below the suffix of previews.
func PreviewHost(label, slug, suffix string) string {
	return label + troy.PreviewSeparator + slug + "." + suffix
}

// PreviewHosts says which hosts are those of previews.
type PreviewHosts struct {
	// Suffix is the suffix of previews, and Sites that of the sites' own hosts.
	Suffix, Sites string
}

// Split returns the label of a preview's host and the own host of its site. The
// host is normalized.
func (p PreviewHosts) Split(host string) (label, siteHost string, ok bool) {
	if p.Suffix == "" {
		return "", "", false
	}
	name, ok := strings.CutSuffix(host, "."+p.Suffix)
	if !ok || strings.Contains(name, ".") {
		return "", "", false
	}
	label, slug, ok := strings.Cut(name, troy.PreviewSeparator)
	if !ok || slug == "" || CheckPreviewLabel(label) != nil {
		return "", "", false
	}
	return label, slug + "." + p.Sites, true
}

// CheckPreviewLabel returns an Invalid error if label can't be the label of a
// preview.
func CheckPreviewLabel(label string) error {
	if _, err := NormalizeHost(label); err != nil || strings.ToLower(label) != label || strings.Contains(label, ".") || strings.Contains(label, ":") ||
		strings.Contains(label, troy.PreviewSeparator) {
		return troy.Errorf(troy.Invalid, "%q is not a valid label of a preview", troy.Clip(label))
	}
	return nil
}

// PreviewPointer returns the file of what a preview of a distribution shows.
func (l Layout) PreviewPointer(distribution, label string) string {
	return filepath.Join(l.Root, "previews", distribution, label+".json")
}
