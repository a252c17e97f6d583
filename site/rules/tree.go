package rules

import (
	"fmt"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// FromTree compiles the rules of a tree. read reads one of its files. in gives
// the configuration; FromTree fills in the rest. It returns an Invalid error if
// _redirects or _headers is too large, because paths that they protect would be
// public.
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
	return Compile(in), nil
}

// Policy returns the trailing slash policy that troy.toml sets, or "".
func Policy(config []ConfigFile) site.TrailingSlash {
	return Compile(Input{Config: config}).TrailingSlash
}
