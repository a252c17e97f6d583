package sandbox_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/builder/toolchain"
)

// toolStore has a registry with Node.js 90.1.2 and npm 80.1.2, which are
// scripts that print their names and arguments.
func toolStore(t *testing.T) (store *toolchain.Store, dir string) {
	t.Helper()
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if arch == "" {
		t.Skip("no packages are built for this machine")
	}
	pack := func(program string) []byte {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		w := tar.NewWriter(z)
		text := "#!/bin/sh\necho my " + program + " \"$@\"\n"
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "package/bin/" + program, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
	packages := map[string]struct {
		version, program string
		archive          []byte
	}{"node-linux-" + arch: {"90.1.2", "node", pack("node")}, "npm": {"80.1.2", "npm", pack("npm")}}
	registry := httptest.NewServer(nil)
	registry.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, archive := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/-/")
		p, found := packages[name]
		if !found {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if archive {
			_, _ = w.Write(p.archive)
			return
		}
		sum := sha512.Sum512(p.archive)
		_, _ = fmt.Fprintf(w, `{"versions":{%q:{"version":%q,"bin":{%q:%q},"dist":{"integrity":%q,"tarball":%q}}}}`,
			p.version, p.version, p.program, "bin/"+p.program, "sha512-"+base64.StdEncoding.EncodeToString(sum[:]), registry.URL+"/"+name+"/-/x.tgz")
	})
	t.Cleanup(registry.Close)
	dir = filepath.Join(t.TempDir(), "tools")
	store, err := toolchain.Open(toolchain.Config{Dir: dir, Install: true, Registry: registry.URL})
	if err != nil {
		t.Fatal(err)
	}
	return store, dir
}

// asksForNode is a repository that asks for that version of Node.js.
func asksForNode(command string) buildertest.Repository {
	repo := buildertest.Shell(makeSite + "\n" + command)
	repo["troy.toml"] += "install = \"\"\n"
	repo["package.json"], repo[".nvmrc"] = "{}", "90\n"
	return repo
}

// TestToolOfTheRepository builds with the version that a file asks for, isolated
// and not, in trusted builds and those of strangers.
func TestToolOfTheRepository(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		isolation sandbox.Isolation
		untrusted bool
	}{"isolated": {sandbox.Bubblewrap, false}, "a stranger's": {sandbox.Bubblewrap, true}, "bare": {sandbox.NoIsolation, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _ := toolStore(t)
			cfg := sandbox.Config{Isolation: c.isolation, Tools: store}
			var e buildertest.Env
			if c.isolation == sandbox.Bubblewrap {
				e, _ = isolatedBuilder(t, cfg)
			} else {
				e, _ = newBuilder(t, cfg)
			}
			spec := asksForNode("node one two > out/said; npm three >> out/said").Spec(t)
			spec.Untrusted = c.untrusted
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree)["said"]; got != "my node one two\nmy npm three\n" {
				t.Errorf("the programs say %q", got)
			}
			log := e.LogOf(t, spec.Tree)
			for _, want := range []string{"Node.js 90.1.2, from .nvmrc (90); installed in ", "npm 80.1.2, which comes with Node.js 90; installed in "} {
				if !strings.Contains(log, want) {
					t.Errorf("the log does not contain %q:\n%s", want, log)
				}
			}
		})
	}
}

// TestToolByMise builds with a tool whose programs are not in the folder bin.
func TestToolByMise(t *testing.T) {
	t.Parallel()
	const script = `#!/bin/sh
case $1 in
--version) echo 2026.9.15 linux-x64;;
ls-remote) echo 1.2.3;;
lock) printf '[[tools.zola]]\nversion = "1.2.3"\n[tools.zola."platforms.%s"]\nchecksum = "sha256:0a"\n' "$3" > mise.lock;;
install) mkdir -p "$MISE_DATA_DIR/zola"; printf '#!/bin/sh\necho my zola "$@"\n' > "$MISE_DATA_DIR/zola/zola"; chmod 755 "$MISE_DATA_DIR/zola/zola";;
where) echo "$MISE_DATA_DIR/zola";;
esac
`
	for name, isolation := range map[string]sandbox.Isolation{"isolated": sandbox.Bubblewrap, "bare": sandbox.NoIsolation} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "mise"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			store, err := toolchain.Open(toolchain.Config{Dir: filepath.Join(dir, "tools"), Install: true, Mise: filepath.Join(dir, "mise")})
			if err != nil {
				t.Fatal(err)
			}
			cfg := sandbox.Config{Isolation: isolation, Tools: store}
			var e buildertest.Env
			if isolation == sandbox.Bubblewrap {
				e, _ = isolatedBuilder(t, cfg)
			} else {
				e, _ = newBuilder(t, cfg)
			}
			repo := buildertest.Shell(makeSite + "\nzola build > out/said")
			repo[".zola-version"] = "1.2"
			spec := repo.Spec(t)
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree)["said"]; got != "my zola build\n" {
				t.Errorf("the program says %q", got)
			}
			if log := e.LogOf(t, spec.Tree); !strings.Contains(log, "Zola 1.2.3, from .zola-version (1.2); installed in ") {
				t.Errorf("the log:\n%s", log)
			}
		})
	}
}

// TestToolsCantBeChanged has a build, trusted or not, try to change what later
// builds run.
func TestToolsCantBeChanged(t *testing.T) {
	t.Parallel()
	store, dir := toolStore(t)
	e, _ := isolatedBuilder(t, sandbox.Config{Tools: store})
	program := filepath.Join(dir, "node", "90.1.2", "package", "bin", "node")
	probe := `program=$(readlink -f "$(command -v node)")
		for f in "$program" "${program%/*}/other" /build/tools/other /build/tools/node/tool.json ` + program + ` ` + dir + `/tmp/other; do
			if echo 'echo poison' > "$f"; then echo "$f" >> out/written; fi
			if rm -f "$f" && ! [ -e "$f" ] && [ "$f" = "$program" ]; then echo "removed $f" >> out/written; fi
		done 2>/dev/null
		if mv /build/tools/node /build/tools/gone 2>/dev/null; then echo moved >> out/written; fi
		ls ` + dir + ` >> out/written 2>/dev/null || true
		node after > out/said`
	for _, untrusted := range []bool{true, false} {
		spec := asksForNode(probe).Spec(t)
		spec.Untrusted = untrusted
		e.Succeeds(t, spec)
		if out := e.Output(t, spec.Tree); out["written"] != "" || out["said"] != "my node after\n" {
			t.Errorf("a build that is untrusted: %v wrote %q; the program says %q", untrusted, out["written"], out["said"])
		}
	}
	text, err := os.ReadFile(program)
	if err != nil || strings.Contains(string(text), "poison") {
		t.Errorf("the program is %q, %v", text, err)
	}
}

// TestUnknownToolFailsTheBuild asks for a version that does not exist.
func TestUnknownToolFailsTheBuild(t *testing.T) {
	t.Parallel()
	store, _ := toolStore(t)
	e, _ := newBuilder(t, sandbox.Config{Isolation: sandbox.NoIsolation, Tools: store})
	repo := asksForNode("true")
	repo[".nvmrc"] = "91"
	spec := repo.Spec(t)
	e.Fails(t, spec, ".nvmrc asks for Node.js 91, which does not exist; available versions: 90.1.2")
	// A variable of the pipeline decides before files.
	spec = repo.Spec(t)
	spec.Variables = map[string]string{"NODE_VERSION": "90.1.2"}
	e.Succeeds(t, spec)
	if log := e.LogOf(t, spec.Tree); !strings.Contains(log, "Node.js 90.1.2, from the variable NODE_VERSION") || !strings.Contains(log, ".nvmrc asks for Node.js 91, which 90.1.2 is not; the variable NODE_VERSION decides.") {
		t.Errorf("the log:\n%s", log)
	}
}
