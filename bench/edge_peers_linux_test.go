package bench

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"

	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// edgeFiles is the site.
func edgeFiles() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	noise := func(size int) []byte {
		data := make([]byte, size)
		for i := 0; i+8 <= size; i += 8 {
			binary.LittleEndian.PutUint64(data[i:], random.Uint64())
		}
		return data
	}
	page := edgePage()
	return map[string][]byte{"small.html": page[:1000], "page.html": page, "large.bin": noise(1 << 20), "huge.bin": noise(100 << 20)}
}

// edgePage returns a page that compresses to about a quarter.
func edgePage() []byte {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // test data
	var out bytes.Buffer
	for out.Len() < 26_000 {
		fmt.Fprintf(&out, "<p>paragraph %d of a page with %x</p>\n", out.Len(), random.Uint32())
	}
	return out.Bytes()[:26_000]
}

// newPeers returns the servers of a site in folders of their own, the edge
// first.
func newPeers(b *testing.B, files map[string][]byte) []*peer {
	b.Helper()
	dir := b.TempDir()
	folder := filepath.Join(dir, "html")
	for path, data := range files {
		writeFile(b, filepath.Join(folder, path), data)
	}
	if page := files["page.html"]; page != nil {
		writeFile(b, filepath.Join(folder, "page.html.gz"), encoded(b, page, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }))
		writeFile(b, filepath.Join(folder, "page.html.br"), encoded(b, page, func(w io.Writer) io.WriteCloser {
			return brotli.NewWriterLevel(w, brotli.BestCompression)
		}))
	}
	layout := site.Layout{Root: filepath.Join(dir, "cloud")}
	writeSite(b, layout, edgeHost, files)
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	peers := []*peer{newTroy(b, layout), newNginx(b, dir, folder)}
	if _, err := exec.LookPath("caddy"); err == nil {
		peers = append(peers, newCaddy(b, dir, folder))
	}
	return peers
}

func writeFile(b *testing.B, name string, data []byte) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil { //nolint:gosec // nginx may run as another user
		b.Fatal(err)
	}
}

func encoded(b *testing.B, data []byte, encoder func(io.Writer) io.WriteCloser) []byte {
	b.Helper()
	var out bytes.Buffer
	w := encoder(&out)
	_, err := w.Write(data)
	if err = cmp.Or(err, w.Close()); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func newTroy(b *testing.B, layout site.Layout) *peer {
	b.Helper()
	p := &peer{name: "troy", address: freeAddress(b), host: edgeHost, brotli: true, command: []string{os.Args[0], "-test.run=^TestServeEdge$"}}
	p.environment = []string{edgeRootVariable + "=" + layout.Root, edgeAddressVariable + "=" + p.address}
	return p
}

// nginxBrotli is Debian's module for files that are compressed with brotli.
const nginxBrotli = "/usr/lib/nginx/modules/ngx_http_brotli_static_module.so"

func newNginx(b *testing.B, dir, folder string) *peer {
	b.Helper()
	p := &peer{name: "nginx", address: freeAddress(b)}
	module, brotliStatic := "", ""
	if _, err := os.Stat(nginxBrotli); err == nil {
		p.brotli, module, brotliStatic = true, "load_module "+nginxBrotli+";", "brotli_static on;"
	}
	text := fmt.Sprintf(`%[4]s user root root; worker_processes 1; worker_rlimit_nofile 16000; daemon off; pid %[1]s/nginx.pid; error_log stderr;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; include /etc/nginx/mime.types; gzip_static on; %[5]s
open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;
client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
server { listen %[2]s; root %[3]s; } }
`, dir, p.address, folder, module, brotliStatic)
	conf := filepath.Join(dir, "nginx.conf")
	writeFile(b, conf, []byte(text))
	p.command = []string{"nginx", "-c", conf}
	return p
}

func newCaddy(b *testing.B, dir, folder string) *peer {
	b.Helper()
	p := &peer{name: "caddy", address: freeAddress(b), brotli: true}
	caddyfile := filepath.Join(dir, "Caddyfile")
	writeFile(b, caddyfile, fmt.Appendf(nil, "{\n admin off\n auto_https off\n}\nhttp://%s {\n root * %s\n file_server {\n  precompressed br gzip\n }\n}\n", p.address, folder))
	p.environment = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	p.command = []string{"caddy", "run", "--config", caddyfile}
	return p
}
