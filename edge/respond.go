package edge

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

const (
	// writeTimeout is the time limit for writing a response. A large one gets
	// additional time at the rate of slowest, in bytes per second.
	writeTimeout = time.Minute
	slowest      = 16 << 10
	// largeAnswer is the size in bytes above which a response gets additional
	// time.
	largeAnswer = writeTimeout / time.Second * slowest
)

// respond serves a GET, HEAD or OPTIONS request from the live deployment. If it
// returns an error it has written nothing except headers that the next try sets
// again.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, l *live, path string) error {
	if l.index == nil {
		s.pages.nothingLive.send(w)
		return nil
	}
	if l.index.rules != nil {
		return s.respondByRules(w, r, l, path)
	}
	answer, f := l.index.resolve(path, time.Now().Unix())
	if l.index.broken() {
		return errSpill
	}
	if r.Method == http.MethodOptions {
		options(w, sharedWith(r.Header.Get("Origin"), answer, nil))
		return nil
	}
	switch {
	case answer.Path == "":
		name, f, found := l.index.missing(path)
		if l.index.broken() {
			return errSpill
		}
		if !found {
			w.Header().Set(deploymentHeader, l.deployment())
			s.pages.notFound.send(w)
			return nil
		}
		return s.send(w, r, l, sent{name: name, file: f, status: http.StatusNotFound})
	case answer.Redirect:
		redirect(w, l, http.StatusMovedPermanently, withQuery(answer.Address(), r))
		return nil
	case answer.Alias:
		w.Header()["Link"] = []string{"<" + answer.Address() + `>; rel="canonical"`}
	}
	return s.send(w, r, l, sent{name: answer.Path, file: f, status: http.StatusOK})
}

// allowed lists the methods of every resource.
const allowed = "GET, HEAD, OPTIONS"

// options answers an OPTIONS request. For a file that the origin may read it
// answers a preflight (fetch.spec.whatwg.org/#http-responses). origin is "*", an
// origin, or "".
func options(w http.ResponseWriter, origin string) {
	h := w.Header()
	h.Set("Allow", allowed)
	h.Set("X-Content-Type-Options", "nosniff")
	if origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		if origin != "*" {
			h.Set("Vary", "Origin")
		}
		h.Set("Access-Control-Allow-Methods", allowed)
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Max-Age", "86400")
	}
	w.WriteHeader(http.StatusNoContent)
}

// redirect redirects to a page's address. Clients revalidate the redirect each
// time, because the next deployment may have a page at this address.
func redirect(w http.ResponseWriter, l *live, status int, address string) {
	fields := headers{to: w.Header(), values: make([]string, 0, 5)}
	fields.set("X-Content-Type-Options", "nosniff")
	fields.set(deploymentHeader, l.deployment())
	fields.set("Cache-Control", site.CacheControl("index.html"))
	fields.set("Location", address)
	fields.set("Content-Length", "0")
	w.WriteHeader(status)
}

// redirectHost redirects to the same address at another host. The address has
// no scheme, so the client keeps its own (RFC 3986 §4.2): what ends TLS may be
// in front of the edge.
func redirectHost(w http.ResponseWriter, r *http.Request, host string) {
	if port := r.Host[len(hostname(r.Host)):]; port != "" {
		host += port
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", site.CacheControl("index.html"))
	h.Set("Location", "//"+host+withQuery(path, r))
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
}

// withQuery appends the request's query to a path.
func withQuery(address string, r *http.Request) string {
	if r.URL.RawQuery != "" {
		address += "?" + escapeQuery(r.URL.RawQuery)
	}
	return address
}

// escapeQuery escapes every byte that a query must not contain (RFC 3986 §3.4),
// except percent signs.
func escapeQuery(query string) string {
	const allowed = "-._~!$&'()*+,;=:@/?%"
	var b strings.Builder
	for i := range len(query) {
		c := query[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if letter || c >= '0' && c <= '9' || strings.IndexByte(allowed, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// sent is a file to send.
type sent struct {
	name   string
	file   file
	status int
	// changes are those of the site's rules, or nil.
	changes *rules.Changes
	// varies means that the answer depends on more of the request than the host,
	// the path, the query and the accepted codings.
	varies bool
}

// send serves a file. Conditions and ranges of the request count only for
// status 200 (RFC 9110 §13.2.1).
func (s *Server) send(w http.ResponseWriter, r *http.Request, l *live, what sent) error {
	name, f, status := what.name, what.file, what.status
	contentType := site.ContentType(name)
	encoding := site.ContentEncoding(name)
	mayCompress := encoding == "" && f.size >= minGzip && f.size <= maxGzip && site.Compressible(contentType)
	// A range is defined only for GET (RFC 9110 §14.2), and refers to the
	// uncompressed bytes.
	ranged := status == http.StatusOK && r.Method == http.MethodGet && rangeable(r.Header.Get("Range"))

	var found time.Time
	if s.timing {
		found = time.Now()
	}
	var b body
	var err error
	coded, final := identity, true
	if mayCompress && !ranged {
		if b.data, coded, final, err = s.encoder.best(l, name, f, accepted(r.Header["Accept-Encoding"]...)); err != nil {
			return err
		}
	}
	if coded == identity {
		if b, err = s.blobs.open(l.tree.Pipeline, f); err != nil {
			return err
		}
		defer b.close()
		// A file that is requested once is kept only once.
		final = final && b.file == nil && !b.read
	}

	size := f.size
	if coded != identity {
		size = int64(len(b.data))
	}
	fields := headers{to: w.Header(), values: make([]string, 0, 12)}
	fields.set("X-Content-Type-Options", "nosniff")
	fields.set(deploymentHeader, l.deployment())
	if mayCompress {
		fields.set("Vary", "Accept-Encoding")
	}
	if site.Shared(name) {
		fields.set("Access-Control-Allow-Origin", "*")
	}
	if s.timing {
		from := "memory"
		switch {
		case coded != identity:
			from = "compressed"
		case b.read:
			from = "disk"
		}
		fields.set("Server-Timing", serverTiming(r, found, from))
	}
	if status == http.StatusOK {
		tag := etag(f.digest, coded)
		if match := r.Header["If-Match"]; match != nil && !lists(match, tag, false) {
			s.pages.changed.send(w)
			return nil
		}
		fields.set("Etag", tag)
		fields.set("Cache-Control", site.CacheControl(name))
		if match := r.Header["If-None-Match"]; match != nil && lists(match, tag, true) {
			change(w.Header(), r, what)
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		fields.set("Accept-Ranges", "bytes")
	} else {
		fields.set("Cache-Control", "no-store")
	}
	fields.set("Content-Type", contentType)
	if coded != identity {
		encoding = coded.name()
	}
	if encoding != "" {
		fields.set("Content-Encoding", encoding)
	}
	change(w.Header(), r, what)
	if size > int64(largeAnswer) {
		// A writer without deadlines, as in tests, has no time-out to move.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.times.writing(size)))
	}
	if ranged {
		http.ServeContent(w, r, name, time.Time{}, b.reader())
		return nil
	}
	fields.set("Content-Length", strconv.FormatInt(size, 10))
	if k, ok := w.(hotWriter); ok && status == http.StatusOK && final && l.access == nil && !l.wildcard && !what.varies && l.index.owns(name) {
		k.keep(kept{l, etag(f.digest, coded), b.data})
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	// The status is sent from here on. If the client is gone there is nothing
	// to do. If the disk fails, net/http closes the connection, because the
	// body is shorter than Content-Length.
	if b.file == nil {
		_, _ = w.Write(b.data)
	} else {
		_, _ = io.CopyN(w, b.file, size)
	}
	return nil
}

// etag returns the strong entity tag of a file's bytes or of an encoded form of
// them (RFC 9110 §8.8.3.3: two encodings have two tags).
func etag(d site.Digest, c coding) string {
	b := make([]byte, 0, 80)
	b = append(b, '"')
	b = hex.AppendEncode(b, d[:])
	if c != identity {
		b = append(append(b, '-'), c.name()...)
	}
	return string(append(b, '"'))
}

// headers sets header fields with one allocation for all their values. Names
// must be in canonical form.
type headers struct {
	to     http.Header
	values []string
}

func (h *headers) set(name, value string) {
	h.values = append(h.values, value)
	n := len(h.values)
	h.to[name] = h.values[n-1 : n : n]
}
