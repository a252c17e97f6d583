package web_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/troy-iaas/troy/web"
)

// slowly reads a byte each twenty seconds.
type slowly struct{ r io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	<-time.After(20 * time.Second)
	return s.r.Read(p)
}

// TestSlowUploadsTouchTheirRelease reads a body that takes five minutes.
func TestSlowUploadsTouchTheirRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		touched := 0
		body := slowly{iotest.OneByteReader(strings.NewReader("fifteen letters"))}
		got, err := io.ReadAll(web.TouchingReader(body, func() error { touched++; return nil }))
		if err != nil || string(got) != "fifteen letters" || touched != 3 {
			t.Errorf("read %q, %v, touched %d times; want 3", got, err, touched)
		}
		gone := errors.New("the database is away")
		if _, err := io.ReadAll(web.TouchingReader(slowly{iotest.OneByteReader(strings.NewReader("fifteen letters"))}, func() error { return gone })); !errors.Is(err, gone) {
			t.Errorf("reading ends with %v", err)
		}
	})
}
