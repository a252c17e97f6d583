package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web/reply"
)

const monitorPath = "/monitor"

// shared lends a connection to asynqmon, which otherwise would open its own.
type shared struct{ client redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (s shared) MakeRedisClient() any { return s.client }

var _ asynq.RedisConnOpt = shared{}

// monitor is Asynqmon behind HTTP Basic with an admin token as the password.
// Its page requests fonts from other sites; the policy blocks them, and the
// page works without.
func (s *server) monitor() http.Handler {
	mon := asynqmon.New(asynqmon.Options{
		RootPath:         monitorPath,
		RedisConnOpt:     shared{s.deps.Redis},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(func(_ string, payload []byte) string { return printable(payload) }),
		ResultFormatter:  asynqmon.ResultFormatterFunc(func(_ string, result []byte) string { return printable(result) }),
	})
	policy := strings.Join([]string{
		"default-src 'self'", "script-src 'self' " + strings.Join(scriptHashes(mon), " "),
		"style-src 'self' 'unsafe-inline'", "img-src 'self' data:", "font-src 'self' data:", "connect-src 'self'",
		"object-src 'none'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'",
	}, "; ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.mayAll(w, r, credentials.Admin, "the monitor shows all pipelines") {
			return
		}
		// The page counts seconds; its content must never be stale.
		reply.Limit(w)
		w.Header().Set("Content-Security-Policy", policy)
		mon.ServeHTTP(w, r)
	})
}

// printable shows a payload as text, including line ends.
func printable(b []byte) string {
	const most = 4096
	if len(b) > most {
		b = b[:most]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			return r
		}
		return '·'
	}, string(b))
}

var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

// scriptHashes allows exactly the scripts in Asynqmon's page
// (www.w3.org/TR/CSP3/#match-element-to-source-list).
func scriptHashes(mon http.Handler) []string {
	page := &pageWriter{}
	mon.ServeHTTP(page, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: monitorPath + "/"}})
	var hashes []string
	for _, script := range inlineScript.FindAllSubmatch(page.Bytes(), -1) {
		sum := sha256.Sum256(script[1])
		hashes = append(hashes, fmt.Sprintf("'sha256-%s'", base64.StdEncoding.EncodeToString(sum[:])))
	}
	return hashes
}

// pageWriter captures Asynqmon's page.
type pageWriter struct {
	bytes.Buffer
	header http.Header
}

func (p *pageWriter) Header() http.Header {
	if p.header == nil {
		p.header = http.Header{}
	}
	return p.header
}

func (p *pageWriter) WriteHeader(int) {}
