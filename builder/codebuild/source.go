package codebuild

import (
	"archive/zip"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
)

//go:embed build.sh
var buildScript string

// prepared is a build's unpacked source on this machine and its plan.
type prepared struct {
	dir     string // the caller removes it
	plan    build.Plan
	sourced string // names the fetched commit
	// node is the major version of Node.js in the image, or empty; nodeSaid is
	// the log's line about it.
	node, nodeSaid string
	cache          cache
}

// archive is the source for CodeBuild: a zip with the forge's archive
// unchanged, the script and the environment. It is private, since the
// environment has the pipeline's secrets.
func (p prepared) archive() string { return filepath.Join(p.dir, "source.zip") }
func (p prepared) repo() string    { return filepath.Join(p.dir, "repo") }

// prepare fetches the source into dir and plans the build. A *troy.Error is the
// repository's fault; any other is the operator's.
func (b *Builder) prepare(ctx context.Context, dir string, spec builder.Spec) (p prepared, err error) {
	p.dir = dir
	if err := os.Mkdir(p.repo(), 0o700); err != nil {
		return p, err
	}
	file, err := os.OpenFile(p.archive(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return p, err
	}
	w := zip.NewWriter(file)
	err = errors.Join(b.fill(ctx, &p, w, spec), w.Close(), file.Close())
	return p, err
}

func (b *Builder) fill(ctx context.Context, p *prepared, w *zip.Writer, spec builder.Spec) error {
	entry, err := w.CreateHeader(&zip.FileHeader{Name: "source", Method: zip.Store})
	if err != nil {
		return err
	}
	source, err := spec.Source(ctx, p.dir)
	if err != nil {
		return sourceError(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = source.Close() })
	defer stop()
	tee := io.TeeReader(source, entry)
	err = build.Unpack(ctx, tee, p.repo(), spec.Limits.Source)
	if err == nil {
		// Bytes after a tar's end still belong to the archive.
		_, err = io.Copy(io.Discard, io.LimitReader(tee, 1<<20))
	}
	_ = source.Close() // everything needed has been read
	if err != nil {
		return sourceError(err)
	}
	root, err := os.OpenRoot(p.repo())
	if err != nil {
		return err
	}
	defer root.Close()
	if p.plan, err = build.Decide(root.FS(), spec.Settings); err != nil {
		return err
	}
	if p.node, p.nodeSaid, err = findNode(p.plan, spec, b.every); err != nil {
		return err
	}
	if p.cache, err = b.openCache(ctx, spec, p.plan, root.FS()); err != nil {
		return err
	}
	files := map[string]string{
		"troy.sh": buildScript, "plan.sh": planScript(p.plan, spec.Limits.LogBytes, p.cache.modules) + cacheScript(p.plan, p.cache, b.cacheBytes), "env.sh": environmentScript(p.plan, spec, b.every),
	}
	for name, script := range p.plan.Shims() {
		files["bin/"+name] = script
	}
	git, err := spec.Commit.Git()
	if err != nil {
		return err
	}
	for name, content := range git {
		files["git/"+name] = string(content)
	}
	p.sourced = spec.Sourced(source)
	for name, script := range sorted(files) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		entry, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(entry, script); err != nil {
			return err
		}
	}
	return nil
}

// sourceError returns an error for users unchanged, and replaces others by a
// general message.
func sourceError(err error) error {
	if troy.KindOf(err) != troy.Internal {
		return err
	}
	return &sourceFailed{err}
}

type sourceFailed struct{ err error }

func (e *sourceFailed) Error() string { return "get the source: " + e.err.Error() }
func (e *sourceFailed) Unwrap() error { return e.err }

// planScript returns the plan for build.sh.
func planScript(p build.Plan, limit int64, modules string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "limit=%d\n", limit)
	for _, step := range []struct {
		function, title, command, folder string
	}{
		{"install", builder.PhaseInstall.String(), p.Install, p.InstallRoot},
		{"build", builder.PhaseBuild.String(), p.Build, p.Root},
		{"test_", builder.PhaseTest.String(), p.Test, p.Root},
	} {
		body := ":"
		if step.command != "" {
			body = "run " + build.Quote(step.title) + " " + build.Quote(step.folder) + " " + build.Quote(step.command)
			if step.function == "install" && modules != "" {
				body += ` "kept=$work/cache/modules"` + build.Quote("\n"+p.KeepModules(modules))
			}
		}
		s.WriteString(step.function + "() { " + body + "; }\n")
	}
	s.WriteString("outputs() {\n")
	for _, output := range p.Outputs {
		s.WriteString("\tfor folder in " + outputWord(p, output) + "; do found \"$folder\"; done\n")
	}
	s.WriteString("}\n")
	return s.String()
}

// outputWord quotes a possible output folder for the shell, which expands a
// generator's wildcards.
func outputWord(p build.Plan, output string) string {
	root := path.Join("repo", p.Root)
	if output == "." {
		return build.Quote(root)
	}
	if p.OutputSaid {
		return build.Quote(root + "/" + output)
	}
	parts := strings.Split(output, "*")
	for i, part := range parts {
		parts[i] = build.Quote(part)
	}
	return build.Quote(root+"/") + strings.Join(parts, "*")
}

// settings returns the operator's settings for all builds.
type settings struct {
	environment map[string]string
	path        []string
}

// environmentScript sets the environment of a build's processes. Only the image
// knows its own path.
func environmentScript(p build.Plan, spec builder.Spec, every settings) string {
	env := spec.Origin().Environment(p, every.environment, spec.Variables)
	var s strings.Builder
	// build.sh sets $cache. The settings below take precedence.
	for name, folder := range sorted(p.CacheVariables()) {
		s.WriteString("export " + name + "=\"$cache\"/" + folder + "\n")
	}
	if len(every.path) > 0 {
		s.WriteString("export PATH=" + build.Quote(strings.Join(every.path, ":")) + ":\"$PATH\"\n")
	}
	for name, value := range sorted(env) {
		s.WriteString("export " + name + "=" + build.Quote(value) + "\n")
	}
	return s.String()
}

// cacheScript returns what build.sh has to know about the dependency cache.
func cacheScript(p build.Plan, c cache, limit int64) string {
	var s strings.Builder
	fmt.Fprintf(&s, "cache_url=%s cache_keep=%t cache_pack=%t cache_limit=%d\n", build.Quote(c.url), c.key != "", c.pack, limit)
	s.WriteString("folders() {\n\t:\n")
	for _, folder := range p.CachedFolders() {
		if !folder.Published {
			s.WriteString("\t\"$1\" " + build.Quote(folder.Name) + " " + build.Quote(folder.Inside) + "\n")
		}
	}
	s.WriteString("}\n")
	return s.String()
}

// sorted yields a map in the order of its keys.
func sorted(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

// buildspec returns the buildspec in JSON, which is YAML. Its phases are
// Troy's: INSTALL unpacks the source, PRE_BUILD installs, BUILD builds,
// POST_BUILD tests and packs, UPLOAD_ARTIFACTS stores the output. No phase runs
// after a failed one. node is the major version of Node.js, or empty.
// https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
func buildspec(node string) (string, error) {
	phase := func(names ...string) map[string]any {
		commands := make([]string, len(names))
		for i, name := range names {
			commands[i] = `/bin/bash "$CODEBUILD_SRC_DIR/troy.sh" ` + name
		}
		return map[string]any{"on-failure": "ABORT", "commands": commands}
	}
	unpack := phase("source")
	if node != "" {
		unpack["runtime-versions"] = map[string]string{"nodejs": node}
	}
	text, err := json.Marshal(map[string]any{
		"version":   0.2,
		"phases":    map[string]any{"install": unpack, "pre_build": phase("install"), "build": phase("build"), "post_build": phase("test", "archive")},
		"artifacts": map[string]any{"files": []string{outputName, cacheName}},
	})
	return string(text), err
}
