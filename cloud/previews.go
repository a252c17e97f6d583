package cloud

import (
	"context"

	"github.com/troy-iaas/troy/site"
)

// Previews serves trees at addresses of their own, besides what is live. An
// address is that of a distribution's own host with a label (site.PreviewHost).
// What protects the site protects its previews. Deleting a distribution removes
// its labels.
type Previews interface {
	// Point makes p what the label shows. If the pointer in force has a higher
	// sequence, or the same and another tree, Point returns
	// *StalePointerError. It returns ErrNotFound if the distribution does not
	// exist, and ErrNotDeployed for minutes after the first use. When it returns
	// nil, new requests are answered from p's tree (on a CDN within seconds).
	Point(ctx context.Context, id, label string, p site.Pointer) error
	// Unpoint removes a label. If the pointer in force has a higher sequence,
	// Unpoint returns *StalePointerError. It returns nil if the label or the
	// distribution does not exist.
	Unpoint(ctx context.Context, id, label string, sequence int64) error
}
