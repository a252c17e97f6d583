package rules

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/troy-iaas/troy"
)

// ConfigFile is a configuration file of the repository: troy.toml,
// netlify.toml, vercel.json, firebase.json, or a wrangler file, of which the
// name and two settings matter.
type ConfigFile struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
}

// MaxConfig is the maximum size of a configuration file in bytes.
const MaxConfig = 256 << 10

// ConfigNames are the names of configuration files, in the order in which their
// rules count.
func ConfigNames() []string {
	return slices.Concat([]string{"troy.toml", "netlify.toml"}, jsonNames, wranglerNames)
}

// CheckConfig returns an Invalid error at a field if the files are not valid
// configuration files.
func CheckConfig(files []ConfigFile) error {
	seen := map[string]bool{}
	for i, f := range files {
		at := fmt.Sprintf("config[%d]", i)
		switch {
		case !slices.Contains(ConfigNames(), f.Name):
			return troy.Errorf(troy.Invalid, "it is %q; expected one of %s", troy.Clip(f.Name), strings.Join(ConfigNames(), ", ")).At(at + ".name")
		case seen[f.Name]:
			return troy.Errorf(troy.Invalid, "%s appears twice", f.Name).At(at + ".name")
		case len(f.Text) > MaxConfig:
			return troy.Errorf(troy.TooLarge, "it has %d bytes; expected at most %d", len(f.Text), MaxConfig).At(at + ".text")
		}
		seen[f.Name] = true
		if _, err := parseConfig(f); err != nil {
			return troy.Errorf(troy.Invalid, "%s", err).At(at + ".text")
		}
	}
	return nil
}

// NewConfig returns the part of a configuration file that contains rules: lines
// of other tables, which may contain secrets, are empty. It returns an Invalid
// error if the file is not valid TOML. ok is false if no rule is in it.
func NewConfig(name string, data []byte) (f ConfigFile, ok bool, err error) {
	f.Name = name
	if isWrangler(name) {
		f.Text = onlyAssets(name, data)
		return f, true, nil
	}
	if len(data) > 4*MaxConfig {
		return f, false, troy.Errorf(troy.TooLarge, "%s has %d bytes; expected at most %d", name, len(data), 4*MaxConfig)
	}
	if slices.Contains(jsonNames, name) {
		if f.Text, ok, err = onlyJSONRules(name, data); err != nil {
			return f, false, troy.Errorf(troy.Invalid, "%s: %s", name, err)
		}
		if len(f.Text) > MaxConfig {
			return f, false, troy.Errorf(troy.TooLarge, "the rules in %s have %d bytes; expected at most %d", name, len(f.Text), MaxConfig)
		}
		return f, ok, nil
	}
	if _, err := parseConfig(ConfigFile{Name: name, Text: string(data)}); err != nil {
		return f, false, troy.Errorf(troy.Invalid, "%s: %s", name, err)
	}
	lines := strings.Split(string(data), "\n")
	keep := make([]bool, len(lines))
	for _, s := range sections(data) {
		if !relevant(s.keys) {
			continue
		}
		ok = true
		for i := s.line - 1; i < min(s.end, len(lines)); i++ {
			keep[i] = true
		}
	}
	for i := range lines {
		if !keep[i] {
			lines[i] = ""
		}
	}
	f.Text = strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
	if len(f.Text) > MaxConfig {
		return f, false, troy.Errorf(troy.TooLarge, "the rules in %s have %d bytes; expected at most %d", name, len(f.Text), MaxConfig)
	}
	return f, ok, nil
}

// relevant reports whether a table or a key contains rules.
func relevant(keys []string) bool {
	return slices.Contains([]string{"site", "redirects", "headers", "rules"}, keys[0])
}

// section is a table, or a key outside of tables, with the lines that it takes.
type section struct {
	keys      []string
	array     bool
	line, end int // the first line and the last one, from 1
	entries   map[string]int
}

// sections lists the tables of a valid TOML file.
func sections(data []byte) []section {
	var all []section
	var p unstable.Parser
	p.Reset(data)
	add := func(s section) {
		if n := len(all); n > 0 {
			all[n-1].end = s.line - 1
		}
		all = append(all, s)
	}
	inTable := false
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable && e.Kind != unstable.KeyValue {
			continue
		}
		var keys []string
		line := 0
		for it := e.Key(); it.Next(); {
			if line == 0 {
				line = 1 + bytes.Count(data[:it.Node().Raw.Offset], []byte{'\n'})
			}
			keys = append(keys, string(it.Node().Data))
		}
		if len(keys) == 0 {
			continue
		}
		switch {
		case e.Kind == unstable.KeyValue && inTable:
			all[len(all)-1].entries[strings.Join(keys, ".")] = line
		default:
			inTable = e.Kind != unstable.KeyValue
			add(section{keys: keys, array: e.Kind == unstable.ArrayTable, line: line, entries: map[string]int{}})
		}
	}
	if n := len(all); n > 0 {
		all[n-1].end = 1 + bytes.Count(data, []byte{'\n'})
	}
	return all
}

// document is a parsed configuration file.
type document struct {
	content  map[string]any
	sections []section
	problems []problem // of a file in JSON
}

func parseConfig(f ConfigFile) (document, error) {
	var d document
	if f.Text == "" {
		return d, nil
	}
	if isWrangler(f.Name) {
		return parseWrangler(f)
	}
	if slices.Contains(jsonNames, f.Name) {
		return parseJSON(f.Name, f.Text)
	}
	data := []byte(strings.TrimPrefix(f.Text, "\ufeff"))
	if err := CheckTOML(data); err != nil {
		return d, err
	}
	if err := toml.Unmarshal(data, &d.content); err != nil {
		return d, badTOML(err)
	}
	d.sections = sections(data)
	return d, nil
}

// badTOML says in which line a file is not valid.
func badTOML(err error) error {
	text := strings.TrimPrefix(err.Error(), "toml: ")
	if at, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, _ := at.Position()
		return fmt.Errorf("line %d is not valid TOML: %s", row, text)
	}
	return fmt.Errorf("it is not valid TOML: %s", text)
}

// line returns the line of the nth [[name]] table, or of the key, from 1.
func (d document) line(name string, n int) int {
	first := 0
	for _, s := range d.sections {
		if s.keys[0] != name {
			continue
		}
		if first == 0 {
			first = s.line
		}
		if s.array && len(s.keys) == 1 {
			if n == 0 {
				return s.line
			}
			n--
		}
	}
	return first
}

// entry returns the line of a key of a table.
func (d document) entry(table, key string) int {
	for _, s := range d.sections {
		full := strings.Join(append(slices.Clone(s.keys), key), ".")
		if s.keys[0] != table {
			continue
		}
		if strings.Join(s.keys, ".") == table+"."+key {
			return s.line
		}
		if line, ok := s.entries[key]; ok && full == table+"."+key {
			return line
		}
		for k, line := range s.entries {
			if strings.HasPrefix(k, key+".") && full == table+"."+key {
				return line
			}
		}
	}
	return d.line(table, 0)
}

// tables calls f with each table of an array of tables.
func (c *compiler) tables(file int, d document, name string, f func(at position, table map[string]any)) {
	value, ok := d.content[name]
	if !ok {
		return
	}
	all, ok := value.([]any)
	if !ok {
		c.error(position{file, d.line(name, 0)}, CodeSyntax, "%s must be an array of tables: [[%s]]", name, name)
		return
	}
	for i, item := range all {
		at := position{file, d.line(name, i)}
		table, ok := item.(map[string]any)
		if !ok {
			c.error(at, CodeSyntax, "%s must be an array of tables: [[%s]]", name, name)
			return
		}
		f(at, table)
	}
}

// one returns the first of the keys that the table has.
func one(table map[string]any, keys ...string) any {
	for _, k := range keys {
		if v, ok := table[k]; ok {
			return v
		}
	}
	return nil
}

// tomlRedirect adds a table of [[redirects]]. Old names of keys are accepted,
// as Netlify does.
func (c *compiler) tomlRedirect(at position, t map[string]any) {
	s := source{at: at}
	var ok bool
	if s.from, ok = one(t, "from", "origin").(string); !ok {
		c.error(at, CodeSyntax, "from is missing or not text")
		return
	}
	switch to := one(t, "to", "destination").(type) {
	case nil:
		s.noTo = true
	case string:
		s.to = to
	default:
		c.error(at, CodeSyntax, "to must be text")
		return
	}
	switch status := t["status"].(type) {
	case nil:
	case int64:
		s.status = fmt.Sprint(status)
	case string:
		if s.status = strings.TrimSuffix(status, "!"); s.status == "" {
			s.status = "?"
		}
		s.force = s.status != status
	default:
		s.status = "?"
	}
	if force, ok := t["force"].(bool); ok {
		s.force = s.force || force
	} else if t["force"] != nil {
		c.error(at, CodeSyntax, "force must be true or false")
		return
	}
	switch query := one(t, "query", "params", "parameters").(type) {
	case nil:
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(query)) {
			s.query = append(s.query, [2]string{name, fmt.Sprint(query[name])})
		}
	default:
		c.error(at, CodeSyntax, "query must be a table")
		return
	}
	if conditions, ok := t["conditions"].(map[string]any); ok {
		s.conditions = slices.Sorted(maps.Keys(conditions))
	} else if t["conditions"] != nil {
		c.error(at, CodeSyntax, "conditions must be a table")
		return
	}
	if one(t, "signed", "signing", "sign") != nil {
		s.conditions = append(s.conditions, "signed")
	}
	if headers, ok := t["headers"]; ok {
		if _, table := headers.(map[string]any); !table {
			c.error(at, CodeSyntax, "headers must be a table")
			return
		}
		c.warn(at, CodeUnsupported, "headers of a redirect have no effect")
	}
	if t["rate_limit"] != nil {
		c.warn(at, CodeUnsupported, "rate_limit has no effect")
	}
	c.unknownKeys(at, t, redirectKeys)
	c.netlifyRedirect(s)
}

// redirectKeys and headerKeys are the keys of [[redirects]] and [[headers]].
var (
	redirectKeys = strings.Fields("from origin to destination status force query params parameters conditions signed signing sign headers rate_limit")
	headerKeys   = []string{"for", "values"}
)

// unknownKeys reports keys without a meaning: most are typing errors.
func (c *compiler) unknownKeys(at position, t map[string]any, known []string) {
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if !slices.Contains(known, key) {
			c.warn(at, CodeSyntax, "the key %q has no effect", clip(key))
		}
	}
}

// tomlHeaders adds a table of [[headers]].
func (c *compiler) tomlHeaders(at position, t map[string]any) {
	from, ok := t["for"].(string)
	if !ok {
		c.error(at, CodeSyntax, "for is missing or not text")
		return
	}
	if from = strings.TrimSpace(from); !isAbsolute(from) && !strings.HasPrefix(from, "/") {
		from = "/" + from
	}
	values, ok := t["values"].(map[string]any)
	if !ok {
		if t["values"] != nil {
			c.error(at, CodeSyntax, "values must be a table")
		}
		return
	}
	c.unknownKeys(at, t, headerKeys)
	where, err := netlifyHeaders.where(from)
	r := &HeaderRule{Where: where, at: at, from: from}
	if err != nil {
		c.error(at, CodePattern, "the path %q: %s", clip(from), err)
		r.Where = Where{Pattern: []Part{{Text: literalStart(from)}, {Any: "splat"}}}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		var all []string
		switch v := values[name].(type) {
		case string:
			all = []string{v}
		case []any:
			for _, item := range v {
				s, ok := item.(string)
				if !ok {
					all = nil
					break
				}
				all = append(all, s)
			}
		}
		trimmed := strings.TrimSpace(name)
		if all == nil && !isBasicAuth(trimmed) {
			c.error(at, CodeHeader, "the value of %q must be text or an array of texts", clip(trimmed))
			r.refused = true
			continue
		}
		if err != nil && !isBasicAuth(trimmed) {
			continue
		}
		if isBasicAuth(trimmed) {
			c.basicAuth(r, at, strings.Join(all, " "))
			continue
		}
		c.addOp(r, at, "", trimmed, strings.TrimSpace(strings.Join(unfoldAll(all), ", ")), false)
	}
	if r.auth.line > 0 {
		if err != nil {
			// The path is unclear, so everything that it could mean is refused.
			r.Deny = denyBasicAuth
			c.error(at, CodePassword, "Basic-Auth protects a path that is not valid, so requests for paths that begin with %q are refused with status 403", clip(literalStart(from)))
		}
		c.hidden[c.files[at.file]] = true
	}
	if err == nil || r.auth.line > 0 {
		c.addHeaders(r, false)
	}
}

func isAbsolute(s string) bool {
	_, absolute := cutScheme(s)
	return absolute
}

// unfoldAll joins the lines of each value with spaces, as Netlify does: long
// values are often written as several lines.
func unfoldAll(all []string) []string {
	for i, value := range all {
		lines := strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' })
		for k := range lines {
			lines[k] = strings.TrimSpace(lines[k])
		}
		all[i] = strings.TrimSpace(strings.Join(lines, " "))
	}
	return all
}
