package site

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// unreadable maps the first bytes of common formats that can't be read to a
// description.
func unreadable() map[string]string {
	return map[string]string{
		"BZh":                    "it is compressed with bzip2",
		"\xfd7zXZ\x00":           "it is compressed with xz",
		"7z\xbc\xaf\x27\x1c":     "it is a 7z archive",
		"Rar!\x1a\x07":           "it is a RAR archive",
		"\x04\x22\x4d\x18":       "it is compressed with LZ4",
		"%PDF-":                  "it is a PDF",
		"\x89PNG":                "it is an image",
		"xar!":                   "it is a xar archive",
		"\x00\x00\x00\x0cjP  \r": "it is an image",
	}
}

const archiveAdvice = "release a folder, a .zip, a .tar, a .tar.gz or a .tar.zst"

// openArchive detects the format by the file's first bytes. If it returns an
// error, the file is closed.
func openArchive(ctx context.Context, file *os.File, limits Limits) (*Source, error) {
	info, err := file.Stat()
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	size := info.Size()
	head := make([]byte, 512)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	head = head[:n]
	lower := strings.ToLower(file.Name())
	var s *Source
	switch {
	case bytes.HasPrefix(head, []byte("PK")) || strings.HasSuffix(lower, ".zip"):
		var z *zipTree
		if z, err = readZip(ctx, file, size, limits); err == nil {
			z.file = file
			return &Source{tree: z, Stripped: z.stripped}, nil
		}
	default:
		var compression string
		if compression, err = tarCompression(head, lower); err == nil {
			s, err = openTar(ctx, file, size, compression, limits)
		}
	}
	return s, errors.Join(err, file.Close())
}

// tarCompression returns the compression of a tar, or an Invalid error that
// names the actual format.
func tarCompression(head []byte, name string) (string, error) {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gzip", nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstd", nil
	case len(head) > 262 && string(head[257:262]) == "ustar" || strings.HasSuffix(name, ".tar"):
		return "", nil
	}
	for magic, what := range unreadable() {
		if bytes.HasPrefix(head, []byte(magic)) {
			return "", troy.Errorf(troy.Invalid, "%s; %s", what, archiveAdvice)
		}
	}
	if isHTML(name) {
		return "", troy.Errorf(troy.Invalid, "it is one page, not a site; put it into a folder as index.html and release the folder")
	}
	return "", troy.Errorf(troy.Invalid, "it is neither a folder nor a supported archive; %s", archiveAdvice)
}

// entryName returns the name of an archive's entry without the "./" that some
// programs prepend and without a folder's trailing slash. The name of the
// archive's root is "".
func entryName(name string) string {
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[2:], "/")
	}
	name = strings.TrimSuffix(name, "/")
	if name == "." {
		return ""
	}
	return name
}

// anySkipped reports whether the entry lies in a folder or file that is never
// part of a site.
func anySkipped(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if skipped(segment) {
			return true
		}
	}
	return false
}

// onlyFolder returns the single top folder if it holds everything and the
// site's index.html, or "". paths are sorted.
func onlyFolder(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	// Because paths are sorted, comparing the first and the last is enough.
	top, _, inside := strings.Cut(paths[0], "/")
	if !inside || !strings.HasPrefix(paths[len(paths)-1], top+"/") {
		return ""
	}
	if _, ok := slices.BinarySearch(paths, path.Join(top, "index.html")); !ok {
		return ""
	}
	return top
}
