package edge

import (
	"io"
	"net/http"
	"strings"
)

// private wraps the writer of every answer of a protected site and of a preview:
// no cache that several people share may store it, and search engines must not
// list it. Pages of other origins must not read it, unless it is public.
type private struct {
	http.ResponseWriter
	public bool // a preview that everyone may see
	sent   bool
}

func (p *private) WriteHeader(status int) {
	if status >= 200 && !p.sent { // the others are not final
		p.sent = true
		hide(p.Header(), p.public)
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *private) Write(b []byte) (int, error) {
	if !p.sent {
		p.WriteHeader(http.StatusOK)
	}
	return p.ResponseWriter.Write(b)
}

// ReadFrom keeps sendfile possible.
func (p *private) ReadFrom(src io.Reader) (int64, error) {
	if !p.sent {
		p.WriteHeader(http.StatusOK)
	}
	return io.Copy(p.ResponseWriter, src)
}

// Unwrap lets http.ResponseController reach the wrapped writer.
func (p *private) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// hide adapts an answer's header. A browser may keep files, but asks each time
// before it uses them, so that it shows nothing once a session has ended.
func hide(h http.Header, public bool) {
	control := "private, no-cache"
	if before := h.Get("Cache-Control"); before == "" || strings.Contains(before, "no-store") {
		control = "private, no-store"
	}
	h["Cache-Control"] = []string{control}
	if !public {
		h["Vary"] = append(h["Vary"], "Cookie, Authorization")
	}
	h["X-Robots-Tag"] = []string{"noindex"}
	for name := range h {
		if !public && strings.HasPrefix(name, "Access-Control-") || overridesCaching(name) {
			delete(h, name)
		}
	}
	if !public {
		h["Cross-Origin-Resource-Policy"] = []string{"same-origin"}
	}
}

// overridesCaching reports whether a header decides about caching besides
// Cache-Control, such as CDN-Cache-Control (RFC 9213) and its relatives.
func overridesCaching(name string) bool {
	return strings.HasSuffix(name, "-Cache-Control") || name == "Surrogate-Control" || name == "Expires" || name == "Pragma"
}
