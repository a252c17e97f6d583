package site

import (
	"path/filepath"
	"strings"
	"time"
)

// The states of a host's certificate.
const (
	CertificateIssuing = "issuing" // the edge asks the certificate authority for one
	CertificateActive  = "active"  // the edge serves the host over HTTPS
	CertificateFailed  = "failed"  // there is no valid certificate; Problem says why
)

// CertificateState is what the edge knows about a host's certificate.
type CertificateState struct {
	State string `json:"state"`
	// Problem is one sentence for people about the last attempt to get a
	// certificate; "" means no problem. An active certificate has one if its
	// renewal failed.
	Problem string `json:"problem,omitempty"`
	// Code identifies the kind of problem, for programs; "" means no problem.
	Code string `json:"code,omitempty"`
	// NotAfter is when the certificate expires, and NextTry when the edge next
	// asks for one. Both are zero if they are unknown.
	NotAfter time.Time `json:"not_after,omitzero"`
	NextTry  time.Time `json:"next_try,omitzero"`
	// Issuer is the name of the certificate authority, as in the certificate.
	Issuer string `json:"issuer,omitempty"`
	// UpdatedAt is when the edge wrote the state.
	UpdatedAt time.Time `json:"updated_at"`
}

// Certificates returns the folder of the certificates of all hosts, with their
// private keys. All edges share it.
func (l Layout) Certificates() string { return filepath.Join(l.Root, "certificates") }

// CertificateState returns the file of the state of a host's certificate. The
// host must be normalized, or "*." and a normalized host.
func (l Layout) CertificateState(host string) string {
	if rest, ok := strings.CutPrefix(host, "*."); ok {
		host = "_wildcard." + rest
	}
	return filepath.Join(l.Certificates(), "state", host+".json")
}

// CertificateGone returns the file that says that a host is not served any more,
// so that the edge removes its certificate soon.
func (l Layout) CertificateGone(host string) string {
	if rest, ok := strings.CutPrefix(host, "*."); ok {
		host = "_wildcard." + rest
	}
	return filepath.Join(l.Certificates(), "gone", host)
}

// ReadCertificateState reads the state of a host's certificate. The error is
// fs.ErrNotExist if the edge never asked for one.
func (l Layout) ReadCertificateState(host string) (CertificateState, error) {
	return ReadState[CertificateState](l.CertificateState(host))
}
