package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site/rules"
)

// config is the content of troy.toml or netlify.toml.
type config struct {
	root, output           choice
	install, command, test choice
	environment            map[string]string
	allowSecrets           []string
	// notes are sentences about settings that have no effect.
	notes []string
	// rules reports that the file also has rules of the site.
	rules bool
	// contexts are the tables of netlify.toml with settings for previews.
	contexts []string
}

// troyFile is the content of troy.toml. A command that is set to "" is skipped.
type troyFile struct {
	Build struct {
		Command     any            `toml:"command"`
		Output      any            `toml:"output"`
		Publish     any            `toml:"publish"`
		Root        any            `toml:"root"`
		Base        any            `toml:"base"`
		Install     any            `toml:"install"`
		Test        any            `toml:"test"`
		Allow       any            `toml:"allow_secrets"`
		Environment map[string]any `toml:"environment"`
	} `toml:"build"`
	// Package site/rules reads these.
	Site      any `toml:"site"`
	Rules     any `toml:"rules"`
	Redirects any `toml:"redirects"`
	Headers   any `toml:"headers"`
}

// hasRules reports whether the file contains rules of the site.
func (f *troyFile) hasRules() bool {
	return f.Site != nil || f.Rules != nil || f.Redirects != nil || f.Headers != nil
}

// readConfig reads the first of troy.toml and netlify.toml in the root folder
// or else in the repository's root.
func readConfig(fsys fs.FS, root string, contexts []string) (config, error) {
	dirs := []string{root}
	if root != "." {
		dirs = append(dirs, ".")
	}
	var allowed []string // of a troy.toml with no other key
	for _, read := range []struct {
		name  string
		parse func(data []byte, name, dir string) (config, *troy.Error)
	}{{"troy.toml", parseTroy}, {"netlify.toml", func(data []byte, name, dir string) (config, *troy.Error) {
		return parseNetlify(data, name, dir, contexts)
	}}} {
		for _, dir := range dirs {
			name := path.Join(dir, read.name)
			data, err := readFile(fsys, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return config{}, err
			}
			c, e := read.parse(data, name, dir)
			if e != nil {
				e.Message = fmt.Sprintf("%s (in %s)", e.Message, name)
				return config{}, e
			}
			if read.name == "troy.toml" && c.leavesBuild() {
				allowed = append(allowed, c.allowSecrets...)
				continue
			}
			c.allowSecrets = append(c.allowSecrets, allowed...)
			if read.name == "troy.toml" {
				err = c.noteNetlify(fsys, dirs, name)
			}
			return c, err
		}
	}
	return config{allowSecrets: allowed}, nil
}

// noteNetlify notes the tables of netlify.toml in one of the folders that have no
// effect beside the file that decides.
func (c *config) noteNetlify(fsys fs.FS, dirs []string, decides string) error {
	for _, dir := range dirs {
		name := path.Join(dir, "netlify.toml")
		data, err := readFile(fsys, name)
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		var all map[string]any
		if err := unmarshalTOML(data, &all); err != nil {
			return nil //nolint:nilerr // a file without effect may be wrong
		}
		for _, table := range []string{"build", "context"} {
			if _, found := all[table]; found {
				c.notes = append(c.notes, fmt.Sprintf("%s%s: [%s] has no effect beside %s.", name, lineOfTOML(data, "["+table+"]", table), table, decides))
			}
		}
		return nil
	}
	return nil
}

// leavesBuild reports whether a file contains nothing but allow_secrets and
// rules of the site. The next file decides on the rest.
func (c config) leavesBuild() bool {
	return (len(c.allowSecrets) > 0 || c.rules) && c.root == choice{} && c.output == choice{} && c.install == choice{} && c.command == choice{} &&
		c.test == choice{} && len(c.environment) == 0
}

// decides returns the file's name for each field of Settings that it decides.
func (c config) decides() map[string]string {
	files := map[string]string{}
	for field, choice := range map[string]choice{"install": c.install, "build": c.command, "test": c.test, "output": c.output} {
		if choice.said {
			files[field] = choice.by
		}
	}
	return files
}

func parseTroy(data []byte, name, dir string) (config, *troy.Error) {
	var f troyFile
	if e := decode(data, &f, true); e != nil {
		return config{}, e
	}
	b := f.Build
	t := texts{}
	output, publish := t.read("build.output", b.Output), t.read("build.publish", b.Publish)
	base, rootKey := t.read("build.base", b.Base), t.read("build.root", b.Root)
	install, command, test := t.read("build.install", b.Install), t.read("build.command", b.Command), t.read("build.test", b.Test)
	allow := t.list("build.allow_secrets", b.Allow)
	if t.err != nil {
		return config{}, t.err
	}
	out, e := either("build.output", output, "build.publish", publish, name)
	if e != nil {
		return config{}, e
	}
	root, e := either("build.root", rootKey, "build.base", base, name)
	if e != nil {
		return config{}, e
	}
	if root, e = placeRoot(root, dir); e != nil {
		if rootKey == nil {
			return config{}, e.At("build.base")
		}
		return config{}, e.At("build.root")
	}
	env, e := environment(b.Environment, "build.environment")
	if e != nil {
		return config{}, e
	}
	return config{
		root: root, output: out, environment: env, allowSecrets: allow, rules: f.hasRules(),
		install: said(install, name), command: said(command, name), test: said(test, name),
	}, nil
}

// texts reads keys whose values must be text. They are decoded as any, because
// the decoder's own error for another type does not name the key.
type texts struct{ err *troy.Error }

func (t *texts) read(key string, value any) *string {
	if value == nil {
		return nil
	}
	s, ok := value.(string)
	if !ok && t.err == nil {
		t.err = troy.Errorf(troy.Invalid, "expected text in quotes").At(key)
	}
	if strings.ContainsRune(s, 0) && t.err == nil {
		t.err = troy.Errorf(troy.Invalid, "it contains a NUL character").At(key)
	}
	return &s
}

// list reads a key whose value must be an array of texts.
func (t *texts) list(key string, value any) []string {
	if value == nil {
		return nil
	}
	items, ok := value.([]any)
	if !ok && t.err == nil {
		t.err = troy.Errorf(troy.Invalid, `expected an array of paths, like ["examples/key.pem"]`).At(key)
	}
	all := make([]string, 0, len(items))
	for i, item := range items {
		if s := t.read(fmt.Sprintf("%s[%d]", key, i), item); s != nil {
			all = append(all, *s)
		}
	}
	return all
}

func said(value *string, by string) choice {
	if value == nil {
		return choice{}
	}
	return choice{value: command(*value), by: by, said: true}
}

// command returns a command without surrounding white space, with line ends for
// a shell.
func command(text string) string {
	return strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
}

// either reads a folder that two keys can set.
func either(key string, value *string, alias string, other *string, by string) (choice, *troy.Error) {
	if value != nil && other != nil && *value != *other {
		return choice{}, troy.Errorf(troy.Invalid, "it is %q, but %s is %q; keep one of the two", *value, alias, *other).At(key)
	}
	if value == nil && other != nil {
		key, value = alias, other
	}
	if value == nil {
		return choice{}, nil
	}
	folder, e := cleanFolder(*value)
	if e != nil {
		return choice{}, e.At(key)
	}
	return choice{value: folder, by: by, said: true}, nil
}

// placeRoot refuses a file inside the pipeline's root folder that sets another
// root folder, because it is unclear which one is meant.
func placeRoot(root choice, dir string) (choice, *troy.Error) {
	if root.said && dir != "." && root.value != dir {
		return choice{}, troy.Errorf(troy.Invalid, "it is %q, but the file is in the pipeline's root folder, %q; keep one of the two", root.value, dir)
	}
	return root, nil
}

// environment converts TOML scalars to strings. table is the name of their
// table.
func environment(raw map[string]any, table string) (map[string]string, *troy.Error) {
	env := make(map[string]string, len(raw))
	for name, value := range raw {
		switch v := value.(type) {
		case string:
			env[name] = v
		case int64:
			env[name] = strconv.FormatInt(v, 10)
		case float64:
			env[name] = strconv.FormatFloat(v, 'f', -1, 64)
		case bool:
			env[name] = strconv.FormatBool(v)
		default:
			return nil, troy.Errorf(troy.Invalid, "expected text, a number, true or false").At(table + "." + name)
		}
	}
	if e := checkVariables(env); e != nil {
		return nil, e.At(table)
	}
	return env, nil
}

// decode decodes TOML. With strict, an unknown key is an error that names the
// key.
func decode(data []byte, into any, strict bool) *troy.Error {
	if err := rules.CheckTOML(data); err != nil {
		return troy.Errorf(troy.Invalid, "%w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(data))
	if strict {
		d.DisallowUnknownFields()
	}
	err := d.Decode(into)
	if err == nil {
		return nil
	}
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(missing.Errors) > 0 {
		first := missing.Errors[0]
		row, _ := first.Position()
		return troy.Errorf(troy.Invalid, "line %d: unknown key; [build] has command, output, root, install, test, allow_secrets and environment; the rules of the site are in [site], [[redirects]] and [[headers]]", row).
			At(strings.Join(first.Key(), "."))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := bad.Position()
		return troy.Errorf(troy.Invalid, "line %d, column %d: %s", row, column, strings.TrimPrefix(bad.Error(), "toml: ")).
			At(strings.Join(bad.Key(), "."))
	}
	return troy.Errorf(troy.Invalid, "it is not valid TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
}

// unmarshalTOML decodes a file of the repository.
func unmarshalTOML(data []byte, into any) error {
	if err := rules.CheckTOML(data); err != nil {
		return err
	}
	return toml.Unmarshal(data, into)
}

// readFile reads a file of the repository of at most readCap bytes.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, troy.Errorf(troy.Invalid, "%s can't be read: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, troy.Errorf(troy.Invalid, "%s is not a file", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, readCap+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > readCap {
		return nil, troy.Errorf(troy.TooLarge, "%s has more than %d bytes", name, readCap)
	}
	// Some editors on Windows put a byte order mark before UTF-8.
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil
}
