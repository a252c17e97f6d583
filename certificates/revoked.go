package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ocsp"
)

// ocspTime bounds a question to an OCSP responder, and ocspBytes its answer.
const (
	ocspTime  = 10 * time.Second
	ocspBytes = 64 << 10
)

// revoked reports whether the authority's OCSP responder says that a certificate is
// revoked (RFC 6960). certmagic asks too, but keeps only good answers, so a
// certificate with one is not asked about. Without a responder or an answer the
// certificate counts as valid. Authorities without OCSP want a revoked certificate
// to be renewed at once (RFC 9773).
func revoked(ctx context.Context, c certmagic.Certificate) bool {
	chain := c.Certificate.Certificate
	if c.Leaf == nil || len(c.Leaf.OCSPServer) == 0 || len(c.OCSPStaple) > 0 || len(chain) < 2 {
		return false
	}
	issuer, err := x509.ParseCertificate(chain[1])
	if err != nil {
		return false
	}
	question, err := ocsp.CreateRequest(c.Leaf, issuer, nil)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, ocspTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Leaf.OCSPServer[0], bytes.NewReader(question))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, ocspBytes))
	if err != nil {
		return false
	}
	answer, err := ocsp.ParseResponseForCert(data, c.Leaf, issuer)
	return err == nil && answer.Status == ocsp.Revoked
}
