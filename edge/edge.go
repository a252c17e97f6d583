// Package edge is the HTTP server for the sites of one machine: it takes a
// request's host to its alias record, to the distribution, to the pointer, to
// the live deployment's manifest and to the files' bytes, all from the data
// folder that localcloud writes, and from nothing else, so that sites stay up
// without a database. troyd edge and troyd dev run it.
package edge

import (
	"errors"
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
	"github.com/troy-iaas/troy/site"
)

// Config is what a Server needs to know.
type Config struct {
	// Root is the folder "cloud" of TROY_DATA_DIR (see site.Layout). It need
	// not exist yet.
	Root string
	// Limits caps the manifests that are read.
	Limits site.Limits
	// IndexBytes is how many bytes the manifests in memory may take together:
	// for each file its path and 44 bytes. 0 means 256 MiB, some three million
	// files. The sites asked for last stay; the lists of others are kept in
	// files, which may take 16 times as much.
	IndexBytes int64
	// SpillDir is the folder for these files, which have no names. "" means
	// TMPDIR, or /var/tmp.
	SpillDir string
	// MemoryBytes is how many bytes of small and compressed files stay in
	// memory; 0 means 128 MiB.
	MemoryBytes int64
	// Logger gets a line for each request at debug level, and faults at error
	// level. Nil means none.
	Logger *slog.Logger
}

// Server answers the requests for all sites of one data folder. It is an
// http.Handler and safe for concurrent use.
type Server struct {
	catalog *catalog
	blobs   *blobs
	pages   *pages
	log     *slog.Logger
}

// New checks the configuration and makes a Server. Errors name the field.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Root == "":
		return nil, errors.New("edge: Root is empty; it must be the data folder's cloud folder")
	case cfg.IndexBytes < 0:
		return nil, errors.New("edge: IndexBytes is negative")
	case cfg.MemoryBytes < 0:
		return nil, errors.New("edge: MemoryBytes is negative")
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
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	layout := site.Layout{Root: root}
	return &Server{
		catalog: &catalog{
			layout: layout, limits: cfg.Limits, hosts: lru.New[string, *live](cfg.IndexBytes),
			onDisk: lru.New[site.Tree, *onDisk](spillFactor * cfg.IndexBytes), spillDir: cfg.SpillDir, log: cfg.Logger,
		},
		blobs: &blobs{
			layout:      layout,
			memory:      lru.New[blobKey, []byte](cfg.MemoryBytes),
			compressors: make(chan struct{}, runtime.GOMAXPROCS(0)),
		},
		pages: pages,
		log:   cfg.Logger,
	}, nil
}

// HTTPServer is the server to run s with: its time-outs and caps are meant
// for strangers. The caller sets Addr or brings a listener.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// OPTIONS * is answered like every other method.
		DisableGeneralOptionsHandler: true,
	}
}

// ServeHTTP answers one request from the deployment that is live at its host.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.answer(w, r)
		return
	}
	start := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	id := requestID(w)
	s.answer(rec, r)
	// The query is left out: strangers put secrets there.
	s.log.DebugContext(r.Context(), "request",
		"request_id", id, "method", r.Method, "host", r.Host, "path", r.URL.Path,
		"status", rec.status, "bytes", rec.bytes, "deployment_id", w.Header().Get(deploymentHeader),
		"took", time.Since(start))
}

// deploymentHeader tells a reader which deployment answered.
const deploymentHeader = "X-Troy-Deployment"

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		if r.URL.Path == "*" {
			options(w, false)
			return
		}
	default:
		w.Header().Set("Allow", allowed)
		s.pages.badMethod.send(w)
		return
	}
	path := r.URL.Path
	if path == "" {
		// http://host in absolute form (RFC 9112 §3.2.2).
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
			err = s.respond(w, r, l, path)
		}
		switch {
		case err == nil:
			return
		case errors.Is(err, errNoSite):
			s.pages.noSite.send(w)
			return
		case (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errSpill)) && attempt == 0:
			// The deployment was removed between the look at the pointer and
			// the opening of the file: by then another one is live. Or its
			// list can't be read any more where it was kept.
			known, err = false, nil
			continue
		}
		id := requestID(w)
		s.log.ErrorContext(r.Context(), "a site could not be read",
			"request_id", id, "host", host, "path", path, "error", err)
		s.pages.fault.send(w)
		return
	}
}

// badHost is the answer to a host that no site can have: 400 (RFC 9112 §3.2),
// but for an IPv6 address, which is well formed, and for none at all, which
// HTTP/1.0 allows.
func (s *Server) badHost(host string) *page {
	if _, err := netip.ParseAddr(strings.Trim(hostname(host), "[]")); err == nil || host == "" {
		return &s.pages.noSite
	}
	return &s.pages.badHost
}

// hostname cuts a port off.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.Trim(host[i+1:], "0123456789") == "" {
		return host[:i]
	}
	return host
}

// requestID gives the answer an id, if it has none, and returns it.
func requestID(w http.ResponseWriter) string {
	const header = "X-Request-Id"
	id := w.Header().Get(header)
	if id == "" {
		id = strconv.FormatUint(rand.Uint64(), 36)
		w.Header().Set(header, id)
	}
	return id
}

// recorder remembers an answer's status and length for the log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom keeps sendfile in reach.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
