//go:build !linux

package thumbnail

import (
	"context"

	"github.com/troy-iaas/troy"
)

func (b *Browser) start(context.Context) (*conn, func() error, error) {
	return nil, nil, troy.Errorf(troy.Conflict, "Chromium can be isolated only on Linux")
}
