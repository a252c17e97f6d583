package edge

import (
	"strconv"
	"strings"
)

// coding is a content coding that the edge can produce.
type coding uint8

// The codings, from the one that the edge prefers least among those that a
// client likes equally. The first form of a file to exist is gzip.
const (
	identity coding = iota
	codingGzip
	codingZstd
	codingBrotli
	// quickGzip marks a gzip form in memory that was made during a request.
	quickGzip
)

// name returns the coding's name in HTTP.
func (c coding) name() string { return [...]string{"identity", "gzip", "zstd", "br"}[c] }

// suffix returns the end of the name of a file's encoded form.
func (c coding) suffix() string { return [...]string{"", ".gz", ".zst", ".br"}[c] }

// codings are the codings that a client prefers to identity, two bits for each:
// the best one is in the lowest bits.
type codings uint8

func (c codings) first() coding { return coding(c & 3) }
func (c codings) rest() codings { return c >> 2 }

// accepted returns the codings that a client accepts (RFC 9110 §12.5.3). lines are
// its Accept-Encoding lines. A coding with a malformed weight counts as refused.
func accepted(lines ...string) codings {
	weights := [...]float64{-1, -1, -1, -1}
	other := -1.0
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			switch name = strings.TrimSpace(name); {
			case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
				weights[codingGzip] = max(weights[codingGzip], weight(params))
			case strings.EqualFold(name, "br"):
				weights[codingBrotli] = max(weights[codingBrotli], weight(params))
			case strings.EqualFold(name, "zstd"):
				weights[codingZstd] = max(weights[codingZstd], weight(params))
			case strings.EqualFold(name, "identity"):
				weights[identity] = weight(params)
			case name == "*":
				other = weight(params)
			}
		}
	}
	var best codings
	// The worst goes in first.
	order := [...]coding{codingGzip, codingZstd, codingBrotli}
	for i, c := range order {
		if weights[c] < 0 {
			weights[c] = other
		}
		for j := i; j > 0 && weights[order[j]] < weights[order[j-1]]; j-- {
			order[j], order[j-1] = order[j-1], order[j]
		}
	}
	for _, c := range order {
		if weights[c] > 0 && weights[c] >= weights[identity] {
			best = best<<2 | codings(c)
		}
	}
	return best
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
