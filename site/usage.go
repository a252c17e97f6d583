package site

import "iter"

// Usage sums the different files of trees: a digest counts once, in however
// many trees and under however many paths it is.
type Usage struct {
	Files, Bytes int64
	seen         map[Digest]struct{}
}

// Add adds the files of a tree, and those that it carries.
func (u *Usage) Add(m Manifest) {
	for _, f := range m.Files {
		u.AddFile(f)
	}
	for _, c := range m.Carried {
		u.AddFile(c.File)
	}
}

// AddFile adds one file.
func (u *Usage) AddFile(f File) {
	if _, again := u.seen[f.SHA256]; again {
		return
	}
	if u.seen == nil {
		u.seen = map[Digest]struct{}{}
	}
	u.seen[f.SHA256] = struct{}{}
	u.Files++
	u.Bytes += f.Size
}

// Lacking yields those of the files that u does not have.
func (u *Usage) Lacking(files []File) iter.Seq[File] {
	return func(yield func(File) bool) {
		for _, f := range files {
			if _, have := u.seen[f.SHA256]; !have && !yield(f) {
				return
			}
		}
	}
}

// Beyond returns what the files add that u does not have.
func (u *Usage) Beyond(files []File) (added Usage) {
	for f := range u.Lacking(files) {
		added.AddFile(f)
	}
	return added
}
