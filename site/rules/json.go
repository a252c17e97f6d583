package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jsonRules maps vercel.json and firebase.json to the tables of a TOML file
// (vercel.com/docs/project-configuration, firebase.google.com/docs/hosting/full-config).
// What has no counterpart becomes a problem.
type jsonRules struct {
	data     []byte
	document document
	lines    map[string][]int // the line of each table, by name
}

// problem is a rule that can't be mapped.
type problem struct {
	line int
	text string
}

// jsonNames are the configuration files in JSON that have rules.
var jsonNames = []string{"vercel.json", "firebase.json"}

var vercelKeys = []string{"redirects", "rewrites", "headers", "cleanUrls", "trailingSlash"}

// jsonMember is a member of an object or an element of an array.
type jsonMember struct {
	key        string
	value      json.RawMessage
	start, end int // in the file
}

// jsonMembers lists the members of an object or the elements of an array at an
// offset of the file.
func jsonMembers(value []byte, base int) ([]jsonMember, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	first, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := first.(json.Delim)
	if !ok {
		return nil, errors.New("expected an object or an array")
	}
	var all []jsonMember
	for d.More() {
		m := jsonMember{}
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			m.key, _ = key.(string)
		}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		m.end = base + int(d.InputOffset())
		m.start = m.end - len(m.value)
		all = append(all, m)
	}
	_, err = d.Token()
	return all, err
}

// WithoutComments replaces the comments of a JSON file, and a comma after the
// last member of an object or an array, by spaces. wrangler.jsonc may have both.
func WithoutComments(data []byte) []byte {
	data = bytes.TrimPrefix(bytes.Clone(data), []byte("\ufeff"))
	comma := -1 // the last comma, if only white space follows it
	for i := 0; i < len(data); i++ {
		switch rest := data[i:]; {
		case data[i] == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case bytes.HasPrefix(rest, []byte("//")), bytes.HasPrefix(rest, []byte("/*")):
			end := []byte("\n")
			if rest[1] == '*' {
				end = []byte("*/")
			}
			n := bytes.Index(rest, end)
			if n < 0 {
				n = len(rest)
			} else if rest[1] == '*' {
				n += 2
			}
			blank(rest[:n])
			i += n - 1
			continue
		case data[i] == ',':
			comma = i
			continue
		case data[i] == ' ', data[i] == '\t', data[i] == '\r', data[i] == '\n':
			continue
		case (data[i] == '}' || data[i] == ']') && comma >= 0:
			data[comma] = ' '
		}
		comma = -1
	}
	return data
}

// blank replaces text by spaces and keeps its lines.
func blank(text []byte) {
	for i := range text {
		if text[i] != '\n' {
			text[i] = ' '
		}
	}
}

// onlyJSONRules returns a file with nothing but its rules, at their lines. ok is
// false if it has none.
func onlyJSONRules(name string, data []byte) (text string, ok bool, err error) {
	data = WithoutComments(data)
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return "", false, fmt.Errorf("it is not a valid JSON object: %w", err)
	}
	top, err := jsonMembers(data, 0)
	if err != nil {
		return "", false, err
	}
	keep := vercelKeys
	if name == "firebase.json" {
		keep = []string{"hosting"}
	}
	for _, m := range top {
		if slices.Contains(keep, m.key) {
			ok = true
			continue
		}
		blank(data[m.start:m.end])
		copy(data[m.start:m.end], "0") // every value has a byte
	}
	return string(bytes.TrimRight(data, " \n")) + "\n", ok, nil
}

// parseJSON maps a file.
func parseJSON(name string, text string) (document, error) {
	r := jsonRules{data: WithoutComments([]byte(text)), lines: map[string][]int{}}
	r.document.content = map[string]any{"site": map[string]any{}, "redirects": []any{}, "headers": []any{}}
	top, err := jsonMembers(r.data, 0)
	if err != nil {
		return r.document, fmt.Errorf("it is not a valid JSON object: %w", err)
	}
	if name == "vercel.json" {
		r.members(top, false)
	} else {
		for _, m := range top {
			if m.key == "hosting" {
				r.hosting(m)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.lines)) {
		for _, line := range r.lines[name] {
			r.document.sections = append(r.document.sections, section{keys: []string{name}, array: true, line: line})
		}
	}
	return r.document, nil
}

// hosting maps the only site of firebase.json.
func (r *jsonRules) hosting(m jsonMember) {
	if bytes.HasPrefix(m.value, []byte("[")) {
		sites, err := jsonMembers(m.value, m.start)
		if err != nil || len(sites) != 1 {
			r.problem(m, "hosting has %d sites, so its rules are ignored; expected one", len(sites))
			return
		}
		m = sites[0]
	}
	members, err := jsonMembers(m.value, m.start)
	if err != nil {
		r.problem(m, "hosting must be an object")
		return
	}
	r.members(members, true)
}

func (r *jsonRules) line(at int) int { return 1 + bytes.Count(r.data[:at], []byte{'\n'}) }

func (r *jsonRules) problem(m jsonMember, format string, args ...any) {
	r.document.problems = append(r.document.problems, problem{r.line(m.start), fmt.Sprintf(format, args...)})
}

func (r *jsonRules) members(members []jsonMember, firebase bool) {
	// A rewrite is tried after all redirects.
	slices.SortStableFunc(members, func(a, b jsonMember) int { return strings.Compare(a.key, b.key) })
	settings, _ := r.document.content["site"].(map[string]any)
	for _, m := range members {
		switch m.key {
		case "cleanUrls", "trailingSlash":
			var on *bool
			if err := json.Unmarshal(m.value, &on); err != nil {
				r.problem(m, "%s must be true or false", m.key)
			} else if on != nil {
				r.setting(settings, m.key, *on)
			}
		case "redirects", "rewrites", "headers":
			rules, err := jsonMembers(m.value, m.start)
			if err != nil || m.value[0] != '[' {
				if string(m.value) != "null" {
					r.problem(m, "%s must be an array of objects", m.key)
				}
				continue
			}
			for _, rule := range rules {
				r.rule(m.key, rule, firebase)
			}
		}
	}
}

func (r *jsonRules) setting(settings map[string]any, key string, on bool) {
	switch {
	case key == "cleanUrls":
		settings["clean_urls"] = on
	case on:
		settings["trailing_slash"] = "always"
	default:
		settings["trailing_slash"] = "never"
	}
}

// jsonRule is a redirect, a rewrite or headers of a path.
type jsonRule struct {
	Source      string `json:"source"`
	Glob        string `json:"glob"` // an old name of source
	Regex       string `json:"regex"`
	Destination string `json:"destination"`
	Permanent   *bool  `json:"permanent"`
	StatusCode  int    `json:"statusCode"`
	Type        int    `json:"type"`
	Has         any    `json:"has"`
	Missing     any    `json:"missing"`
	Headers     []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"headers"`
}

func (r *jsonRules) rule(kind string, m jsonMember, firebase bool) {
	var j jsonRule
	if err := json.Unmarshal(m.value, &j); err != nil {
		r.problem(m, "the rule of %s is not valid: expected source and the other keys as text", kind)
		return
	}
	if j.Source == "" {
		j.Source = j.Glob
	}
	switch {
	case j.Regex != "":
		r.problem(m, "regex is not supported; expected source")
		return
	case j.Source == "":
		r.problem(m, "source is missing")
		return
	case j.Has != nil || j.Missing != nil:
		r.problem(m, "the conditions has and missing are not supported, so the rule for %q is ignored", clip(j.Source))
		return
	case kind != "headers" && j.Destination == "":
		r.problem(m, "the rule for %q has no destination; functions and other services are not supported", clip(j.Source))
		return
	}
	translate := vercelPattern
	if firebase {
		translate = firebasePatterns
	}
	patterns, splat, err := translate(j.Source, kind == "headers")
	if err != nil {
		instead := ""
		if kind == "rewrites" && (j.Destination == "/index.html" || j.Destination == "/") {
			instead = "; for a single-page application, set spa = true in [site] of troy.toml"
		}
		r.problem(m, "the source %q: %s%s", clip(j.Source), err, instead)
		return
	}
	for _, from := range patterns {
		table := map[string]any{"from": from, "to": splat.Replace(j.Destination)}
		name := "redirects"
		switch kind {
		case "headers":
			values := map[string]any{}
			for _, h := range j.Headers {
				values[h.Key] = h.Value
			}
			name, table = "headers", map[string]any{"for": from, "values": values}
		case "rewrites":
			table["status"] = int64(200)
		default:
			table["status"], table["force"] = int64(j.status(firebase)), true
		}
		list, _ := r.document.content[name].([]any)
		r.document.content[name] = append(list, table)
		r.lines[name] = append(r.lines[name], r.line(m.start))
	}
}

func (j jsonRule) status(firebase bool) int {
	switch {
	case firebase && j.Type != 0:
		return j.Type
	case firebase:
		return 301
	case j.Permanent != nil && !*j.Permanent:
		return 307
	case j.Permanent == nil && j.StatusCode != 0:
		return j.StatusCode
	}
	return 308
}

var errPattern = errors.New("this pattern is not supported; expected :name for a segment, or a wildcard at the end")

// vercelPattern translates a pattern of path-to-regexp.
func vercelPattern(source string, many bool) ([]string, *strings.Replacer, error) {
	const all = "(.*)"
	splat := strings.NewReplacer("$1", ":splat")
	from := source
	if many {
		from = strings.ReplaceAll(from, all, "*")
	} else if rest, ok := strings.CutSuffix(from, all); ok {
		from = rest + "*"
	}
	if i := strings.LastIndex(from, "/:"); i >= 0 && strings.HasSuffix(from, "*") && placeholderName(from[i+2:]) == strings.TrimSuffix(from[i+2:], "*") {
		splat = strings.NewReplacer(from[i+1:], ":splat", strings.TrimSuffix(from[i+1:], "*"), ":splat")
		from = from[:i] + "/*"
	}
	if strings.ContainsAny(from, `(){}+?\|`) || !many && strings.Contains(strings.TrimSuffix(from, "*"), "*") {
		return nil, nil, errPattern
	}
	return []string{from}, splat, nil
}

// maxAlternatives is the maximum number of alternatives in a pattern.
const maxAlternatives = 50

// firebasePatterns translates a glob.
func firebasePatterns(source string, many bool) ([]string, *strings.Replacer, error) {
	alternatives := []string{source}
	for _, group := range [][3]string{{"@(", ")", "|"}, {"{", "}", ","}} {
		before, rest, open := strings.Cut(source, group[0])
		inside, after, closed := strings.Cut(rest, group[1])
		if !open || !closed {
			continue
		}
		alternatives = nil
		for one := range strings.SplitSeq(inside, group[2]) {
			alternatives = append(alternatives, before+one+after)
		}
		break
	}
	if len(alternatives) > maxAlternatives {
		return nil, nil, fmt.Errorf("it has %d alternatives; expected at most %d", len(alternatives), maxAlternatives)
	}
	splat := strings.NewReplacer()
	for i, from := range alternatives {
		from = "/" + strings.TrimPrefix(from, "/")
		if k := strings.LastIndex(from, "/:"); k >= 0 && strings.HasSuffix(from, "*") {
			splat = strings.NewReplacer(from[k+1:], ":splat", strings.TrimSuffix(from[k+1:], "*"), ":splat")
			from = from[:k] + "/**"
		}
		segments := strings.Split(from, "/")
		for k, s := range segments {
			switch {
			case s == "**" && k == len(segments)-1:
				segments[k] = "*"
			case s == "*":
				segments[k] = fmt.Sprintf(":segment%d", k)
			}
		}
		from = strings.Join(segments, "/")
		if many {
			from = strings.ReplaceAll(from, "/**/*", "/*")
			from = strings.ReplaceAll(from, "/**/", "/*/")
		}
		if strings.ContainsAny(from, `(){}+?\|!@`) || strings.Contains(from, "**") || !many && strings.Contains(strings.TrimSuffix(from, "/*"), "*") {
			return nil, nil, errPattern
		}
		alternatives[i] = from
	}
	return alternatives, splat, nil
}
