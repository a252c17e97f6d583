package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/site"
)

// BenchmarkBuild builds new projects of frameworks with Troy's isolated builder,
// from the start to the end of the archive, and by hand in a shell with the same
// commands, the same programs and the same priority, in turns. A warm build has the packages and
// the framework's own cache of the build before, a cold one has neither.
func BenchmarkBuild(b *testing.B) {
	if _, err := exec.LookPath("npm"); err != nil {
		b.Skip("npm is not installed")
	}
	if out, err := exec.CommandContext(b.Context(), "npm", "ping").CombinedOutput(); err != nil {
		b.Skipf("npm's registry is unreachable: %s", out)
	}
	for _, s := range buildertest.Scaffolds() {
		if slices.Contains([]string{"vite-react", "next", "astro", "docusaurus", "angular"}, s.Name) {
			b.Run(s.Name, func(b *testing.B) { benchmarkBuild(b, s) })
		}
	}
}

func benchmarkBuild(b *testing.B, s buildertest.Scaffold) {
	hand := byHand{dir: b.TempDir(), cache: b.TempDir()}
	hand.run(b, s.Create)
	// npm can write a lockfile that `npm ci` refuses. Both sides then install
	// without it.
	hand.run(b, "npm install --no-audit --no-fund; npm ci --dry-run || rm package-lock.json")
	// npm ci removes what was installed; npm install would only look at it.
	withoutLock := ""
	if _, err := os.Stat(filepath.Join(hand.dir, "package-lock.json")); err != nil {
		withoutLock = " package-lock.json"
	}
	root, err := os.OpenRoot(hand.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	plan, err := build.Decide(root.FS(), build.Settings{})
	if err != nil {
		b.Fatal(err)
	}
	if err := root.RemoveAll("node_modules"); err != nil {
		b.Fatal(err)
	}
	source := archive(b, root.FS())
	by, err := sandbox.New(sandbox.Config{Root: b.TempDir(), Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := by.Close(); err != nil {
			b.Error(err)
		}
	}()
	commands := plan.Install + " && " + plan.Build
	var ours, theirs, oursCold, theirsCold []time.Duration
	pipeline := uuid.New()
	for range rounds(b) {
		pipeline = uuid.New()
		oursCold = append(oursCold, buildOnce(b, by, pipeline, source))
		hand.clean(b, source)
		hand.cache = b.TempDir()
		theirsCold = append(theirsCold, hand.run(b, commands))
	}
	for range rounds(b) {
		ours = append(ours, buildOnce(b, by, pipeline, source))
		hand.run(b, "rm -rf node_modules"+withoutLock)
		theirs = append(theirs, hand.run(b, commands))
	}
	pair("build of "+s.Framework+", warm", ours, "by hand", theirs, "≤ 1.05").add(b)
	pair("build of "+s.Framework+", cold", oursCold, "by hand", theirsCold, "≤ 1.15").add(b)
	b.ReportMetric(0, "ns/op")
}

// byHand runs commands in a folder with a cache of npm's packages.
type byHand struct{ dir, cache string }

func (h *byHand) run(b *testing.B, commands string) time.Duration {
	b.Helper()
	start := time.Now()
	cmd := exec.CommandContext(b.Context(), "nice", "-n", "5", "bash", "-e", "-c", commands)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "npm_config_cache="+h.cache, "CI=true", "NG_CLI_ANALYTICS=false", "NEXT_TELEMETRY_DISABLED=1", "ASTRO_TELEMETRY_DISABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", commands, err, out)
	}
	return time.Since(start)
}

// clean replaces the folder by one that has only the source.
func (h *byHand) clean(b *testing.B, source []byte) {
	b.Helper()
	h.dir = b.TempDir()
	if err := build.Unpack(b.Context(), bytes.NewReader(source), h.dir, build.SourceLimits{}); err != nil {
		b.Fatal(err)
	}
}

// buildOnce builds once and returns its duration.
func buildOnce(b *testing.B, by builder.Builder, pipeline uuid.UUID, source []byte) time.Duration {
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

// archive packs files as forges do.
func archive(b *testing.B, files fs.FS) []byte {
	b.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "team-blog-0123/" + filepath.ToSlash(name), Mode: 0o644, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	})
	if err = errors.Join(err, w.Close()); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
