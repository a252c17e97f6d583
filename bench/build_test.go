package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/site"
)

// vite is a shortened vanilla template of `npm create vite`.
var vite = map[string]string{
	"package.json": `{"name":"bench","private":true,"version":"0.0.0","type":"module","scripts":{"build":"vite build"},"devDependencies":{"vite":"^7.0.0"}}`,
	"index.html":   `<!doctype html><html lang="en"><head><title>Bench</title></head><body><div id="app"></div><script type="module" src="/src/main.js"></script></body></html>`,
	"src/main.js":  `import './style.css'; import { count } from './counter.js'; document.querySelector('#app').innerHTML = '<h1>Hello</h1><button id="c"></button>'; count(document.querySelector('#c'))`,
	"src/counter.js": `export function count(element) { let n = 0; const set = (v) => { n = v; element.innerHTML = 'count is ' + n }
element.addEventListener('click', () => set(n + 1)); set(0) }`,
	"src/style.css": `:root { font-family: system-ui; color: #213547 } h1 { font-size: 3.2em }`,
}

// builds is the number of builds on each side, after one that warms its cache.
const builds = 7

// BenchmarkBuild builds a vite project with a warm cache: with Troy's isolated
// builder, from the start to the end of its archive, and by hand in a shell
// with the same commands, in turns.
func BenchmarkBuild(b *testing.B) {
	if _, err := exec.LookPath("npm"); err != nil {
		b.Skip("npm is not installed")
	}
	dir, cache := b.TempDir(), b.TempDir()
	write(b, dir, vite)
	byHand := func(commands string) time.Duration {
		b.Helper()
		start := time.Now()
		cmd := exec.CommandContext(b.Context(), "bash", "-e", "-c", commands)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "npm_config_cache="+cache, "CI=true")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", commands, err, out)
		}
		return time.Since(start)
	}
	if out, err := exec.CommandContext(b.Context(), "npm", "ping").CombinedOutput(); err != nil {
		b.Skipf("npm's registry is unreachable: %s", out)
	}
	byHand("npm install --no-audit --no-fund && npm ci && npm run build")
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		b.Fatal(err)
	}
	files := maps.Clone(vite)
	files["package-lock.json"] = string(lock)
	by, err := sandbox.New(sandbox.Config{Root: b.TempDir(), Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := by.Close(); err != nil {
			b.Error(err)
		}
	}()
	source, pipeline := archive(b, files), uuid.New()
	build(b, by, pipeline, source)
	var ours, theirs []time.Duration
	for range builds {
		theirs = append(theirs, byHand("rm -rf node_modules dist && npm ci && npm run build"))
		ours = append(ours, build(b, by, pipeline, source))
	}
	b.ReportMetric(quantile(ours, 0.5), "build-ms")
	b.ReportMetric(quantile(theirs, 0.5), "by-hand-ms")
	b.ReportMetric(quantile(ours, 0.5)/quantile(theirs, 0.5), "ratio")
	b.ReportMetric(0, "ns/op")
}

// build builds once and returns its duration.
func build(b *testing.B, by builder.Builder, pipeline uuid.UUID, source []byte) time.Duration {
	b.Helper()
	ctx, tree := b.Context(), site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}
	start := time.Now()
	err := by.Start(ctx, builder.Spec{
		Tree: tree,
		Source: func(context.Context, string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(source)), nil
		},
	})
	if err != nil {
		b.Skipf("builds can't be isolated here: %v", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		state, err := by.Get(ctx, tree)
		if err != nil {
			b.Fatal(err)
		}
		if state.State == builder.Running {
			continue
		}
		took := time.Since(start)
		if state.State != builder.Succeeded {
			page, err := by.Log(ctx, tree, "")
			b.Fatalf("the build %s: %s\n%s (%v)", state.State, state.Cause, page.Data, err)
		}
		if err := by.Remove(ctx, tree); err != nil {
			b.Fatal(err)
		}
		return took
	}
	return 0
}

func write(b *testing.B, dir string, files map[string]string) {
	b.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			b.Fatal(err)
		}
	}
}

// archive packs files as forges do.
func archive(b *testing.B, files map[string]string) []byte {
	b.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "team-blog-0123/" + name, Mode: 0o644, Size: int64(len(files[name]))})
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
