package site

import "strings"

const (
	immutable  = "public, max-age=31536000, immutable"
	revalidate = "public, max-age=0, must-revalidate"
)

func isHTML(p string) bool { return strings.HasPrefix(ContentType(p), "text/html") }

// CacheControl returns the Cache-Control header for a file. Clients keep hashed
// assets for a year and revalidate everything else by its ETag.
func CacheControl(p string) string {
	if Hashed(p) {
		return immutable
	}
	return revalidate
}
