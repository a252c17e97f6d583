package awsdouble

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// edge serves clients like CloudFront's edges, with one cache for the whole
// world. It runs the published functions.
type edge struct {
	d *Double

	mu      sync.Mutex
	cache   map[string]answer // keyed by distribution or tenant, and the path that functions returned
	ahead   time.Duration     // how far the edge's clock is ahead
	origins int
}

// answer is a cached response of the origin.
type answer struct {
	status int
	header http.Header
	body   []byte
	at     time.Time
	ttl    time.Duration
}

func newEdge(d *Double) *edge { return &edge{d: d, cache: map[string]answer{}} }

// Edge returns a handler that serves clients by the alias record and the
// distribution of the Host.
func (d *Double) Edge() http.Handler { return d.edge }

// OriginRequests returns the number of the edge's requests to S3, including
// revalidations.
func (d *Double) OriginRequests() int {
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	return d.edge.origins
}

// Advance moves the edge's clock forward, which ages its cache. It is also the
// functions' clock.
func (d *Double) Advance(by time.Duration) {
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	d.edge.ahead += by
}

func (e *edge) now() time.Time { return time.Now().Add(e.ahead) }

// ServeHTTP implements http.Handler.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one, ok := e.d.serving(r.Host)
	if !ok {
		http.Error(w, "no distribution", http.StatusForbidden)
		return
	}
	seen := &logged{ResponseWriter: w}
	defer func() { e.d.deliveries.note(one.ID, time.Now(), r, seen.status, seen.size) }()
	e.answer(seen, r, one)
}

// answer answers a client of a distribution.
func (e *edge) answer(w http.ResponseWriter, r *http.Request, one place) {
	var config configXML
	_ = parseConfig(one.config, &config)
	if !config.allows(r.Method) {
		http.Error(w, "this distribution is not configured to allow the HTTP request method", http.StatusForbidden)
		return
	}
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	seen := view{method: r.Method, uri: r.URL.EscapedPath(), query: r.URL.RawQuery, host: r.Host, ip: ip, header: r.Header}
	asked := request{URI: seen.uri}
	for _, f := range config.Functions {
		if f.Event != "viewer-request" {
			continue
		}
		out, err := e.d.runRequest(f.ARN, one, seen)
		if err != nil {
			http.Error(w, "the viewer-request function failed: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		if out.Status != 0 {
			out.send(w, r, []byte(out.Body))
			return
		}
		asked = out
	}
	a, err := e.object(r, one, config, asked.URI)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out := response{Status: a.status, Headers: a.header}
	for _, f := range config.Functions {
		if f.Event != "viewer-response" || a.status >= http.StatusBadRequest {
			continue // the function does not see an origin's error
		}
		if out, err = e.d.runResponse(f.ARN, one, asked, seen, out); err != nil {
			http.Error(w, "the viewer-response function failed: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	out.send(w, r, a.body)
}

// Rewrite returns the result of a host's viewer-request function for a path:
// the path to look up, or the status of its response.
func (d *Double) Rewrite(host, uri string) (string, int, error) {
	one, ok := d.serving(host)
	if !ok {
		return "", http.StatusForbidden, nil
	}
	out, err := d.runRequest(one.Function, one, view{method: http.MethodGet, uri: uri, ip: "192.0.2.1"})
	return out.URI, out.Status, err
}

// send writes the response, or 304 if the client has it already.
func (p response) send(w http.ResponseWriter, r *http.Request, body []byte) {
	maps.Copy(w.Header(), p.Headers)
	tag := w.Header().Get("Etag")
	if p.Status == http.StatusOK && tag != "" && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// place is what serves a host: a distribution and, at a tenant's domain, the
// tenant.
type place struct {
	Distribution
	tenant *Tenant
}

// key identifies the place in the cache.
func (p place) key() string {
	if p.tenant != nil {
		return p.tenant.ID
	}
	return p.ID
}

// serving returns what serves a host, to which its record points: of the domains
// that cover it, that with the most specific one
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/CNAMEs.html#alternate-domain-names-restrictions).
func (d *Double) serving(host string) (place, bool) {
	// A wildcard covers names of any depth, but its certificate does not.
	for _, name := range []string{host, wildcardOf(host)} {
		if one, ok := d.servingAs(name, host); ok {
			return one, true
		}
	}
	return place{}, false
}

// servingAs returns what serves a host that one of its domains covers.
func (d *Double) servingAs(name, host string) (place, bool) {
	for _, one := range d.Distributions() {
		if !slices.Contains(one.aliases, name) || !one.Enabled {
			continue
		}
		if name != one.Host && d.points(host, one.domain()) || d.resolves(host, one.domain()) {
			return place{one, nil}, true
		}
	}
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	t := d.cloudfront.tenant("", name)
	if t == nil || !t.Enabled || !d.cloudfront.active(t, name) || !d.points(host, d.cloudfront.endpoint(t.Group)) {
		return place{}, false
	}
	of := d.cloudfront.distributions[t.Distribution]
	if of == nil || !of.Enabled {
		return place{}, false
	}
	tenant := *t
	return place{*of, &tenant}, true
}

// object returns the distribution's object at a path: from the cache, from the
// origin, or the page for an error.
func (e *edge) object(r *http.Request, one place, config configXML, uri string) (answer, error) {
	a, err := e.fetch(r, one, config, uri)
	if err != nil || a.status < http.StatusBadRequest {
		return a, err
	}
	for _, c := range config.Errors {
		if c.Code == a.status {
			page, err := e.fetch(r, one, config, c.Page)
			page.status = c.Response
			return page, err
		}
	}
	return a, nil
}

// originPath returns the path of the origin from which a path is fetched, with the
// tenant's parameters.
func (p place) originPath(config configXML, uri string) string {
	path := ""
	for _, b := range config.Behaviors {
		if b.Pattern == uri && len(config.OriginPaths) > 0 {
			path = config.OriginPaths[0]
		}
	}
	if p.tenant != nil {
		for name, value := range p.tenant.Parameters {
			path = strings.ReplaceAll(path, "{{"+name+"}}", value)
		}
	}
	return path
}

func (e *edge) fetch(r *http.Request, one place, config configXML, uri string) (answer, error) {
	key := one.key() + uri
	e.mu.Lock()
	defer e.mu.Unlock()
	before, kept := e.cache[key]
	if kept && e.now().Before(before.at.Add(before.ttl)) {
		return before, nil
	}
	e.origins++
	a, err := e.origin(r, config, one.originPath(config, uri)+uri)
	if err != nil {
		return a, err
	}
	a.at, a.ttl = e.now(), ttl(a, config)
	e.cache[key] = a
	return a, nil
}

// origin requests an object from S3. It decodes a + in the path as a space.
func (e *edge) origin(r *http.Request, config configXML, uri string) (answer, error) {
	key, err := url.QueryUnescape(strings.TrimPrefix(uri, "/"))
	if err != nil {
		return answer{status: http.StatusBadRequest}, nil //nolint:nilerr // the response reports it
	}
	bucket, _, _ := strings.Cut(config.Origin, ".s3.")
	out, err := e.d.newS3().GetObject(r.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NoSuchKey" {
		return answer{status: http.StatusNotFound}, nil
	}
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return answer{}, err
	}
	a := answer{status: http.StatusOK, header: http.Header{}, body: body}
	for name, value := range map[string]*string{"Content-Type": out.ContentType, "Cache-Control": out.CacheControl, "Content-Encoding": out.ContentEncoding, "Etag": out.ETag} {
		if aws.ToString(value) != "" {
			a.header.Set(name, *value)
		}
	}
	for name, value := range out.Metadata {
		a.header.Set("X-Amz-Meta-"+name, value)
	}
	return a, nil
}

// The limits of CachingOptimized
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html).
const (
	minTTL     = time.Second
	defaultTTL = 24 * time.Hour
	maxTTL     = 365 * 24 * time.Hour
)

// ttl returns how long a response is cached. s-maxage overrides max-age.
func ttl(a answer, config configXML) time.Duration {
	if a.status >= http.StatusBadRequest {
		for _, c := range config.Errors {
			if c.Code == a.status {
				return time.Duration(c.TTL) * time.Second
			}
		}
		return 10 * time.Second
	}
	kept, shared := defaultTTL, false
	for part := range strings.SplitSeq(a.header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		seconds, err := strconv.Atoi(value)
		switch {
		case err == nil && name == "s-maxage":
			kept, shared = time.Duration(seconds)*time.Second, true
		case err == nil && name == "max-age" && !shared:
			kept = time.Duration(seconds) * time.Second
		case name == "no-store" || name == "no-cache" || name == "private":
			return minTTL
		}
	}
	return min(max(kept, minTTL), maxTTL)
}

// forget removes the objects of an invalidation.
func (e *edge) forget(distribution string, paths []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key := range e.cache {
		uri, of := strings.CutPrefix(key, distribution)
		for _, p := range paths {
			prefix, wild := strings.CutSuffix(p, "*")
			if of && (uri == p || wild && strings.HasPrefix(uri, prefix)) {
				delete(e.cache, key)
			}
		}
	}
}
