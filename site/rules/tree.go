package rules

import (
	"fmt"
	"io"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// FromTree compiles the rules of a tree. open opens one of its files. in gives
// the configuration; FromTree fills in the rest. If _headers is too large to
// read, it returns an Invalid error, because paths that it protects would be
// public.
func FromTree(m site.Manifest, open func(site.File) (io.ReadCloser, error), in Input) (Output, error) {
	for _, f := range m.Files {
		if !site.Private(f.Path) {
			continue
		}
		if f.Size > MaxFile && f.Path == "_headers" {
			return Output{}, troy.Errorf(troy.Invalid, "_headers has %d bytes; at most %d are allowed", f.Size, MaxFile)
		}
		content, err := read(f, open)
		if err != nil {
			return Output{}, fmt.Errorf("read %s: %w", f.Path, err)
		}
		if f.Path == "_redirects" {
			in.Redirects = content
		} else {
			in.Headers = content
		}
	}
	if in.TrailingSlash == "" {
		in.TrailingSlash = m.TrailingSlash
	}
	in.Paths = site.NewPathSet(m.Files)
	return Compile(in), nil
}

func read(f site.File, open func(site.File) (io.ReadCloser, error)) (content string, err error) {
	r, err := open(f)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	return string(data), err
}

// Stored returns the rules in the form in which a tree has them, or an Invalid
// error if they are too large.
func (o Output) Stored() (*site.Rules, error) {
	compiled, err := o.Rules.Encode()
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "%w", err)
	}
	return &site.Rules{Compiled: compiled, TrailingSlash: o.TrailingSlash}, nil
}
