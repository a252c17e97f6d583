package bench

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// coldFiles is the number of files that are requested once each.
const coldFiles = 50_000

// BenchmarkEdgeCold requests many files of 4 KB for the first time since the
// servers started, while none is in the page cache. Only the contents of the
// files are removed from there; their names and inodes stay. The metric
// "disk-B/req" says what the disk read.
func BenchmarkEdgeCold(b *testing.B) {
	needPrograms(b, "wrk", "nginx")
	files := map[string][]byte{}
	for i := range coldFiles {
		files[fmt.Sprintf("cold/%d.html", i)] = fmt.Appendf(nil, "%04000d", i)
	}
	peers := newPeers(b, files)
	dir := filepath.Dir(peers[1].command[2]) // of the configuration of nginx
	// The number has no common factor with coldFiles, so no file comes twice.
	w := work{target: "/", script: filepath.Join(dir, "cold.lua")}
	writeFile(b, w.script, fmt.Appendf(nil, `local i = 0
request = function()
  i = i + 1
  if i > %[1]d then wrk.thread:stop() end
  return wrk.format("GET", "/cold/" .. (i * 7919 %% %[1]d) .. ".html")
end
`, coldFiles))
	rates, disk := make([][]rate, len(peers)), make([][]float64, len(peers))
	for range edgePasses {
		for i, p := range peers {
			dropFromCache(b, dir)
			p.start(b)
			before, spent := p.diskBytes(b), p.cpu(b)
			r := p.measure(b, w)
			requests := r.requests * (p.cpu(b) - spent).Seconds()
			rates[i], disk[i] = append(rates[i], r), append(disk[i], float64(p.diskBytes(b)-before)/max(1, requests))
			p.stop()
		}
	}
	for i, p := range peers {
		b.ReportMetric(median(disk[i]), p.name+"-disk-B/req")
	}
	report(b, peers, rates)
}

// dropFromCache removes the contents of all files below dir from the page cache.
func dropFromCache(b *testing.B, dir string) {
	b.Helper()
	root, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	// What is not yet written to the disk would stay.
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		b.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		b.Fatal(err)
	}
}

// diskBytes returns what the server has made the disk read.
func (p *peer) diskBytes(b *testing.B) int64 {
	b.Helper()
	var total int64
	for _, pid := range p.pids() {
		data, err := os.ReadFile("/proc/" + pid + "/io")
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(data), "read_bytes: ")
		line, _, _ := strings.Cut(rest, "\n")
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	return total
}
