package rules

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// FromTree compiles the rules of a tree. read reads one of its files. in gives
// the configuration; FromTree fills in the rest. It returns an Invalid error if
// _redirects or _headers is too large or not UTF-8 text, because paths that they
// protect would be public.
func FromTree(m site.Manifest, read func(site.File) ([]byte, error), in Input) (Output, error) {
	for _, f := range m.Files {
		if !site.Private(f.Path) {
			continue
		}
		if f.Size > MaxFile {
			return Output{}, troy.Errorf(troy.Invalid, "%s has %d bytes; expected at most %d", f.Path, f.Size, MaxFile)
		}
		content, err := read(f)
		if err != nil {
			return Output{}, fmt.Errorf("read %s: %w", f.Path, err)
		}
		if at := notText(content); at > 0 {
			return Output{}, troy.Errorf(troy.Invalid, "%s:%d is not UTF-8 text; expected a file in UTF-8: save it again in this encoding", f.Path, at)
		}
		if f.Path == "_redirects" {
			in.Redirects = string(content)
		} else {
			in.Headers = string(content)
		}
	}
	if in.TrailingSlash == "" {
		in.TrailingSlash = m.TrailingSlash
	}
	in.Paths = site.NewPathSet(m.Files)
	in.Keys = TreeKeys(m.Files)
	return Compile(in), nil
}

// notText returns the number of the first line that is not UTF-8 text, or 0.
func notText(content []byte) int {
	n := 0
	for line := range bytes.Lines(content) {
		if n++; !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
			return n
		}
	}
	return 0
}

// TreeKeys returns the number of objects of a tree on AWS, where pages have
// two.
func TreeKeys(files []site.File) int {
	n := len(files)
	for _, f := range files {
		if strings.HasSuffix(f.Path, ".html") {
			n++
		}
	}
	return n
}

// Policy returns the trailing slash policy that troy.toml sets, or "".
func Policy(config []ConfigFile) site.TrailingSlash {
	return Compile(Input{Config: config}).TrailingSlash
}
