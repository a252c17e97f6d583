// Package traffic counts the requests to sites: how many there were on each day,
// which paths were requested most, and which were missing. The edge counts and
// writes a file for each site and day; web reads them. On AWS, workers count
// from CloudFront's access logs, and write to the database. A count has no data of
// visitors: no addresses, no queries, and no more of a referrer than its host
// and path.
package traffic

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxPaths and maxMissing are how many paths and how many missing ones a
	// file lists. More are counted in memory, so that the lists are right for
	// all that are common.
	maxPaths, maxMissing = 100, 50
	// maxText is the maximum length of a path or a referrer in bytes.
	maxText = 256
	// maxFile is the maximum size of a day's file in bytes.
	maxFile = 1 << 20
	// Kept is how many days are kept.
	Kept = 90
	// Day is the layout of a day.
	Day = time.DateOnly
)

// Count is the number of responses to a kind of requests, and their bytes
// without headers.
type Count struct {
	Requests int64 `json:"requests"`
	Bytes    int64 `json:"bytes"`
}

// Total counts all requests of a day.
type Total struct {
	Count
	NotFound int64 `json:"not_found"` // status 404 and 410
	Errors   int64 `json:"errors"`    // status 500 and higher
}

func (t *Total) add(u Total) {
	t.Requests += u.Requests
	t.Bytes += u.Bytes
	t.NotFound += u.NotFound
	t.Errors += u.Errors
}

// Path counts the requests of a path. Error is how many of them may belong to
// other paths, if there were more paths than are counted.
type Path struct {
	Path string `json:"path"`
	Count
	Error int64 `json:"error,omitempty"`
}

// Missing counts the requests of a missing path that came from one referrer.
type Missing struct {
	Path     string `json:"path"`
	Referrer string `json:"referrer"` // "" if the client sent none
	Requests int64  `json:"requests"`
	Error    int64  `json:"error,omitempty"`
}

// Report is what was counted on one day or on several.
type Report struct {
	Total
	Paths   []Path    `json:"paths"`
	Missing []Missing `json:"missing"`
}

// Add adds another report, and keeps the most common entries.
func (r *Report) Add(o Report) {
	r.add(o.Total)
	paths := newTop[string](4 * maxPaths)
	for _, p := range slices.Concat(r.Paths, o.Paths) {
		paths.add(p.Path, p.Count, p.Error)
	}
	missing := newTop[[2]string](4 * maxMissing)
	for _, m := range slices.Concat(r.Missing, o.Missing) {
		missing.add([2]string{m.Path, m.Referrer}, Count{Requests: m.Requests}, m.Error)
	}
	r.Paths, r.Missing = pathsOf(paths), missingOf(missing)
}

func pathsOf(t *top[string]) []Path {
	list := make([]Path, 0, maxPaths)
	for _, e := range t.most(maxPaths, strings.Compare) {
		list = append(list, Path{Path: e.key, Count: e.count, Error: e.over})
	}
	return list
}

func missingOf(t *top[[2]string]) []Missing {
	list := make([]Missing, 0, maxMissing)
	byText := func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	}
	for _, e := range t.most(maxMissing, byText) {
		list = append(list, Missing{Path: e.key[0], Referrer: e.key[1], Requests: e.count.Requests, Error: e.over})
	}
	return list
}

// Summary is what was counted in a range of days.
type Summary struct {
	Report
	Days []DayTotal `json:"days"` // each day of the range, the oldest first
}

// DayTotal counts a day (UTC).
type DayTotal struct {
	Day string `json:"day"`
	Total
}

// Read returns what was counted in a site's folder on the last days until now.
// A folder that does not exist has no requests. It skips files that it can't
// read, and returns their errors besides the summary.
func Read(folder string, now time.Time, days int) (Summary, error) {
	var problems []error
	s := Summarize(now, days, func(day string) Report {
		r, err := readDay(filepath.Join(folder, day+".json"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		return r
	})
	return s, errors.Join(problems...)
}

// Summarize adds the reports of the last days until now.
func Summarize(now time.Time, days int, report func(day string) Report) Summary {
	s := Summary{Days: make([]DayTotal, 0, days)}
	s.Paths, s.Missing = []Path{}, []Missing{}
	for i := days - 1; i >= 0; i-- {
		day := now.UTC().AddDate(0, 0, -i).Format(Day)
		r := report(day)
		s.Add(r)
		s.Days = append(s.Days, DayTotal{day, r.Total})
	}
	return s
}

// FirstKept returns the first day that is kept, at its beginning.
func FirstKept(now time.Time) time.Time {
	return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-Kept)
}

func readDay(path string) (r Report, err error) {
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return Report{}, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// writeDay replaces a day's file, whole. It is not synced: a crash of the
// machine may lose a day, but not a site.
func writeDay(path string, r Report) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// removeOld removes the files of days before the kept ones, and files that a
// crash left.
func removeOld(folder string, now time.Time) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	first := FirstKept(now).Format(Day) + ".json"
	for _, e := range entries {
		info, err := e.Info()
		stale := err == nil && strings.HasPrefix(e.Name(), ".new-") && now.Sub(info.ModTime()) > time.Hour
		if stale || strings.HasSuffix(e.Name(), ".json") && e.Name() < first {
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// clip shortens a text, as valid UTF-8. The result is a copy: a part of a
// request would keep all of it in memory.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	return strings.Clone(s)
}
