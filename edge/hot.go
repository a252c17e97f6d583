package edge

import (
	"bytes"
	"net/http"
	"unsafe"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/lru"
)

// hotKey is everything that a kept response depends on besides the site's
// state. Only neutral requests have one.
type hotKey struct {
	host, target string
	codings      codings
}

// hotAnswer is a response as bytes. Its status line and its Date are not part
// of it, because the date changes.
type hotAnswer struct {
	sources  *sources
	pipeline uuid.UUID
	host     string
	path     string
	etag     string
	fields   []byte // until the body
	same     []byte // the fields of 304
	body     []byte
}

// hotOverhead is the approximate cost of a kept response in memory besides its
// bytes.
const hotOverhead = 512

// hot keeps responses that the handler allowed to keep. It is safe for
// concurrent use.
type hot struct {
	answers *lru.Cache[hotKey, *hotAnswer]
}

// find returns the response to a neutral request, or nil. The stamp must have
// been taken after the request was read.
func (h *hot) find(q *request, accepts codings, stamp uint64) *hotAnswer {
	if !q.neutral || q.head {
		return nil
	}
	host := bareHost(q.host)
	if len(host) == 0 {
		return nil
	}
	// The key lives only until Get returns.
	a, ok := h.answers.Get(hotKey{view(host), view(q.target), accepts})
	if !ok || !a.sources.fresh(stamp) || q.noneMatch != nil && !bytes.Equal(q.noneMatch, []byte(a.etag)) {
		return nil
	}
	return a
}

// parts returns the response to a request for which find returned a: the status
// line with the date, the fields, and the body.
func (a *hotAnswer) parts(q *request, date string) (first, fields, body []byte) {
	first = make([]byte, 0, 64)
	if q.noneMatch != nil {
		first, fields = append(first, "HTTP/1.1 304 Not Modified\r\nDate: "...), a.same
	} else {
		first, fields, body = append(first, "HTTP/1.1 200 OK\r\nDate: "...), a.fields, a.body
	}
	first = append(append(first, date...), "\r\n"...)
	return first, fields, body
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bareHost returns the host without its port. It returns nil if it is not in
// its normal form, so that spellings of one host don't multiply what is kept.
func bareHost(host []byte) []byte {
	for i, c := range host {
		if c == ':' {
			if len(bytes.Trim(host[i+1:], "0123456789")) > 0 {
				return nil
			}
			return host[:i]
		}
		if c >= 'A' && c <= 'Z' || c == '[' {
			return nil
		}
	}
	return host
}

// put keeps the response to a request. header is as the handler left it.
func (h *hot) put(q *request, accepts codings, k *kept, header http.Header) {
	host := bareHost(q.host)
	if len(host) == 0 {
		return
	}
	var fields, same bytes.Buffer
	_ = header.Write(&fields)
	fields.WriteString("\r\n")
	_ = header.WriteSubset(&same, map[string]bool{"Accept-Ranges": true, "Content-Type": true, "Content-Length": true, "Content-Encoding": true})
	same.WriteString("\r\n")
	key := hotKey{string(host), string(q.target), accepts}
	a := &hotAnswer{
		sources: k.live.sources, pipeline: k.live.tree.Pipeline, host: k.live.host, path: key.target, etag: k.etag,
		fields: fields.Bytes(), same: same.Bytes(), body: k.body,
	}
	h.answers.Put(key, a, int64(len(a.fields)+len(a.same)+len(a.body)+hotOverhead))
}

// kept is what the handler says about a response that may be kept: it depends
// only on the request's host, path and accepted codings, and on the sources.
type kept struct {
	live *live
	etag string
	body []byte
}

// hotWriter is a ResponseWriter that can keep responses.
type hotWriter interface{ keep(k kept) }
