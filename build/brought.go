package build

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/troy-iaas/troy/site/rules"
)

// brought are the settings that a repository has for another platform. They
// count after the pipeline's settings. An output is only tried first: the build
// must have written it, as a framework's own folder.
type brought struct {
	install, build, output choice
	notes                  []string
	// unread are the notes about files that can't be read.
	unread []string
}

// broughtFile is a file of another platform.
type broughtFile struct {
	name string
	read func(b *brought, file string, data []byte)
}

// readBrought reads the files of other platforms in the root folder. The first
// one that has a setting decides about it.
func readBrought(fsys fs.FS, root string) (brought, error) {
	var b brought
	for _, f := range []broughtFile{
		{"vercel.json", (*brought).vercel},
		{"wrangler.toml", (*brought).wrangler}, {"wrangler.json", (*brought).wrangler}, {"wrangler.jsonc", (*brought).wrangler},
		{"firebase.json", (*brought).firebase},
	} {
		file := path.Join(root, f.name)
		data, err := readFile(fsys, file)
		if notFound(err) {
			continue
		}
		if err != nil {
			return b, err
		}
		if path.Ext(file) != ".toml" {
			data = rules.WithoutComments(data)
		}
		before := len(b.notes)
		f.read(&b, file, data)
		sortByLine(b.notes[before:])
	}
	for _, name := range []string{"vercel.ts", "vercel.mts", "vercel.js", "vercel.mjs", "vercel.cjs", "vercel.toml", "now.json"} {
		if file := path.Join(root, name); isFile(fsys, file) {
			b.notes = append(b.notes, file+" has no effect; write its settings to vercel.json or troy.toml.")
		}
	}
	return b, nil
}

// noteLine matches the line that a note names.
var noteLine = regexp.MustCompile(`, line ([0-9]+): `)

// sortByLine sorts notes about one file by the line that they name. Those that
// name none come last.
func sortByLine(notes []string) {
	line := func(note string) int {
		if at := noteLine.FindStringSubmatch(note); at != nil {
			if n, err := strconv.Atoi(at[1]); err == nil {
				return n
			}
		}
		return math.MaxInt
	}
	slices.SortStableFunc(notes, func(a, b string) int { return cmp.Compare(line(a), line(b)) })
}

// object decodes a TOML file, or a JSON file without comments.
func object(file string, data []byte) (map[string]any, error) {
	var content map[string]any
	if path.Ext(file) == ".toml" {
		err := unmarshalTOML(data, &content)
		return content, err
	}
	err := json.Unmarshal(data, &content)
	return content, err
}

// parse decodes a file. One that is not valid has no effect, and is named.
func (b *brought) parse(file string, data []byte) map[string]any {
	content, err := object(file, data)
	if err != nil {
		note := fmt.Sprintf("%s has no effect, because it can't be read: %s", file, strings.TrimPrefix(err.Error(), "toml: "))
		b.notes, b.unread = append(b.notes, note), append(b.unread, note)
	}
	return content
}

// vercel reads vercel.json (vercel.com/docs/project-configuration). Package
// site/rules reads its rules.
func (b *brought) vercel(file string, data []byte) {
	content := b.parse(file, data)
	b.command(&b.install, content, "installCommand", file)
	b.command(&b.build, content, "buildCommand", file)
	b.folder(content["outputDirectory"], "outputDirectory", file, data)
	b.others(file, data, content, "", "$schema", "version", "name", "public", "framework", "installCommand", "buildCommand", "outputDirectory", "devCommand",
		"cleanUrls", "trailingSlash", "redirects", "rewrites", "headers")
}

// wrangler reads Cloudflare's settings
// (developers.cloudflare.com/pages/functions/wrangler-configuration).
func (b *brought) wrangler(file string, data []byte) {
	content := b.parse(file, data)
	assets, _ := content["assets"].(map[string]any)
	b.folder(content["pages_build_output_dir"], "pages_build_output_dir", file, data)
	b.folder(assets["directory"], "directory", file, data)
	commands, _ := content["build"].(map[string]any)
	b.command(&b.build, commands, "command", file)
	b.others(file, data, content, "", "$schema", "name", "pages_build_output_dir", "compatibility_date", "compatibility_flags", "assets", "build", "account_id", "workers_dev", "dev")
}

// firebase reads firebase.json
// (firebase.google.com/docs/hosting/full-config). Package site/rules reads its
// rules.
func (b *brought) firebase(file string, data []byte) {
	content := b.parse(file, data)
	hosting, ok := content["hosting"].(map[string]any)
	if sites, several := content["hosting"].([]any); several {
		if len(sites) != 1 {
			b.notes = append(b.notes, fmt.Sprintf("%s%s: hosting has %d sites, so it has no effect.", file, lineOf(data, "hosting"), len(sites)))
			return
		}
		hosting, ok = sites[0].(map[string]any)
	}
	b.others(file, data, content, "", "$schema", "hosting", "emulators")
	if !ok {
		return
	}
	b.folder(hosting["public"], "public", file, data)
	b.others(file, data, hosting, "hosting.", "site", "target", "public", "ignore", "cleanUrls", "trailingSlash", "redirects", "rewrites", "headers")
	ignored, _ := hosting["ignore"].([]any)
	for _, pattern := range ignored {
		if !slices.Contains([]any{"firebase.json", "**/.*", "**/node_modules/**"}, pattern) {
			// .troyignore counts only if the repository itself is the site.
			instead := "remove the files in the build command"
			if b.output.value == "." {
				instead = "leave out files with .troyignore"
			}
			b.notes = append(b.notes, fmt.Sprintf("%s%s: hosting.ignore has no effect; %s.", file, lineOf(data, "ignore"), instead))
			break
		}
	}
}

// command reads a command. As on Vercel, "" runs nothing, and null is detected.
func (b *brought) command(into *choice, content map[string]any, key, file string) {
	if text, ok := content[key].(string); ok && !into.said && !strings.ContainsRune(text, 0) {
		*into = said(&text, key+" in "+file)
	}
}

func (b *brought) folder(value any, key, file string, data []byte) {
	text, ok := value.(string)
	if !ok || b.output.said {
		return
	}
	folder, e := cleanFolder(text)
	if first, _, _ := strings.Cut(folder, "/"); e != nil || first == ".next" || first == ".vercel" {
		b.notes = append(b.notes, fmt.Sprintf("%s%s: %s has no effect: expected a folder of the site inside the repository.", file, lineOf(data, key), key))
		return
	}
	b.output = choice{value: folder, by: key + " in " + file, said: true}
}

// others names the keys that have no effect.
func (b *brought) others(file string, data []byte, content map[string]any, above string, known ...string) {
	n := 0
	for _, key := range slices.Sorted(maps.Keys(content)) {
		if slices.Contains(known, key) {
			continue
		}
		if n++; n > maxNotes {
			b.notes = append(b.notes, file+": more keys have no effect.")
			return
		}
		b.notes = append(b.notes, fmt.Sprintf("%s%s: %s has no effect.", file, lineOf(data, key), above+keyName(key)))
	}
}

// lineOf returns ", line 3" for the first line with a key, or "".
func lineOf(data []byte, key string) string {
	at := regexp.MustCompile(`(?m)(?:^|[\s{\[,])"?` + regexp.QuoteMeta(key) + `"?\s*[:=\].]`).FindIndex(data)
	if at == nil {
		return ""
	}
	line := bytes.TrimLeft(data[at[0]:at[1]], " \t\r\n{[,")
	return fmt.Sprintf(", line %d", 1+bytes.Count(data[:at[1]-len(line)], []byte{'\n'}))
}

// outputs puts the folder that a file of another platform names before the
// framework's. Without a framework it is the only one.
func (b *brought) outputs(found []string, by, generator string) (outputs []string, origin string) {
	if generator == "" || slices.Equal(found, []string{b.output.value}) {
		return []string{b.output.value}, b.output.by
	}
	rest := slices.DeleteFunc(slices.Clone(found), func(o string) bool { return o == b.output.value })
	return append([]string{b.output.value}, rest...), b.output.by + ", or " + by
}
