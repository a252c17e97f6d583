package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
)

// OpenOutput opens the folder dir, which holds the content of out.Folder after
// a build, as the files of a site of at most limit bytes. If the repository
// itself is the site, it omits files for tools. It returns a *troy.Error if the
// folder can't be published.
func OpenOutput(ctx context.Context, dir string, out build.Output, limit int64, options ...site.SourceOption) (*site.Source, error) {
	if out.Source {
		options = append(options, site.LeavingOut(build.NotOfSite()...))
	}
	s, err := site.OpenSource(ctx, dir, site.Limits{TotalBytes: limit}, options...)
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return nil, troy.Errorf(e.Kind, "the output folder %q can't be published: %s", out.Folder, e.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("read the output: %w", err)
	}
	return s, nil
}

// CheckOutput is OpenOutput for a build that has just ended. It also refuses a
// site with a secret that is recognizable by its form or by its file's name,
// such as an AWS access key, unless the repository allows the file.
func CheckOutput(ctx context.Context, dir string, out build.Output, limit int64, options ...site.SourceOption) (*site.Source, error) {
	s, err := OpenOutput(ctx, dir, out, limit, append(options, site.FindingPublishedLeaks(out.AllowSecrets...))...)
	if err != nil {
		return nil, err
	}
	if len(s.Leaks) > 0 {
		return nil, errors.Join(leaked(out, s.Leaks), s.Close())
	}
	return s, nil
}

// leaked returns the error for secrets in an output. It names the first few
// files.
func leaked(out build.Output, leaks []site.Leak) error {
	const shown = 5
	var files []string
	for _, leak := range leaks[:min(shown, len(leaks))] {
		files = append(files, fmt.Sprintf("%q (%s)", leak.Path, leak.Reason))
	}
	more := ""
	if n := len(leaks) - len(files); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return troy.Errorf(troy.Invalid, "the output folder %q can't be published: everyone could read what looks like a secret in %s%s; "+
		"remove it and revoke it if it is real, or list the file in allow_secrets of troy.toml if it is meant to be public", out.Folder, strings.Join(files, ", "), more)
}

// OutputInWords returns log lines about an opened output.
func OutputInWords(s *site.Source, out build.Output) string {
	text := fmt.Sprintf("Files: %d, %s, from %q.\n", len(s.Files), BytesInWords(s.Bytes()), out.Folder)
	if s.Omitted > 0 {
		const shown = 5
		names := s.LeftOut[:min(shown, len(s.LeftOut))]
		more := ""
		if n := s.Omitted - len(names); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		text += fmt.Sprintf("Left out because the repository itself is the site: %d (%s%s). A rule in %s such as \"!NAME\" takes a file in again.\n",
			s.Omitted, quoted(names), more, site.IgnoreFile)
	}
	for _, warning := range out.Warnings {
		text += "Warning: " + warning + "\n"
	}
	return text
}

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(all, ", ")
}

// EncodeList encodes the list of an opened output's files.
func EncodeList(s *site.Source) ([]byte, error) {
	return site.EncodeManifest(site.Manifest{Files: s.Files})
}

// OpenListed opens an output folder inside dir by the list from EncodeList,
// without reading its files: they were hashed when the build ended, and a store
// compares digests.
func OpenListed(dir, folder string, list []byte, options ...site.SourceOption) (*site.Source, error) {
	m, err := site.DecodeManifest(bytes.NewReader(list), site.Limits{})
	if err != nil {
		return nil, fmt.Errorf("read the list of the output: %w", err)
	}
	return site.OpenListed(dir, folder, m.Files, options...)
}
