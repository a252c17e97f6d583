package web

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// OpenAPI is the document of the API as it is served.
var OpenAPI = openAPIJSON

// Routes returns the routes of the API, without the pages.
func Routes(cfg Config, deps Deps) gin.RoutesInfo {
	s := &server{cfg: cfg, deps: deps}
	return s.routes(http.NotFoundHandler()).Routes()
}
