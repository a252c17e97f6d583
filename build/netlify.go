package build

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/troy-iaas/troy"
)

// netlifyFile is the part of netlify.toml that Troy supports
// (docs.netlify.com/configure-builds/file-based-configuration). As on Netlify,
// the build's contexts override [build].
type netlifyFile struct {
	Build    netlifyTable            `toml:"build"`
	Contexts map[string]netlifyTable `toml:"context"`
}

type netlifyTable struct {
	Command     any            `toml:"command"`
	Publish     any            `toml:"publish"`
	Base        any            `toml:"base"`
	Environment map[string]any `toml:"environment"`
}

func parseNetlify(data []byte, name, dir string, contexts []string) (config, *troy.Error) {
	var f netlifyFile
	if e := decode(data, &f, false); e != nil {
		return config{}, e
	}
	c, e := f.Build.read("build", name, dir)
	if e != nil {
		return config{}, e
	}
	if len(contexts) == 0 {
		contexts = []string{"production"}
	}
	for _, context := range contexts {
		table, found := f.Contexts[context]
		if !found {
			continue
		}
		key := "context." + keyName(context)
		over, e := table.read(key, name+", ["+key+"]", dir)
		if e != nil {
			return config{}, e
		}
		c.root, c.output, c.command = over.root.or(c.root), over.output.or(c.output), over.command.or(c.command)
		maps.Copy(c.environment, over.environment)
		// Each environment alone may have as much as all together.
		if e := checkVariables(c.environment); e != nil {
			return config{}, e.At(key + ".environment")
		}
	}
	for _, context := range slices.Sorted(maps.Keys(f.Contexts)) {
		if context != "production" && context != "dev" {
			c.contexts = append(c.contexts, "[context."+keyName(context)+"]")
		}
	}
	c.notes, e = netlifyNotes(data, name)
	return c, e
}

// read reads a table. by is the origin that messages show.
func (n netlifyTable) read(table, by, dir string) (config, *troy.Error) {
	t := texts{}
	publish, base, command := t.read(table+".publish", n.Publish), t.read(table+".base", n.Base), t.read(table+".command", n.Command)
	if t.err != nil {
		return config{}, t.err
	}
	// As on Netlify, "/dist" means "dist", and an empty key means none.
	for _, p := range []**string{&publish, &base} {
		if *p == nil {
			continue
		}
		if relative := strings.TrimLeft(**p, "/"); relative == "" {
			*p = nil
		} else {
			*p = &relative
		}
	}
	output, e := either(table+".publish", publish, "", nil, by)
	if e != nil {
		return config{}, e
	}
	root, e := either(table+".base", base, "", nil, by)
	if e != nil {
		return config{}, e
	}
	if root, e = placeRoot(root, dir); e != nil {
		return config{}, e.At(table + ".base")
	}
	env, e := environment(n.Environment, table+".environment")
	if e != nil {
		return config{}, e
	}
	c := config{root: root, output: output, environment: env}
	if command != nil && strings.TrimSpace(*command) != "" {
		c.command = said(command, by)
	}
	return c, nil
}

// maxNotes is the maximum number of unsupported keys to list.
const maxNotes = 30

// netlifyNotes returns a sentence for each key that Troy does not support.
func netlifyNotes(data []byte, name string) ([]string, *troy.Error) {
	var all map[string]any
	if err := unmarshalTOML(data, &all); err != nil {
		return nil, troy.Errorf(troy.Invalid, "it is not valid TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	type key struct{ text, line string }
	var unknown []key
	add := func(above string, table any, known ...string) {
		keys, _ := table.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Contains(known, name) {
				text := inTOML(above+keyName(name), keys[name])
				unknown = append(unknown, key{text, lineOfTOML(data, text, keyName(name))})
			}
		}
	}
	obeyed := []string{"command", "publish", "base", "environment"}
	add("", all, "build", "context", "redirects", "headers")
	add("build.", all["build"], obeyed...)
	contexts, _ := all["context"].(map[string]any)
	for _, context := range slices.Sorted(maps.Keys(contexts)) {
		add("context."+keyName(context)+".", contexts[context], obeyed...)
	}
	var notes []string
	for i, key := range unknown {
		if i == maxNotes {
			notes = append(notes, fmt.Sprintf("%s: %d more keys have no effect.", name, len(unknown)-i))
			break
		}
		notes = append(notes, fmt.Sprintf("%s%s: %s has no effect.", name, key.line, key.text))
	}
	sortByLine(notes)
	return notes, nil
}

// inTOML returns a key in the form that it has in the file.
func inTOML(key string, value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "[" + key + "]"
	case []any:
		if len(v) > 0 {
			if _, tables := v[0].(map[string]any); tables {
				return "[[" + key + "]]"
			}
		}
	}
	return key
}

// lineOfTOML returns ", line 3" for the header of a table or of the first table
// in it, or else for the key.
func lineOfTOML(data []byte, header, key string) string {
	at := regexp.MustCompile(`(?m)^[ \t]*` + regexp.QuoteMeta(header) + `[ \t]*(?:#.*)?\r?$`).FindIndex(data)
	if table, ok := strings.CutSuffix(header, "]"); ok && at == nil {
		at = regexp.MustCompile(`(?m)^[ \t]*\[?` + regexp.QuoteMeta(table) + `\.`).FindIndex(data)
	}
	if at == nil {
		return lineOf(data, key)
	}
	return fmt.Sprintf(", line %d", 1+bytes.Count(data[:at[0]], []byte{'\n'}))
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func keyName(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return strconv.Quote(fmt.Sprintf("%.64s", key))
}
