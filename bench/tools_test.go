package bench

import (
	"bytes"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder/toolchain"
)

// BenchmarkTool gets Node.js and its npm as the first build that needs them does,
// in turns with bare downloads of the same packages, and then as every later
// build does.
func BenchmarkTool(b *testing.B) {
	const node = "22"
	wanted, ok := build.ParseRange("node", node)
	if !ok {
		b.Fatalf("%q is not a range", node)
	}
	tools := []build.Tool{{Name: "node", Ask: build.Ask{Text: node, By: "a file", Range: wanted}}}
	var first, downloads, later []time.Duration
	var addresses []string
	for range rounds(b) {
		store, err := toolchain.Open(toolchain.Config{Dir: b.TempDir(), Install: true})
		if err != nil {
			b.Fatal(err)
		}
		prepare := func() time.Duration {
			start := time.Now()
			set, err := store.Prepare(b.Context(), tools, nil, func(string) {})
			took := time.Since(start)
			if err != nil {
				b.Skipf("Node.js can't be installed here: %v", err)
			}
			set.Close()
			return took
		}
		first, later = append(first, prepare()), append(later, prepare())
		if addresses == nil {
			addresses = packagesOf(b, store)
		}
		start := time.Now()
		for _, address := range addresses {
			download(b, address)
		}
		downloads = append(downloads, time.Since(start))
	}
	pair("getting Node.js "+node+" and npm for the first build", first, "downloading their packages", downloads, "≤ the download + 2 s").add(b)
	result{"getting Node.js " + node + " and npm for a later build", spread(later), "", "", "≤ 50 ms"}.add(b)
	b.ReportMetric(0, "ns/op")
}

// packagesOf returns the addresses of the packages in a store of tools.
func packagesOf(b *testing.B, store *toolchain.Store) (addresses []string) {
	b.Helper()
	tools, err := store.Tools()
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range tools {
		out, err := exec.CommandContext(b.Context(), "npm", "view", t.Package+"@"+t.Version, "dist.tarball").Output()
		if err != nil {
			b.Skipf("npm does not find the package %s: %v", t.Package, err)
		}
		addresses = append(addresses, string(bytes.TrimSpace(out)))
	}
	return addresses
}

// download reads a file from the network.
func download(b *testing.B, address string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("download %s: status %d, %v", address, resp.StatusCode, err)
	}
}
