package web

import (
	"compress/gzip"
	"fmt"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// compress sends pages with gzip to browsers that accept it. A page can have
// both what an attacker chose, in a link, and what only its reader may see, so
// the length gets a random part against BREACH (breachattack.com).
func compress(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.ContentTypes([]string{"text/html"}), gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.EnableZstd(false), gzhttp.RandomJitter(32, 0, false))
	if err != nil {
		return nil, fmt.Errorf("compress pages: %w", err)
	}
	return wrap(next), nil
}
