package site

import (
	_ "embed"
	"path"
	"strings"
	"sync"
)

// listedTypes are the types of mime-db, see tools/mimetypes. They are embedded
// so that every machine has the same types.
//
//go:embed types.txt
var listedTypes string

const octetStream = "application/octet-stream"

// stricter takes precedence over mime-db: it has the types that RFCs and
// browsers require and that mime-db lacks. withCharset adds a charset to text
// types.
var stricter = map[string]string{
	"js": "text/javascript", "mjs": "text/javascript", "cjs": "text/javascript", // RFC 9239 §6
	"xml": "application/xml", "xsl": "application/xml", "ico": "image/x-icon",
	"json": "application/json", "map": "application/json", "topojson": "application/json", "har": "application/json",
	"yaml": "application/yaml", "yml": "application/yaml", // RFC 9512
	"ndjson": "application/x-ndjson", "jsonl": "application/x-ndjson",
	"gz": "application/gzip", "tgz": "application/gzip", "zst": "application/zstd", // RFC 6713, RFC 8878
	"mp4": "video/mp4", "m4v": "video/mp4", "mp3": "audio/mpeg", "m4a": "audio/mp4", "aac": "audio/aac", "wav": "audio/wav",
	"oga": "audio/ogg", "ogg": "audio/ogg", "opus": "audio/ogg", "flac": "audio/flac", "ts": "video/mp2t", "mts": "video/mp2t", "m2ts": "video/mp2t",
	"vcf": "text/vcard", "md": "text/markdown", "markdown": "text/markdown", // RFC 6350, RFC 7763
	"otf": "font/otf", "ttf": "font/ttf", "apng": "image/apng",
	"diff": "text/plain", "patch": "text/plain", "go": "text/plain", "py": "text/plain", "rs": "text/plain", "rb": "text/plain",
	"tsx": "text/plain", "lock": "text/plain", "org": "text/plain", "asc": "text/plain", "sh": "text/plain", "bat": "text/plain",
	"parquet": "application/vnd.apache.parquet", "pmtiles": "application/vnd.pmtiles",
}

// wellKnown maps the names of files below .well-known/ that have no telling
// extension to their types.
var wellKnown = map[string]string{
	"apple-app-site-association":        "application/json", // developer.apple.com/documentation/xcode/supporting-associated-domains
	"openid-configuration":              "application/json", // openid.net/specs/openid-connect-discovery-1_0.html §4.2
	"openid-credential-issuer":          "application/json",
	"oauth-authorization-server":        "application/json", // RFC 8414 §3.2
	"oauth-protected-resource":          "application/json", // RFC 9728 §3.2
	"uma2-configuration":                "application/json",
	"smart-configuration":               "application/json",
	"jwks":                              "application/jwk-set+json", // RFC 7517 §8.5
	"host-meta":                         "application/xrd+xml",      // RFC 6415 §2
	"host-meta.json":                    "application/json",
	"webfinger":                         "application/jrd+json", // RFC 7033 §10.2
	"nodeinfo":                          "application/json",
	"matrix/client":                     "application/json",
	"matrix/server":                     "application/json",
	"web-identity":                      "application/json",
	"webauthn":                          "application/json",
	"passkey-endpoints":                 "application/json",
	"traffic-advice":                    "application/trafficadvice+json",
	"private-token-issuer-directory":    "application/private-token-issuer-directory",
	"http-message-signatures-directory": "application/http-message-signatures-directory+json",
	"atproto-did":                       "text/plain",
	"apple-developer-merchantid-domain-association": "text/plain",
}

var types = sync.OnceValue(func() map[string]string {
	all := make(map[string]string, 1500)
	for line := range strings.Lines(listedTypes) {
		extension, t, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		all[extension] = withCharset(t)
	}
	for extension, t := range stricter {
		all[extension] = withCharset(t)
	}
	return all
})

var wellKnownTypes = sync.OnceValue(func() map[string]string {
	all := make(map[string]string, len(wellKnown))
	for name, t := range wellKnown {
		all[name] = withCharset(t)
	}
	return all
})

// withCharset adds charset=utf-8 to the text types that have a charset
// parameter. JSON has none (RFC 8259 §11), nor has YAML. XML files other than
// pages and feeds declare their encoding themselves.
func withCharset(t string) string {
	switch t {
	case "application/xml", "application/xhtml+xml", "application/rss+xml", "application/atom+xml", "image/svg+xml", "application/x-subrip":
		return t + "; charset=utf-8"
	}
	if strings.HasPrefix(t, "text/") {
		return t + "; charset=utf-8"
	}
	return t
}

// ContentType returns a file's media type: by its path for well-known files,
// otherwise by its extension. Unknown types are application/octet-stream.
func ContentType(p string) string {
	name, found := strings.CutPrefix(p, ".well-known/")
	if found || p == "apple-app-site-association" {
		if t, ok := wellKnownTypes()[name]; ok {
			return t
		}
		if strings.HasPrefix(name, "acme-challenge/") || strings.HasPrefix(name, "pki-validation/") {
			return "text/plain; charset=utf-8"
		}
	}
	extension := strings.TrimPrefix(path.Ext(p), ".")
	var lower [16]byte
	if extension == "" || len(extension) > len(lower) {
		return octetStream
	}
	for i := range len(extension) {
		c := extension[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	if t, ok := types()[string(lower[:len(extension)])]; ok {
		return t
	}
	return octetStream
}

// ContentEncoding returns the content coding of a file by its name: gzip for
// .svgz, which browsers can't read otherwise, and "" for all others. Archives
// are served as archives.
func ContentEncoding(p string) string {
	if extension := path.Ext(p); len(extension) == 5 && strings.EqualFold(extension, ".svgz") {
		return "gzip"
	}
	return ""
}

// Shared reports whether pages of other origins may read a file: fonts, and the
// files of .well-known/ in the root, which are meant to be read by others.
func Shared(p string) bool {
	return strings.HasPrefix(p, ".well-known/") || strings.HasPrefix(ContentType(p), "font/") || ContentType(p) == "application/vnd.ms-fontobject"
}
