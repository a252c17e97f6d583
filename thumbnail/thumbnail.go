// Package thumbnail takes pictures of sites with a headless Chromium that has no
// network: the caller answers each of its requests. The pages are hostile, so
// Chromium runs with its own sandbox inside a bubblewrap that sees only programs
// and fonts. Only cmd/troyd uses this package.
package thumbnail

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"net/http"
	"net/url"
	"os/exec"
	"sync"
	"time"

	"github.com/troy-iaas/troy"
)

const (
	// Width is the width of a picture in pixels.
	Width = 640
	// Height is the height of a picture in pixels.
	Height = 400
	// scale is how much larger the window is than the picture.
	scale = 2
	// MaxBytes is the maximum size of a picture.
	MaxBytes = 40 << 10
	// takeTime is the maximum duration of a picture, loadTime how long its page
	// may load, and settleTime how long it may render afterwards.
	takeTime   = 30 * time.Second
	loadTime   = 10 * time.Second
	settleTime = 500 * time.Millisecond
	// Bounds of what a page may request.
	maxRequests  = 300
	maxFileBytes = 8 << 20
	maxPageBytes = 64 << 20
	// maxMessage is the maximum size of a message of Chromium.
	maxMessage = 8 << 20
	// fetches is how many requests are answered at a time.
	fetches = 4
)

// Answer is the answer to a request of the page.
type Answer struct {
	Status int
	Type   string // the Content-Type
	// Location is where a redirect leads.
	Location string
	Body     []byte
}

// Answers answers a request for a path of the site.
type Answers func(ctx context.Context, path string) (Answer, error)

// Browser takes pictures.
type Browser struct{ chromium, bwrap string }

// New returns a browser that runs the program at path, or a Conflict error that
// says what is missing.
func New(path string) (*Browser, error) {
	chromium, err := exec.LookPath(path)
	if err != nil {
		return nil, troy.Errorf(troy.Conflict, "Chromium can't be found: %v", err)
	}
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, troy.Errorf(troy.Conflict, "Chromium can't be isolated: install bubblewrap")
	}
	return &Browser{chromium, bwrap}, nil
}

// Take returns a JPEG of the first page of a host, of at most MaxBytes. Chromium
// and all that it started have ended when Take returns. It returns
// TooLarge if the page uses too much memory.
func (b *Browser) Take(ctx context.Context, host string, answers Answers) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	c, stop, err := b.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	p := &page{conn: c, host: host, answers: answers, places: make(chan struct{}, fetches), loaded: make(chan struct{})}
	shot, err := p.take(ctx)
	if exceeded := stop(); exceeded != nil {
		err = exceeded
	}
	if err != nil {
		return nil, fmt.Errorf("take a picture of %s: %w", host, err)
	}
	return encode(shot)
}

// page is a tab of Chromium.
type page struct {
	conn    *conn
	host    string
	answers Answers
	session string
	places  chan struct{}
	loaded  chan struct{}
	once    sync.Once

	mu       sync.Mutex
	requests int
	bytes    int
}

func (p *page) take(ctx context.Context) ([]byte, error) {
	var target struct {
		TargetID string `json:"targetId"`
	}
	if err := p.conn.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := p.conn.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	p.session = attached.SessionID
	p.conn.handle(func(method string, params json.RawMessage) { p.event(ctx, method, params) })
	for _, step := range []struct {
		method string
		params map[string]any
	}{
		{"Page.enable", nil},
		{"Fetch.enable", map[string]any{"patterns": []any{map[string]any{"urlPattern": "*"}}}},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": Width * scale, "height": Height * scale, "deviceScaleFactor": 1, "mobile": false}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-reduced-motion", "value": "reduce"}}}},
		{"Page.navigate", map[string]any{"url": "http://" + p.host + "/"}},
	} {
		if err := p.conn.call(ctx, p.session, step.method, step.params, nil); err != nil {
			return nil, err
		}
	}
	for _, wait := range []struct {
		done <-chan struct{}
		most time.Duration
	}{{p.loaded, loadTime}, {nil, settleTime}} {
		select {
		case <-wait.done:
		case <-time.After(wait.most): // a page that does not end shows what it has
		case <-p.conn.ended:
			return nil, p.conn.err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var shot struct {
		Data []byte `json:"data"` // base64, as encoding/json reads it
	}
	err := p.conn.call(ctx, p.session, "Page.captureScreenshot", map[string]any{
		"format": "jpeg", "quality": 90, "clip": map[string]any{"x": 0, "y": 0, "width": Width * scale, "height": Height * scale, "scale": 1.0 / scale},
	}, &shot)
	return shot.Data, err
}

func (p *page) event(ctx context.Context, method string, params json.RawMessage) {
	switch method {
	case "Page.loadEventFired":
		p.once.Do(func() { close(p.loaded) })
	case "Page.javascriptDialogOpening":
		p.conn.send(p.session, "Page.handleJavaScriptDialog", map[string]any{"accept": false})
	case "Fetch.requestPaused":
		var e struct {
			RequestID string `json:"requestId"`
			Request   struct{ URL, Method string }
		}
		if json.Unmarshal(params, &e) != nil {
			return
		}
		go func() {
			select {
			case p.places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			defer func() { <-p.places }()
			a, ok := p.answer(ctx, e.Request.Method, e.Request.URL)
			if !ok {
				p.conn.send(p.session, "Fetch.failRequest", map[string]any{"requestId": e.RequestID, "errorReason": "AccessDenied"})
				return
			}
			headers := []any{map[string]any{"name": "Content-Type", "value": a.Type}}
			if a.Location != "" {
				headers = append(headers, map[string]any{"name": "Location", "value": a.Location})
			}
			p.conn.send(p.session, "Fetch.fulfillRequest", map[string]any{
				"requestId": e.RequestID, "responseCode": a.Status, "responseHeaders": headers, "body": base64.StdEncoding.EncodeToString(a.Body),
			})
		}()
	}
}

// answer answers a request within the bounds. Only the site itself answers.
func (p *page) answer(ctx context.Context, method, address string) (Answer, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Host != p.host || u.Path == "" || method != http.MethodGet {
		return Answer{}, false
	}
	p.mu.Lock()
	p.requests++
	over := p.requests > maxRequests || p.bytes > maxPageBytes
	p.mu.Unlock()
	if over {
		return Answer{}, false
	}
	a, err := p.answers(ctx, u.Path)
	if err != nil || len(a.Body) > maxFileBytes {
		return Answer{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += len(a.Body)
	return a, p.bytes <= maxPageBytes
}

// encode writes a picture anew, so that nothing else than an image is stored.
func encode(shot []byte) ([]byte, error) {
	size, err := jpeg.DecodeConfig(bytes.NewReader(shot))
	if err != nil {
		return nil, fmt.Errorf("read the picture: %w", err)
	}
	if size.Width != Width || size.Height != Height {
		return nil, troy.Errorf(troy.Invalid, "the picture has %dx%d pixels; expected %dx%d", size.Width, size.Height, Width, Height)
	}
	decoded, err := jpeg.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, fmt.Errorf("read the picture: %w", err)
	}
	flat := image.NewRGBA(image.Rect(0, 0, Width, Height))
	draw.Draw(flat, flat.Bounds(), decoded, image.Point{}, draw.Src)
	for quality := 80; quality > 0; quality -= 15 {
		var out bytes.Buffer
		if err := jpeg.Encode(&out, flat, &jpeg.Options{Quality: quality}); err != nil {
			return nil, fmt.Errorf("write the picture: %w", err)
		}
		if out.Len() <= MaxBytes {
			return out.Bytes(), nil
		}
	}
	return nil, troy.Errorf(troy.TooLarge, "the picture has more than %d bytes", MaxBytes)
}
