package acmedouble

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// responder answers OCSP questions (RFC 6960) for pebble, which has no responder of
// its own. Its answers are valid for a few seconds only.
type responder struct {
	url string

	mu      sync.Mutex
	issuer  *x509.Certificate
	key     crypto.Signer
	revoked map[string]bool // by serial number
}

func startResponder(t testing.TB) *responder {
	t.Helper()
	r := &responder{revoked: map[string]bool{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// use makes the responder sign for an issuer.
func (r *responder) use(t testing.TB, certificate, key []byte) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	block, _ := pem.Decode(certificate)
	private, _ := pem.Decode(key)
	if block == nil || private == nil {
		t.Fatal("pebble's issuer is not in PEM form")
	}
	var err error
	if r.issuer, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS1PrivateKey(private.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	r.key = parsed
}

func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	question, err := ocsp.ParseRequest(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	answer := ocsp.Response{Status: ocsp.Good, SerialNumber: question.SerialNumber, ThisUpdate: now.Add(-time.Second), NextUpdate: now.Add(3 * time.Second)}
	if r.revoked[question.SerialNumber.String()] {
		answer.Status, answer.RevokedAt = ocsp.Revoked, now
	}
	signed, err := ocsp.CreateResponse(r.issuer, r.issuer, answer, r.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write(signed)
}

// RevokeByOCSP makes the OCSP responder say that a certificate is revoked.
func (a *Authority) RevokeByOCSP(serial *big.Int) {
	a.ocsp.mu.Lock()
	defer a.ocsp.mu.Unlock()
	a.ocsp.revoked[serial.String()] = true
}
