//go:build frameworks

package builder_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// limit is the time that one scaffold may take.
const limit = 15 * time.Minute

// TestScaffolds builds the frameworks' own scaffolds from the npm registry by the
// plan that Decide makes, and requests every page and every internal link of
// the result. FRAMEWORKS lists the scaffolds to build; the default is all.
func TestScaffolds(t *testing.T) {
	wanted := strings.Fields(strings.ReplaceAll(os.Getenv("FRAMEWORKS"), ",", " "))
	var table strings.Builder
	fmt.Fprintf(&table, "%-18s %8s %8s %6s %6s %7s %7s  %s\n", "scaffold", "install", "build", "pages", "links", "broken", "assets", "output")
	for _, s := range buildertest.Scaffolds() {
		if len(wanted) > 0 && !slices.Contains(wanted, s.Name) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			table.WriteString(scaffold(ctx, t, s) + "\n")
		})
	}
	t.Log("\n" + table.String())
}

func scaffold(ctx context.Context, t *testing.T, s buildertest.Scaffold) string {
	t.Helper()
	dir := t.TempDir()
	run(ctx, t, dir, s.Create)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	plan, err := build.Decide(root.FS(), build.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(plan.Why)
	if plan.Generator != s.Framework {
		t.Errorf("it is taken for %q, want %q", plan.Generator, s.Framework)
	}
	bin := t.TempDir()
	for name, script := range plan.Shims() {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	started := time.Now()
	run(ctx, t, filepath.Join(dir, plan.InstallRoot), plan.Install)
	install := time.Since(started)
	began := time.Now()
	run(ctx, t, filepath.Join(dir, plan.Root), plan.Build)
	took := time.Since(began)
	written, err := build.LookWritten(ctx, root, func(info fs.FileInfo) bool { return !info.ModTime().Before(began.Add(-time.Second)) })
	if err != nil {
		t.Fatal(err)
	}
	out, err := plan.FindOutput(ctx, root.FS(), written)
	if err != nil {
		t.Fatal(err)
	}
	c := crawl(t, filepath.Join(dir, out.Folder), plan.Config, s.SPA)
	for _, broken := range c.broken {
		t.Error(broken)
	}
	if s.Framework != "Eleventy" && c.assets == 0 {
		t.Error("no asset is kept by browsers")
	}
	return fmt.Sprintf("%-18s %7.1fs %7.1fs %6d %6d %7d %7d  %s", s.Name, install.Seconds(), took.Seconds(), c.pages, c.links, len(c.broken), c.assets, out.Folder)
}

// run runs a command as a build does.
func run(ctx context.Context, t *testing.T, dir, command string) {
	t.Helper()
	if command == "" {
		return
	}
	cmd := exec.CommandContext(ctx, "bash", "-euc", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CI=true", "ASTRO_TELEMETRY_DISABLED=1", "NEXT_TELEMETRY_DISABLED=1", "NUXT_TELEMETRY_DISABLED=1", "NG_CLI_ANALYTICS=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, text[max(0, len(text)-4000):])
	}
}

// tree is a built site.
type tree struct {
	paths site.PathSet
	slash site.TrailingSlash
}

func (x tree) Resolve(p string) site.Answer { return x.slash.Resolve(x.paths, p) }

func (x tree) Missing(string) (string, bool) { return "404.html", x.has("404.html") }

func (x tree) has(name string) bool {
	_, ok := x.paths[name]
	return ok
}

// crawled is what a crawl found.
type crawled struct {
	pages, links, assets int
	broken               []string
}

// crawl requests each page of a folder and each link and asset in them, by the
// decisions that the edge makes.
func crawl(t *testing.T, dir string, config []rules.ConfigFile, spa bool) crawled {
	t.Helper()
	var files []site.File
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		files = append(files, site.File{Path: filepath.ToSlash(relative)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if spa {
		config = append(config, rules.ConfigFile{Name: "troy.toml", Text: "[site]\nspa = true\n"})
	}
	x := tree{site.NewPathSet(files), site.SlashAuto}
	compiled := rules.Compile(rules.Input{Config: config, Paths: x.paths})
	m, err := rules.New(compiled.Rules)
	if err != nil {
		t.Fatal(err)
	}
	var c crawled
	seen := map[string]bool{}
	for _, f := range files {
		if site.CacheControl(f.Path) != "public, max-age=0, must-revalidate" {
			c.assets++
		}
		if path.Ext(f.Path) != ".html" || f.Path == "404.html" {
			continue
		}
		c.pages++
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			t.Fatal(err)
		}
		address := &url.URL{Path: "/" + strings.TrimSuffix(f.Path, "index.html")}
		for _, link := range links(data) {
			u, err := address.Parse(link)
			if err != nil || u.Host != "" || u.Scheme != "" || u.Path == "" {
				continue
			}
			c.links++
			if seen[u.Path] {
				continue
			}
			seen[u.Path] = true
			d := m.Decide(x, rules.Request{Path: u.Path, HTML: path.Ext(u.Path) == ""})
			if d.Status != 200 {
				c.broken = append(c.broken, fmt.Sprintf("%s links to %s, which is %d", f.Path, u.Path, d.Status))
			}
		}
	}
	d := m.Decide(x, rules.Request{Path: "/a/page/of/the/application", HTML: true})
	if want := map[bool]int{true: 200, false: 404}[spa]; d.Status != want {
		c.broken = append(c.broken, fmt.Sprintf("a deep link is %d; expected %d", d.Status, want))
	}
	if c.pages == 0 {
		c.broken = append(c.broken, "there are no pages")
	}
	return c
}

// links returns the addresses in a page.
func links(page []byte) []string {
	var all []string
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return all
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			for _, a := range token.Attr {
				if a.Key == "href" || a.Key == "src" {
					all = append(all, a.Val)
				}
			}
		}
	}
}
