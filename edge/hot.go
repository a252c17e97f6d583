package edge

import (
	"bytes"
	"net/http"
	"os"
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
	// fields are those until the body. They begin with the entity tag, whose
	// value ends at tagged, and the first same bytes are also those of 304.
	fields       []byte
	tagged, same int
	body         []byte
	file         *os.File // has the body too, or is nil
}

// etagField begins the fields of a hotAnswer.
const etagField = "Etag: "

// etag returns the entity tag.
func (a *hotAnswer) etag() []byte { return a.fields[len(etagField):a.tagged] }

// ofBody are the fields that 304 does not have. They describe the body.
var ofBody = []string{"Accept-Ranges", "Content-Type", "Content-Length", "Content-Encoding"}

// hotOverhead is the approximate cost of a kept response in memory besides its
// bytes.
const hotOverhead = 320

// hot keeps responses that the handler allowed to keep. It is safe for
// concurrent use.
type hot struct {
	answers *lru.Cache[hotKey, *hotAnswer]
	// secure redirects the requests to some hosts; nil without TLS.
	secure *secure
}

// find returns the response to a neutral request, or nil. The stamp must have
// been taken after the request was read.
func (h *hot) find(q *request, accepts codings, stamp uint64) *hotAnswer {
	if !q.neutral || q.head {
		return nil
	}
	host := bareHost(q.host)
	if len(host) == 0 || h.secure != nil && h.secure.redirects(string(host)) {
		return nil
	}
	// The key lives only until Get returns.
	a, ok := h.answers.Get(hotKey{view(host), view(q.target), accepts})
	if !ok || !a.sources.fresh(stamp) || q.noneMatch != nil && !bytes.Equal(q.noneMatch, a.etag()) {
		return nil
	}
	return a
}

// endOfFields ends a response without a body.
var endOfFields = []byte("\r\n")

// parts returns the response to a request for which find returned a: the status
// line with the date, the fields, and what follows them. It writes the first of
// them to buffer.
func (a *hotAnswer) parts(buffer []byte, q *request, date string) (first, fields, body []byte) {
	first = buffer[:0]
	if q.noneMatch != nil {
		first, fields = append(first, "HTTP/1.1 304 Not Modified\r\nDate: "...), a.fields[:a.same]
		body = endOfFields
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

// put keeps the response to a request. header is as the handler left it. file has
// the body too, or is nil.
func (h *hot) put(q *request, accepts codings, k *kept, header http.Header, file *os.File) {
	host := string(bareHost(q.host))
	if host == "" || header.Get("Etag") != k.etag {
		return
	}
	if header["Server-Timing"] != nil {
		header = header.Clone()
		header["Server-Timing"] = []string{keptTiming}
	}
	if host == k.live.host {
		host = k.live.host // which is in memory already
	}
	var fields bytes.Buffer
	fields.WriteString(etagField + k.etag + "\r\n")
	a := &hotAnswer{
		sources: k.live.sources, pipeline: k.live.tree.Pipeline, host: k.live.host, path: string(q.target),
		tagged: len(etagField) + len(k.etag), body: k.body, file: file,
	}
	without, only := map[string]bool{"Etag": true}, http.Header{}
	for _, name := range ofBody {
		without[name] = true
		if values, ok := header[name]; ok {
			only[name] = values
		}
	}
	_ = header.WriteSubset(&fields, without)
	a.same = fields.Len()
	_ = only.Write(&fields)
	fields.WriteString("\r\n")
	a.fields = bytes.Clone(fields.Bytes())
	weight := len(a.fields) + len(a.body) + hotOverhead
	if file != nil {
		weight += len(a.body)
	}
	h.answers.Put(hotKey{host, a.path, accepts}, a, int64(weight))
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
