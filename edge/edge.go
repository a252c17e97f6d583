// Package edge is the HTTP server for the sites of one machine. It resolves a
// request's host to its alias record, its distribution, the pointer, the live
// deployment's manifest and the files. It reads only the data folder that
// localcloud writes, so sites stay up without a database. troyd edge and troyd
// dev run it.
package edge

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

// Config configures a Server.
type Config struct {
	// Root is the folder "cloud" of TROY_DATA_DIR (see site.Layout). It need
	// not exist yet.
	Root string
	// Previews says which hosts are those of previews; without a suffix there
	// are none.
	Previews site.PreviewHosts
	// Limits bounds the manifests.
	Limits site.Limits
	// IndexBytes is the maximum memory for manifests in bytes; each file needs
	// its path and 44 bytes. 0 means 256 MiB, about three million files. The
	// most recently requested sites stay in memory; the file lists of the
	// others are written to disk, where they may take 16 times as much.
	IndexBytes int64
	// SpillDir is the folder for those lists, in unlinked files. "" means
	// TMPDIR or /var/tmp.
	SpillDir string
	// MemoryBytes is the maximum memory for small and compressed files in
	// bytes; 0 means 128 MiB.
	MemoryBytes int64
	// Proxies are the networks of the proxies whose X-Forwarded-For is believed;
	// nil means the loopback addresses.
	Proxies []netip.Prefix
	// TroyURL is Troy's own address, at which visitors of some previews sign in.
	// "" means that such previews are shown to no one.
	TroyURL string
	// HTTPS means that browsers reach the sites over HTTPS, also if a proxy in
	// front of the edge ends it.
	HTTPS bool
	// Connections is the maximum number of open connections of clients; 0 means
	// 10,000. ClientConnections is the maximum of one client, an IPv4 address or
	// an IPv6 network of 64 bits; 0 means no maximum. Proxies and addresses of
	// private networks have none of their own.
	Connections, ClientConnections int
	// NoLoop means that net/http serves all connections, and the edge's own
	// event loop none.
	NoLoop bool
	// EarlyHints is HintsHTTP2 if it is empty.
	EarlyHints EarlyHints
	// ServerTiming adds Server-Timing to responses with a file.
	ServerTiming bool
	// TLS is for HTTPS (ServeTLS); nil means none.
	TLS *TLS
	// Traffic counts the requests to each site in the data folder.
	Traffic bool
	// AccessLog gets a line for each response; nil means none. AccessFormat is
	// AccessJSON if it is empty. FullAddresses means that the addresses of
	// clients are logged whole.
	AccessLog     io.Writer
	AccessFormat  AccessFormat
	FullAddresses bool
	// Logger logs each request at debug level and faults at error level. Nil
	// disables logging.
	Logger *slog.Logger
}

// Server serves all sites of one data folder. It is an http.Handler and safe
// for concurrent use.
type Server struct {
	clock   *clock
	limits  *connections
	times   times
	hot     *hot
	catalog *catalog
	blobs   *blobs
	encoder *encoder
	// observer is nil if nothing is to be observed.
	observer *observer
	pages    *pages
	keeper   *password.Keeper
	now      func() time.Time // of sessions and attempts
	proxies  network.Proxies
	secure   *secure // nil without TLS
	https    bool
	troyURL  string
	used     *usedCodes
	noLoop   bool
	early    EarlyHints
	timing   bool
	log      *slog.Logger
}

// New validates cfg and returns a Server. Errors name the field.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Root == "":
		return nil, errors.New("edge: Root is empty; expected the data folder's cloud folder")
	case cfg.IndexBytes < 0:
		return nil, errors.New("edge: IndexBytes is negative; expected 0 or more")
	case cfg.MemoryBytes < 0:
		return nil, errors.New("edge: MemoryBytes is negative; expected 0 or more")
	case cfg.Connections < 0:
		return nil, errors.New("edge: Connections is negative; expected 0 or more")
	case cfg.ClientConnections < 0:
		return nil, errors.New("edge: ClientConnections is negative; expected 0 or more")
	}
	switch cfg.EarlyHints {
	case "":
		cfg.EarlyHints = HintsHTTP2
	case HintsHTTP2, HintsAll, HintsOff:
	default:
		return nil, fmt.Errorf("edge: EarlyHints is %q; expected http2, all or off", cfg.EarlyHints)
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, err
	}
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	if cfg.IndexBytes == 0 {
		cfg.IndexBytes = 256 << 20
	}
	if cfg.MemoryBytes == 0 {
		cfg.MemoryBytes = 128 << 20
	}
	if cfg.Connections == 0 {
		cfg.Connections = 10_000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	layout := site.Layout{Root: root}
	clock := newClock(layout)
	trusted := network.Proxies(cfg.Proxies)
	if cfg.Proxies == nil {
		trusted = network.Loopback()
	}
	blobs := &blobs{
		layout:      layout,
		log:         cfg.Logger,
		memory:      lru.New[blobKey, []byte](cfg.MemoryBytes),
		compressors: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	blobs.packs = pack.NewCache(packIndexes, blobs.damagedPack)
	s := &Server{
		clock:  clock,
		limits: newConnections(cfg.Connections, cfg.ClientConnections, trusted),
		times:  defaultTimes(),
		// A kept response and blobs share its body.
		hot: &hot{answers: lru.New[hotKey, *hotAnswer](cfg.MemoryBytes)},
		catalog: &catalog{
			clock: clock, layout: layout, limits: cfg.Limits, previews: cfg.Previews, hosts: lru.New[string, *live](cfg.IndexBytes),
			onDisk: lru.New[site.Tree, *onDisk](spillFactor * cfg.IndexBytes), spillDir: cfg.SpillDir, log: cfg.Logger,
		},
		blobs:    blobs,
		encoder:  newEncoder(blobs, cfg.Logger),
		observer: newObserver(cfg, layout),
		pages:    pages,
		now:      time.Now,
		proxies:  trusted,
		https:    cfg.HTTPS,
		troyURL:  cfg.TroyURL,
		used:     newUsedCodes(),
		noLoop:   cfg.NoLoop,
		early:    cfg.EarlyHints,
		timing:   cfg.ServerTiming,
		log:      cfg.Logger,
	}
	s.keeper = password.NewKeeper(func() time.Time { return s.now() })
	if s.secure, err = newSecure(cfg, s.catalog, trusted); err != nil {
		return nil, err
	}
	s.hot.secure = s.secure
	return s, nil
}

// HTTPServer returns a server for s with time-outs and limits for public
// clients. The caller sets Addr or provides a listener.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.times.header,
		ReadTimeout:       s.times.body,
		WriteTimeout:      s.times.write,
		IdleTimeout:       s.times.idle,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// Treat OPTIONS * like every other request.
		DisableGeneralOptionsHandler: true,
	}
}

// ServeHTTP serves one request from the live deployment of its host.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch debug := s.log.Enabled(r.Context(), slog.LevelDebug); {
	case debug:
	case s.observer != nil:
		s.observed(w, r)
		return
	default:
		s.answer(w, r)
		return
	}
	start := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	id := requestID(w)
	if s.observer != nil {
		s.observed(rec, r)
	} else {
		s.answer(rec, r)
	}
	// The query is not logged because it may contain secrets.
	s.log.DebugContext(r.Context(), "request",
		"request_id", id, "method", r.Method, "host", r.Host, "path", r.URL.Path,
		"status", rec.status, "bytes", rec.bytes, "deployment_id", w.Header().Get(deploymentHeader),
		"took", time.Since(start))
}

// deploymentHeader names the deployment that served a response.
const deploymentHeader = "X-Troy-Deployment"

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	r = s.arrived(r)
	if s.secure != nil && s.secure.answered(w, r) {
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost: // admit refuses it unless it signs in
	case http.MethodOptions:
		if r.URL.Path == "*" {
			options(w, "")
			return
		}
	default:
		w.Header().Set("Allow", allowed)
		s.pages.badMethod.send(w)
		return
	}
	path := r.URL.Path
	if path == "" {
		// http://host in absolute form (RFC 9112 §3.2.2)
		path = "/"
	}
	if path[0] != '/' || strings.IndexByte(path, 0) >= 0 {
		s.pages.badAddress.send(w)
		return
	}
	host := hostname(r.Host)
	l, known := s.catalog.cached(host)
	var err error
	if !known {
		if host, err = site.NormalizeHost(r.Host); err != nil {
			s.badHost(r.Host).send(w)
			return
		}
		l, known = s.catalog.cached(host)
	}
	for attempt := 0; ; attempt++ {
		if !known {
			l, err = s.catalog.find(host)
		}
		if err == nil {
			if rec, ok := w.(*recorder); ok && l.label == "" {
				rec.live = l
			}
			if l.redirect != "" {
				redirectHost(w, r, l.redirect)
				return
			}
			if l.label != "" && l.access == nil {
				w = &private{ResponseWriter: w, public: true}
			}
			out, ok := s.admit(w, r, l.access)
			if !ok {
				return
			}
			err = s.respond(out, r, l, path)
		}
		switch {
		case err == nil:
			return
		case errors.Is(err, errNoSite):
			s.pages.noSite.send(w)
			return
		case errors.Is(err, fs.ErrNotExist) && attempt == 0, errors.Is(err, errSpill) && attempt < 3:
			// The deployment was removed after its pointer was read, so another
			// one is live now. Or the file list can't be read from disk any
			// more.
			known, err = false, nil
			continue
		}
		id := requestID(w)
		s.log.ErrorContext(r.Context(), "can't read a site",
			"request_id", id, "host", host, "path", path, "error", err)
		if errors.Is(err, errProtection) {
			s.pages.unreadable.send(w)
			return
		}
		s.pages.fault.send(w)
		return
	}
}

// badHost returns the response for a host that no site can have: 400 (RFC 9112
// §3.2), or 404 for an IPv6 address, which is well formed, and for a missing
// host, which HTTP/1.0 allows.
func (s *Server) badHost(host string) *page {
	if _, err := netip.ParseAddr(strings.Trim(hostname(host), "[]")); err == nil || host == "" {
		return &s.pages.noSite
	}
	return &s.pages.badHost
}

// hostname returns host without the port.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.Trim(host[i+1:], "0123456789") == "" {
		return host[:i]
	}
	return host
}

// requestID sets the response's id if it has none, and returns it.
func requestID(w http.ResponseWriter) string {
	const header = "X-Request-Id"
	id := w.Header().Get(header)
	if id == "" {
		id = strconv.FormatUint(rand.Uint64(), 36)
		w.Header().Set(header, id)
	}
	return id
}

// recorder records a response's status and length for the log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	live   *live // nil if the host has no site
}

// keep implements hotWriter.
func (r *recorder) keep(k kept) {
	if w, ok := r.ResponseWriter.(hotWriter); ok {
		w.keep(k)
	}
}

func (r *recorder) WriteHeader(status int) {
	if status >= 200 { // the others are not final
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom keeps sendfile possible.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the wrapped writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
