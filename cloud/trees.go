package cloud

import (
	"context"

	"github.com/google/uuid"
)

// Lister lists what a Store has.
type Lister interface {
	// Trees returns the trees of a pipeline of which the store has anything:
	// declared trees, and what is left of others, such as after an interrupted
	// Remove. Every tree that was declared before the call is among them. The
	// order is not specified.
	Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error)
}
