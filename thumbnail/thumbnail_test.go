package thumbnail_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/thumbnail"
)

func newBrowser(t *testing.T) *thumbnail.Browser {
	t.Helper()
	b, err := thumbnail.New("chromium")
	if err != nil {
		t.Skipf("this machine can't take thumbnails: %v", err)
	}
	return b
}

// files answers with files by their paths, and records the requests.
type files struct {
	mu    sync.Mutex
	of    map[string]string
	asked []string
}

func (f *files) answer(_ context.Context, path string) (thumbnail.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, path)
	body, ok := f.of[path]
	if !ok {
		return thumbnail.Answer{Status: http.StatusNotFound, Type: "text/plain"}, nil
	}
	kind := "text/html"
	if strings.HasSuffix(path, ".css") {
		kind = "text/css"
	}
	return thumbnail.Answer{Status: http.StatusOK, Type: kind, Body: []byte(body)}, nil
}

func middle(t *testing.T, picture []byte) (r, g, b uint32) {
	t.Helper()
	decoded, err := jpeg.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	if decoded.Bounds() != image.Rect(0, 0, thumbnail.Width, thumbnail.Height) || len(picture) > thumbnail.MaxBytes {
		t.Errorf("the picture is %v of %d bytes", decoded.Bounds(), len(picture))
	}
	r, g, b, _ = decoded.At(thumbnail.Width/2, thumbnail.Height/2).RGBA()
	return r >> 8, g >> 8, b >> 8
}

// TestTake takes a picture of a page whose colour comes from its style sheet,
// if nothing outside of the site answers.
func TestTake(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	// A server of this machine, which the page must not reach.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{}, 100)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached <- struct{}{}
		w.Header().Set("Access-Control-Allow-Origin", "*")
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	outside := "http://" + l.Addr().String()
	f := &files{of: map[string]string{
		"/": `<!doctype html><link rel="stylesheet" href="/a.css"><body><iframe src="` + outside + `/frame"></iframe><img src="` + outside + `/image">
<script>
alert("hello");
Promise.allSettled([fetch("` + outside + `/fetch"), fetch("file:///etc/passwd"), fetch("/none")]).then((all) => {
  if (all[0].status === "rejected" && all[1].status === "rejected" && all[2].value.status === 404) document.body.className = "alone";
});
new WebSocket("ws` + strings.TrimPrefix(outside, "http") + `/socket");
</script>`,
		"/a.css": "body { background: #c00; } .alone { background: #00c; }",
	}}
	picture, err := browser.Take(t.Context(), "blog.example", f.answer)
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b := middle(t, picture); r > 20 || g > 20 || b < 180 {
		t.Errorf("the middle of the picture is %d %d %d, want blue: a request left the sandbox, or a file was read", r, g, b)
	}
	select {
	case <-reached:
		t.Error("the page reached a server of the machine")
	default:
	}
}

// TestMain fails if a process of a test outlives it.
func TestMain(m *testing.M) {
	code := m.Run()
	left, _ := exec.Command("pgrep", "-P", strconv.Itoa(os.Getpid())).Output() //nolint:noctx // it ends at once
	if pids := strings.Fields(string(left)); len(pids) > 1 {                   // pgrep itself is one
		fmt.Println("processes are left:", pids)
		code = 1
	}
	os.Exit(code)
}

// TestHostilePages takes pictures of pages that never end or take memory
// without bound, and of one whose picture is hard to compress.
func TestHostilePages(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	for name, page := range map[string]string{
		"an endless script":    `<body><script>for (;;) {}</script>`,
		"an endless redirect":  `<meta http-equiv="refresh" content="0"><body>`,
		"memory without bound": `<body><script>const all = []; for (;;) all.push(new Array(1e6).fill(all.length));</script>`,
		// The bound of the scripts' heap does not cover this memory.
		"buffers without bound": `<body><script>const all = []; for (;;) all.push(new Uint8Array(16 << 20).fill(1));</script>`,
		"noise": `<body style="margin:0"><canvas width="1280" height="800"></canvas><script>
const c = document.querySelector("canvas").getContext("2d"), d = c.createImageData(1280, 800);
for (let i = 0; i < d.data.length; i++) d.data[i] = i % 4 === 3 ? 255 : Math.random() * 256;
c.putImageData(d, 0, 0);</script>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if name != "noise" && name != "buffers without bound" {
				short, cancel := context.WithTimeout(ctx, 4*time.Second)
				defer cancel()
				ctx = short
			}
			picture, err := browser.Take(ctx, "blog.example", (&files{of: map[string]string{"/": page}}).answer)
			t.Logf("%d bytes, %v", len(picture), err)
			if err == nil {
				middle(t, picture)
			}
			if name == "buffers without bound" && troy.KindOf(err) != troy.TooLarge {
				t.Errorf("got %v, expected that the page's memory is bounded", err)
			}
		})
	}
}
