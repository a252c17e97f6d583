package watch

import (
	"regexp"
	"strings"
)

// Unwatched sorts the files of a push by a list of folders that do not concern
// a site. Entries of the list that begin with "!" are patterns of files in
// these folders that concern it nevertheless. Outside are the files that are in
// none of the folders, in their order, and those that fit a pattern; in are the
// folders that have the others, each once. If there are so many patterns and
// files that matching would take long, all files are outside.
func Unwatched(list, changed []string) (outside, in []string) {
	folders := map[string]bool{}
	depth, cost := 0, 0
	var again []*regexp.Regexp
	for _, entry := range list {
		if pattern, not := strings.CutPrefix(entry, "!"); not {
			again = append(again, glob(pattern))
			cost += 1 + strings.Count(pattern, "*")
			continue
		}
		folders[entry] = true
		depth = max(depth, 1+strings.Count(entry, "/"))
	}
	size := 0
	for _, file := range changed {
		size += len(file)
	}
	if cost*size > maxCost {
		return changed, nil
	}
	seen := map[string]bool{}
	for _, file := range changed {
		folder := above(file, folders, depth)
		if folder == "" || fitsOne(again, file) {
			outside = append(outside, file)
		} else if !seen[folder] {
			seen[folder] = true
			in = append(in, folder)
		}
	}
	return outside, in
}

// above returns the folder above a file, or the file itself, that is one of
// the folders, or "". None of them has more than depth parts.
func above(file string, folders map[string]bool, depth int) string {
	end := 0
	for range depth {
		next := strings.IndexByte(file[end:], '/')
		if next < 0 {
			next = len(file) - end
		}
		if end += next; folders[file[:end]] {
			return file[:end]
		}
		if end == len(file) {
			return ""
		}
		end++
	}
	return ""
}

func fitsOne(patterns []*regexp.Regexp, file string) bool {
	for _, p := range patterns {
		if p.MatchString(file) {
			return true
		}
	}
	return false
}
