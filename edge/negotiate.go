package edge

import (
	"strconv"
	"strings"
)

// acceptsGzip reports whether a client prefers gzip to the identity coding (RFC
// 9110 §12.5.3). values are its Accept-Encoding lines. A coding with a
// malformed weight counts as refused.
func acceptsGzip(values []string) bool {
	gzip, other, identity := -1.0, -1.0, -1.0
	for _, line := range values {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(part, ";")
			switch coding = strings.TrimSpace(coding); {
			case strings.EqualFold(coding, "gzip"), strings.EqualFold(coding, "x-gzip"):
				gzip = max(gzip, weight(params))
			case strings.EqualFold(coding, "identity"):
				identity = weight(params)
			case coding == "*":
				other = weight(params)
			}
		}
	}
	if gzip < 0 {
		gzip = other
	}
	return gzip > 0 && gzip >= identity
}

// weight parses "q=0.5" (RFC 9110 §12.4.2). It returns 1 if there is no weight.
func weight(params string) float64 {
	params = strings.TrimSpace(params)
	if params == "" {
		return 1
	}
	name, value, _ := strings.Cut(params, "=")
	if !strings.EqualFold(name, "q") || len(value) > len("0.000") {
		return 0
	}
	q, err := strconv.ParseFloat(value, 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0
	}
	return q
}

// compressible reports whether files of this content type usually become
// smaller by compression.
func compressible(contentType string) bool {
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

// lists reports whether a list of entity tags contains this strong tag or is
// "*" (RFC 9110 §13.1.1 and §13.1.2). With weak, W/"x" matches "x" too. A
// malformed tag ends the list.
func lists(values []string, etag string, weak bool) bool {
	for _, line := range values {
		for {
			line = strings.TrimLeft(line, " \t,")
			if line == "*" {
				return true
			}
			tag, isWeak := strings.CutPrefix(line, "W/")
			if !strings.HasPrefix(tag, `"`) {
				break
			}
			end := strings.IndexByte(tag[1:], '"')
			if end < 0 {
				break
			}
			if tag[:end+2] == etag && (weak || !isWeak) {
				return true
			}
			line = tag[end+2:]
		}
	}
	return false
}

// rangeable reports whether to honour a Range header: its unit is bytes (RFC
// 9110 §14.2: others are ignored), and it has no more parts than a document
// viewer requests.
func rangeable(value string) bool {
	const maxParts = 16
	return strings.HasPrefix(value, "bytes=") && strings.Count(value, ",") < maxParts
}

// codings is the part of an Accept-Encoding that matters.
type codings uint8

const takesGzip codings = 1

// accepted returns the codings that an Accept-Encoding accepts.
func accepted(value []byte) codings {
	if acceptsGzip([]string{string(value)}) {
		return takesGzip
	}
	return 0
}
