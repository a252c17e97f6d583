package site

import "strings"

// Compressible reports whether files of this content type usually become
// smaller by compression.
func Compressible(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.TrimSpace(t)
	if strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml") {
		return true
	}
	switch t {
	case "application/javascript", "application/json", "application/xml", "application/wasm",
		"application/rtf", "application/toml", "application/yaml", "application/sql", "application/x-subrip", "application/vnd.apple.mpegurl", "application/vnd.ms-fontobject", "application/x-ndjson",
		"font/ttf", "font/otf", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon":
		return true
	}
	return false
}
