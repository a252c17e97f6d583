package build

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// serverCode returns the sign that a folder contains server code, or "". Server
// code often contains secrets, and frameworks write it beside or instead of a
// site's files. The signs come from the adapters of SvelteKit, Astro, Nuxt
// (Nitro), Next.js, React Router, Remix, TanStack Start, Vike, Waku, Qwik,
// Angular and from Cloudflare's and Netlify's targets. The only error is the
// context's.
func (p Plan) serverCode(ctx context.Context, fsys fs.FS, folder string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	at := func(name string) string { return path.Join(folder, name) }
	is := func(name string) bool { return isFile(fsys, at(name)) }
	for _, name := range []string{"_worker.js", "_worker.bundle", ".netlify/functions-internal", ".netlify/v1/functions", ".vercel/output/functions"} {
		if _, err := fs.Stat(fsys, at(name)); err == nil {
			return name, nil
		}
	}
	hasServer := isFolder(fsys, at("server"))
	switch {
	case hasServer && is("handler.js"): // SvelteKit's adapter-node
		return "handler.js beside server/", nil
	case hasServer && is("nitro.json"), hasServer && is("BUILD_ID"), is("required-server-files.json"):
		return "server/", nil
	case is("manifest-full.js"), is("manifest.js") && (p.Generator == svelteKit || svelteManifest.Match(script(fsys, at("manifest.js")))): // SvelteKit's server output
		return "manifest.js", nil
	case is("serve-node.js"), is("server.mjs") && is("main.server.mjs"):
		return "the entry of a server", nil
	}
	for _, dir := range []string{"server", "dist/server", "build/server"} {
		if entry := serverEntry(ctx, fsys, at(dir)); entry != "" {
			return path.Join(dir, entry), nil
		}
	}
	for _, name := range []string{"server", "index", "main", "app", "handler"} {
		for _, ext := range scriptExtensions {
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			if startsServer(script(fsys, at(name+ext))) {
				return name + ext + " starts a server", nil
			}
		}
	}
	return "", nil
}

var scriptExtensions = []string{".js", ".mjs", ".cjs"}

// serverEntry returns the entry module of a folder named server, or "". A
// folder with pages is a part of the site that is about servers.
func serverEntry(ctx context.Context, fsys fs.FS, dir string) string {
	if !isFolder(fsys, dir) || isFile(fsys, path.Join(dir, indexName)) {
		return ""
	}
	entries, err := names(ctx, fsys, dir)
	if err != nil {
		return "" // also if it has too many names for a server's folder
	}
	for _, entry := range entries {
		ext := path.Ext(entry)
		if !slices.Contains(scriptExtensions, ext) {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimSuffix(entry, ext), "-")
		first, _, _ = strings.Cut(first, ".")
		if slices.Contains([]string{"index", "entry", "server", "main", "app", "manifest", "handler", "_ssr"}, first) && isFile(fsys, path.Join(dir, entry)) {
			return entry
		}
	}
	return ""
}

// serverRead is the number of bytes of a script that are searched.
const serverRead = 1 << 20

// svelteManifest matches the manifest that SvelteKit writes for its server.
// webpack's runtime may also be called manifest.js.
var svelteManifest = regexp.MustCompile(`\bappDir\s*:`)

// imports matches the beginning of an import or a require.
const imports = `(?:\bfrom|\brequire\(|\bimport\(|\bimport)\s*["']`

var (
	// ofServer matches an import of a module that serves HTTP, which no browser
	// has.
	ofServer = regexp.MustCompile(imports + `(?:(?:node:)?(?:https?|http2|net)|express|fastify|koa|hono|@hono/node-server|h3|polka|@hapi/hapi|@nestjs/core)["']`)
	// listens matches the call with which such a server starts.
	listens = regexp.MustCompile(`\.listen\s*\(`)
	// ofNode matches an import of a Node.js module. Browser scripts have them
	// too, behind a test of the platform, as Emscripten's do for fs and path.
	ofNode = regexp.MustCompile(imports + `node:[a-z0-9_/]+["']`)
	// serves matches the call with which a Node.js, Deno or Bun script starts a
	// server.
	serves = regexp.MustCompile(`\bcreateServer\s*\(|\bDeno\.serve\s*\(|\bBun\.serve\s*\(`)
)

// startsServer reports whether a script starts a server.
func startsServer(script []byte) bool {
	if at := ofServer.FindIndex(script); at != nil {
		return bytes.HasPrefix(script, []byte("#!")) || listens.Match(script[at[1]:]) || serves.Match(script)
	}
	return ofNode.Match(script) && serves.Match(script)
}

// script returns the first serverRead bytes of a file, or nil.
func script(fsys fs.FS, name string) []byte {
	if !isFile(fsys, name) {
		return nil
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, serverRead))
	if err != nil {
		return nil
	}
	return data
}
