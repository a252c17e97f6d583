package build

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/troy-iaas/troy"
)

// netlifyFile is the part of netlify.toml that Troy supports
// (docs.netlify.com/configure-builds/file-based-configuration). As on Netlify,
// the production context overrides [build].
type netlifyFile struct {
	Build   netlifyTable `toml:"build"`
	Context struct {
		Production netlifyTable `toml:"production"`
	} `toml:"context"`
}

type netlifyTable struct {
	Command     any            `toml:"command"`
	Publish     any            `toml:"publish"`
	Base        any            `toml:"base"`
	Environment map[string]any `toml:"environment"`
}

func parseNetlify(data []byte, name, dir string) (config, *troy.Error) {
	var f netlifyFile
	if e := decode(data, &f, false); e != nil {
		return config{}, e
	}
	c, e := f.Build.read("build", name, dir)
	if e != nil {
		return config{}, e
	}
	production, e := f.Context.Production.read("context.production", name+", [context.production]", dir)
	if e != nil {
		return config{}, e
	}
	c.root, c.output, c.command = production.root.or(c.root), production.output.or(c.output), production.command.or(c.command)
	maps.Copy(c.environment, production.environment)
	// Each environment alone may have as much as both together.
	if e := checkVariables(c.environment); e != nil {
		return config{}, e.At("context.production.environment")
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
	if err := toml.Unmarshal(data, &all); err != nil {
		return nil, troy.Errorf(troy.Invalid, "it is not valid TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	var unknown []string
	add := func(above string, table any, known ...string) {
		keys, _ := table.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Contains(known, key) {
				unknown = append(unknown, inTOML(above+keyName(key), keys[key]))
			}
		}
	}
	obeyed := []string{"command", "publish", "base", "environment"}
	add("", all, "build", "context", "redirects", "headers")
	add("build.", all["build"], obeyed...)
	add("context.", all["context"], "production")
	if contexts, ok := all["context"].(map[string]any); ok {
		add("context.production.", contexts["production"], obeyed...)
	}
	var notes []string
	for i, key := range unknown {
		if i == maxNotes {
			notes = append(notes, fmt.Sprintf("%s: %d more keys have no effect.", name, len(unknown)-i))
			break
		}
		notes = append(notes, fmt.Sprintf("%s: %s has no effect.", name, key))
	}
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

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func keyName(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return strconv.Quote(fmt.Sprintf("%.64s", key))
}
