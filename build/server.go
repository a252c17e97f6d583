package build

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// serverCode reports by which sign a folder has code that is made for a
// server, or nothing. Such code often has secrets in it, and frameworks write
// it beside or instead of a site's files. The signs are those of the adapters
// of SvelteKit, Astro, Nuxt (Nitro), Next.js, React Router, Remix, TanStack
// Start, Vike, Waku, Qwik, Angular and of Cloudflare's and Netlify's targets.
func serverCode(fsys fs.FS, folder string) string {
	at := func(name string) string { return path.Join(folder, name) }
	is := func(name string) bool { return isFile(fsys, at(name)) }
	for _, name := range []string{"_worker.js", "_worker.bundle", ".netlify/functions-internal", ".netlify/v1/functions", ".vercel/output/functions"} {
		if _, err := fs.Stat(fsys, at(name)); err == nil {
			return name
		}
	}
	hasServer := isFolder(fsys, at("server"))
	switch {
	case hasServer && is("handler.js"): // SvelteKit's adapter-node
		return "handler.js beside server/"
	case hasServer && is("nitro.json"), hasServer && is("BUILD_ID"), is("required-server-files.json"):
		return "server/"
	case is("manifest.js") && (is("index.js") || is("internal.js")), is("manifest-full.js"): // SvelteKit's server output
		return "manifest.js"
	case is("serve-node.js"), is("server.mjs") && is("main.server.mjs"):
		return "the entry of a server"
	}
	for _, dir := range []string{"server", "dist/server", "build/server"} {
		if entry := serverEntry(fsys, at(dir)); entry != "" {
			return path.Join(dir, entry)
		}
	}
	for _, name := range []string{"server", "index", "main", "app", "handler"} {
		for _, ext := range scriptExtensions {
			if startsServer(fsys, at(name+ext)) {
				return name + ext + " starts a server"
			}
		}
	}
	return ""
}

var scriptExtensions = []string{".js", ".mjs", ".cjs"}

// serverEntry returns the module that a folder named server begins with, or
// nothing. One with pages in it is a part of a site that is about servers.
func serverEntry(fsys fs.FS, dir string) string {
	if isFile(fsys, path.Join(dir, indexName)) {
		return ""
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return ""
	}
	for _, entry := range entries {
		ext := path.Ext(entry.Name())
		if !slices.Contains(scriptExtensions, ext) || entry.IsDir() {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimSuffix(entry.Name(), ext), "-")
		first, _, _ = strings.Cut(first, ".")
		if slices.Contains([]string{"index", "entry", "server", "main", "app", "manifest", "handler", "_ssr"}, first) {
			return entry.Name()
		}
	}
	return ""
}

// serverRead is how much of a script is searched.
const serverRead = 1 << 20

// listens is how a script for Node.js, Deno or Bun begins to serve.
var listens = regexp.MustCompile(`\bcreateServer\s*\(|\.listen\s*\(|\bDeno\.serve\s*\(|\bBun\.serve\s*\(`)

// ofNode is an import that no browser knows.
var ofNode = regexp.MustCompile(`(?:from|require\(|import\(|import)\s*["'](?:node:[a-z/]+|https?|http2|net|fs|path|express|fastify|koa|hono|@hono/node-server|h3|polka|@hapi/hapi|@nestjs/core)["']`)

func startsServer(fsys fs.FS, name string) bool {
	if !isFile(fsys, name) {
		return false
	}
	f, err := fsys.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, serverRead))
	if err != nil {
		return false
	}
	return ofNode.Match(data) && (listens.Match(data) || bytes.HasPrefix(data, []byte("#!")))
}
