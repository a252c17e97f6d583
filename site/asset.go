package site

import "strings"

const (
	immutable  = "public, max-age=31536000, immutable"
	revalidate = "public, max-age=0, must-revalidate"
)

func isHTML(p string) bool { return strings.HasPrefix(ContentType(p), "text/html") }

// CacheControl is the header that a file is served with: hashed assets stay
// for a year, everything else is asked for again (and answered 304 by its
// ETag).
func CacheControl(p string) string {
	if Hashed(p) {
		return immutable
	}
	return revalidate
}
