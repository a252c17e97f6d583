package troy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/mozillazg/go-unidecode"
)

// PreviewKind says what a preview shows.
type PreviewKind string

const (
	// PullRequestPreview shows the newest commit of a pull request.
	PullRequestPreview PreviewKind = "pull_request"
	// BranchPreview shows the newest commit of a branch.
	BranchPreview PreviewKind = "branch"
	// ReleasePreview shows uploaded files.
	ReleasePreview PreviewKind = "release"
)

// PreviewKinds returns all kinds.
func PreviewKinds() []PreviewKind {
	return []PreviewKind{PullRequestPreview, BranchPreview, ReleasePreview}
}

// PreviewState is the state of a preview, for people.
type PreviewState string

const (
	// PreviewEmpty: nothing was deployed to it yet.
	PreviewEmpty PreviewState = "empty"
	// PreviewNeedsApproval: its newest commit is built once someone approves
	// it.
	PreviewNeedsApproval PreviewState = "needs_approval"
	// PreviewWaiting: its newest deployment waits.
	PreviewWaiting PreviewState = "waiting"
	// PreviewBuilding: its newest deployment is being built.
	PreviewBuilding PreviewState = "building"
	// PreviewPublishing: its newest deployment is being published.
	PreviewPublishing PreviewState = "publishing"
	// PreviewReady: its address shows its newest deployment.
	PreviewReady PreviewState = "ready"
	// PreviewFailed: its newest deployment failed or was cancelled.
	PreviewFailed PreviewState = "failed"
	// PreviewRemoving: it is closed, and its addresses are being removed.
	PreviewRemoving PreviewState = "removing"
	// PreviewRemoved: nothing is left of it.
	PreviewRemoved PreviewState = "removed"
)

// PreviewStates returns all states.
func PreviewStates() []PreviewState {
	return []PreviewState{
		PreviewEmpty, PreviewNeedsApproval, PreviewWaiting, PreviewBuilding, PreviewPublishing,
		PreviewReady, PreviewFailed, PreviewRemoving, PreviewRemoved,
	}
}

// String returns the name shown to people, such as "Needs approval".
func (s PreviewState) String() string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(string(s[:1])) + strings.ReplaceAll(string(s[1:]), "_", " ")
}

// PreviewSeparator is between the label and the slug in a preview's host. No
// slug and no label contains it.
const PreviewSeparator = "--"

// maxLabel is the maximum length of a DNS label (RFC 1035 §2.3.4).
const maxLabel = 63

// MaxPreviewLabel returns the maximum length of a preview's label for a site
// with this slug.
func MaxPreviewLabel(slug string) int { return maxLabel - len(PreviewSeparator) - len(slug) }

// numbered are the labels that numbers make: of deployments and of pull
// requests.
var numbered = regexp.MustCompile(`^(d|pr)-[0-9]+$`)

// DeploymentLabel returns the label of a deployment's permanent address.
func DeploymentLabel(number int64) string { return fmt.Sprintf("d-%d", number) }

// PullRequestLabel returns the label of a pull request's preview.
func PullRequestLabel(number int64) string { return fmt.Sprintf("pr-%d", number) }

// CheckPreviewLabel returns an Invalid error if a person may not choose this
// label for a preview of the site with this slug.
func CheckPreviewLabel(label, slug string) error {
	switch most := MaxPreviewLabel(slug); {
	case label == "":
		return Errorf(Invalid, "the label is empty").At("preview")
	case len(label) > most:
		return Errorf(Invalid, "the label has %d characters; expected at most %d for the site %s", len(label), most, slug).At("preview")
	case !slugForm.MatchString(label) || strings.Contains(label, PreviewSeparator):
		return Errorf(Invalid, "the label %q may contain only lower-case letters, digits and single inner hyphens; for example %q", Clip(label), BranchLabel(label, slug)).At("preview")
	case numbered.MatchString(label):
		return Errorf(Invalid, "the label %q is reserved for deployments (d-1) and pull requests (pr-1); choose another", label).At("preview")
	}
	return nil
}

// BranchLabel returns the label of a branch's preview of the site with this
// slug. A label that does not determine the branch's name, because it was
// shortened or looks like a number's, ends with a hash of the name.
func BranchLabel(branch, slug string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(unidecode.Unidecode(branch)) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() > maxLabel {
			break
		}
	}
	label := strings.Trim(b.String(), "-")
	if label == "" {
		label = "branch"
	} else if len(label) <= MaxPreviewLabel(slug) && !numbered.MatchString(label) {
		return label
	}
	return DistinctLabel(label, branch, slug)
}

// DistinctLabel returns a label that ends with a hash of the source, for a
// preview whose own label another one has.
func DistinctLabel(label, source, slug string) string {
	sum := sha256.Sum256([]byte("troy preview\x00" + source))
	suffix := "-" + hex.EncodeToString(sum[:4])
	if most := MaxPreviewLabel(slug) - len(suffix); len(label) > most {
		label = strings.TrimRight(label[:most], "-")
	}
	return label + suffix
}
