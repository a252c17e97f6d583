package web

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy/site"
)

// OpenAPI is the document of the API as it is served.
var OpenAPI = openAPIJSON

// ReadWhenFull returns the error of reading a log while as many are being read
// as may be.
func ReadWhenFull(w http.ResponseWriter, r *http.Request) error {
	s := &server{reads: make(chan struct{}, 1)}
	s.reads <- struct{}{}
	c, _ := gin.CreateTestContext(w)
	c.Request = r
	return s.plainLog(c, &buildLog{})
}

// FollowWhenFull returns the error of following a log while as many are followed
// as may be.
func FollowWhenFull(w http.ResponseWriter, r *http.Request) error {
	s := &server{follows: make(chan struct{}, 1)}
	s.follows <- struct{}{}
	c, _ := gin.CreateTestContext(w)
	c.Request = r
	return s.followLog(c, caller{}, &buildLog{})
}

// TouchingReader is the reader of a body that takes long.
func TouchingReader(r io.Reader, touch func()) io.Reader {
	return newTouchingReader(r, &toucher{touch: touch})
}

// Routes returns the routes of the API, without the pages.
func Routes(cfg Config, deps Deps) gin.RoutesInfo {
	s := &server{cfg: cfg, deps: deps}
	return s.routes(http.NotFoundHandler()).Routes()
}

// patterns remembers the patterns that are registered.
type patterns []string

func (r *patterns) HandleFunc(pattern string, _ func(http.ResponseWriter, *http.Request)) {
	*r = append(*r, pattern)
}

// Pages returns the patterns of the dashboard's pages.
func Pages(cfg Config, deps Deps) ([]string, error) {
	s := &server{cfg: cfg, deps: deps}
	d, err := s.dashboard("troy.test")
	if err != nil {
		return nil, err
	}
	var r patterns
	d.Register(&r)
	return r, nil
}

// ReadBatch reads a compressed batch, and returns its files and the number of
// their bytes.
func ReadBatch(body io.Reader, limits site.BatchLimits) ([]site.File, int64, error) {
	var bs batches
	d, err := bs.decoder(body)
	if err != nil {
		return nil, 0, err
	}
	defer bs.release(d)
	files, err := site.ReadBatchTable(d, limits)
	if err != nil {
		return nil, 0, err
	}
	var total, n int64
	for _, f := range files {
		total += f.Size
	}
	n, err = io.CopyN(io.Discard, d, total)
	return files, n, err
}
