package web

import (
	"net/http"

	"github.com/gin-gonic/gin"
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

// Routes returns the routes of the API, without the pages.
func Routes(cfg Config, deps Deps) gin.RoutesInfo {
	s := &server{cfg: cfg, deps: deps}
	return s.routes(http.NotFoundHandler()).Routes()
}
