package tarend_test

import (
	"archive/tar"
	"errors"
	"io"
	"testing"

	"github.com/troy-iaas/troy/internal/tarend"
)

// zeros is a reader of a number of zeros.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// TestRest reads tars without entries and with many zeros behind them, which end
// the reading.
func TestRest(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]error{1 << 20: nil, 1 << 30: tar.ErrHeader} {
		left := &zeros{size}
		r := &tarend.Reader{R: left}
		if _, err := tar.NewReader(r).Next(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err := r.Finish(); !errors.Is(err, want) {
			t.Errorf("%d zeros: %v, want %v", size, err, want)
		}
		if want != nil && left.left < size/2 {
			t.Errorf("%d of %d zeros were read", size-left.left, size)
		}
	}
}
