package build

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Range is the set of versions that a file or a variable asks for.
type Range struct {
	// allowed is nil if any version is.
	allowed *semver.Constraints
	exact   *semver.Version
	// lts is 1 for the newest line of Node.js with long-term support, 2 for the
	// one before it, and so on; 0 means any line.
	lts int
	// newest reports that the newest version is wanted, also if it has no
	// long-term support.
	newest bool
}

// maxRange is the maximum length of a version or a range in bytes. The longest
// that packages use are below 100.
const maxRange = 256

// ParseRange parses a version or a range in npm's grammar
// (docs.npmjs.com/cli/using-npm/semver#ranges) and, for "node", the names that
// nvm knows (github.com/nvm-sh/nvm#usage): node, lts/*, lts/jod, lts/-1. "" and
// "system" are any version.
func ParseRange(tool, text string) (r Range, ok bool) {
	text = strings.TrimSpace(text)
	if len(text) > maxRange || strings.ContainsFunc(text, isControl) {
		return r, false
	}
	if tool == "node" {
		if r, ok := parseNodeName(strings.ToLower(text)); ok {
			return r, true
		}
	}
	switch text {
	case "", "system": // of asdf and nvm: the machine's
		return r, true
	case "latest":
		return Range{newest: true}, true
	}
	if v, err := semver.StrictNewVersion(strings.TrimLeft(text, "v=")); err == nil {
		return Range{exact: v}, true
	}
	// npm reads "||" without a range beside it, and "" between them, as any
	// version; it joins comparators with white space alone.
	if strings.Contains(text, ",") || !npmRange.MatchString(text) {
		return r, false
	}
	for part := range strings.SplitSeq(text, "||") {
		if strings.TrimSpace(part) == "" {
			return Range{}, true
		}
	}
	allowed, err := semver.NewConstraint(spaceAfterOperator.ReplaceAllString(text, "$1"))
	if err != nil {
		return r, false
	}
	return Range{allowed: allowed}, true
}

var (
	// npmRange matches the characters of npm's ranges.
	npmRange           = regexp.MustCompile(`^[-0-9A-Za-z.*+^~<>=| ]+$`)
	spaceAfterOperator = regexp.MustCompile(`([<>=^~])\s+`)
)

func parseNodeName(text string) (Range, bool) {
	switch text {
	case "node", "latest", "current", "stable":
		return Range{newest: true}, true
	case "lts", "--lts", "lts/*", "lts-latest":
		return Range{lts: 1}, true
	}
	name, found := strings.CutPrefix(text, "lts/")
	if !found {
		return Range{}, false
	}
	if back, found := strings.CutPrefix(name, "-"); found {
		n, err := strconv.Atoi(back)
		return Range{lts: n + 1}, err == nil && n > 0 && n < 100
	}
	for _, line := range nodeLines() {
		if name != "" && line.name == name {
			allowed, err := semver.NewConstraint(strconv.FormatUint(line.major, 10))
			return Range{allowed: allowed}, err == nil
		}
	}
	return Range{}, false
}

// Exact returns the only version in the range, or nil.
func (r Range) Exact() *semver.Version { return r.exact }

// Newest reports whether the newest version is wanted, so that an older one does
// not do.
func (r Range) Newest() bool { return r.newest }

// Any reports whether the range asks for nothing in particular.
func (r Range) Any() bool { return r.exact == nil && r.allowed == nil && r.lts == 0 && !r.newest }

// Allows reports whether a version is in the range. The names of lines of
// Node.js depend on the time.
func (r Range) Allows(v *semver.Version, now time.Time) bool {
	switch {
	case r.exact != nil:
		return v.Equal(r.exact)
	case r.lts > 0:
		lines := supportedLines(now)
		return r.lts <= len(lines) && v.Major() == lines[r.lts-1] && v.Prerelease() == ""
	case r.allowed != nil:
		return r.allowed.Check(v)
	}
	return v.Prerelease() == ""
}

// Best returns the index of the version to use among those that are available,
// or -1. For Node.js, lines with long-term support come first, the newest of
// them before the others, because a range such as >=18 also allows the line in
// development.
func (r Range) Best(tool string, versions []*semver.Version, now time.Time) int {
	best := -1
	for i, v := range versions {
		if !r.Allows(v, now) {
			continue
		}
		if best < 0 || r.better(tool, v, versions[best], now) {
			best = i
		}
	}
	return best
}

func (r Range) better(tool string, v, than *semver.Version, now time.Time) bool {
	if tool == "node" && !r.newest {
		lines := supportedLines(now)
		if a, b := slices.Contains(lines, v.Major()), slices.Contains(lines, than.Major()); a != b {
			return a
		}
	}
	return v.GreaterThan(than)
}

// MajorOf returns the first of the major versions in which the range has a
// version, for services that offer major versions alone.
func (r Range) MajorOf(majors []uint64, now time.Time) (major uint64, found bool) {
	for _, m := range majors {
		// The last and the first of the line: >=22.12 and <22.5 have one of them.
		if r.exact != nil && r.exact.Major() == m {
			return m, true
		}
		for _, v := range []*semver.Version{semver.New(m, 999, 999, "", ""), semver.New(m, 0, 0, "", "")} {
			if r.exact == nil && r.Allows(v, now) {
				return m, true
			}
		}
	}
	return 0, false
}

// nodeLine is a line of Node.js with long-term support.
type nodeLine struct {
	major uint64
	name  string
	from  string // the day on which the support begins
}

// nodeLines returns the lines that have or had long-term support, the newest
// first (github.com/nodejs/Release#release-schedule).
func nodeLines() []nodeLine {
	return []nodeLine{
		{28, "", "2027-10-26"},
		{26, "", "2026-10-28"},
		{24, "krypton", "2025-10-28"},
		{22, "jod", "2024-10-29"},
		{20, "iron", "2023-10-24"},
		{18, "hydrogen", "2022-10-25"},
		{16, "gallium", "2021-10-26"},
		{14, "fermium", "2020-10-27"},
		{12, "erbium", "2019-10-21"},
		{10, "dubnium", "2018-10-30"},
		{8, "carbon", "2017-10-31"},
		{6, "boron", "2016-10-18"},
		{4, "argon", "2015-10-12"},
	}
}

// supportedLines returns the major versions whose long-term support began
// before a time, the newest first.
func supportedLines(now time.Time) (majors []uint64) {
	day := now.UTC().Format(time.DateOnly)
	for _, line := range nodeLines() {
		if line.from <= day {
			majors = append(majors, line.major)
		}
	}
	return majors
}

// DefaultNode is the range of Node.js for repositories that name no version:
// the newest line with long-term support.
func DefaultNode() Range { return Range{lts: 1} }
