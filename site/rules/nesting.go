package rules

import (
	"bytes"
	"fmt"
)

// maxTOMLDepth is the maximum depth of brackets and the maximum number of parts
// of a dotted key in TOML. Files that people write have less than ten.
const maxTOMLDepth = 100

// CheckTOML returns an error for TOML that nests too deeply. The parser recurses
// without a limit: some megabytes of brackets would end the process. Call it
// before parsing what comes from a repository or a user.
//
// For valid TOML the depth is exact. At the first mistake the parser stops, so
// the depth after it does not matter.
func CheckTOML(data []byte) error {
	depth, parts, line := 0, 0, 1
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '#':
			if end := bytes.IndexByte(data[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				return nil
			}
		case '"', '\'':
			end := endOfText(data[i:])
			line += bytes.Count(data[i:i+end], []byte{'\n'})
			i += end - 1
		case '[', '{':
			depth, parts = depth+1, 0
		case ']', '}':
			depth, parts = max(0, depth-1), 0
		case '.':
			parts++
		case '=', ',':
			parts = 0
		case '\n':
			line, parts = line+1, 0
		}
		if depth > maxTOMLDepth || parts > maxTOMLDepth {
			return fmt.Errorf("line %d nests more than %d levels", line, maxTOMLDepth)
		}
	}
	return nil
}

// endOfText returns the length of the string with which data begins
// (toml.io/en/v1.0.0#string). One that does not end reaches to the end.
func endOfText(data []byte) int {
	quote := data[:1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(data, triple) {
		quote = triple
	}
	for i := len(quote); i < len(data); i++ {
		switch {
		case data[i] == '\\' && quote[0] == '"':
			i++
		case bytes.HasPrefix(data[i:], quote):
			end := i + len(quote)
			// Up to two quotes may stand before the closing ones.
			for n := 0; n < 2 && len(quote) == 3 && end < len(data) && data[end] == quote[0]; n++ {
				end++
			}
			return end
		case len(quote) == 1 && data[i] == '\n':
			return i // not valid
		}
	}
	return len(data)
}
