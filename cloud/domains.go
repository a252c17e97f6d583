package cloud

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// MaxCustom is the maximum length of a custom host. Its records' names, such as
// _acme-challenge.HOST, and the names of its files then are valid.
const MaxCustom = 237

// NormalizeCustom returns a custom host in its normal form, or an Invalid error.
func NormalizeCustom(host string) (string, error) {
	if len(host) > MaxCustom {
		return "", troy.Errorf(troy.Invalid, "the host %q has %d characters; expected at most %d", troy.Clip(host), len(host), MaxCustom)
	}
	parent, wildcard := strings.CutPrefix(host, "*.")
	name, err := site.NormalizeHost(parent)
	if err == nil && wildcard {
		name = "*." + name
	}
	return name, err
}

// Domains serves sites at custom hosts, which belong to the sites' owners.
// Hosts are normalised (site.NormalizeHost); "*.example.com" stands for every
// host with exactly one more label. A host with an attachment of its own is
// not served by a wildcard.
type Domains interface {
	// Target returns where the DNS records of a distribution's custom hosts
	// must point: a host for CNAME and ALIAS records, and the addresses for A
	// and AAAA records if they never change. It returns ErrNotFound if the
	// distribution does not exist.
	Target(ctx context.Context, id string) (host string, addresses []netip.Addr, err error)
	// Attach makes the distribution serve the host. Attaching it again changes
	// Redirect, and takes the next step if more than one is needed: call it
	// until Host returns Serving. It returns ErrNotFound if the distribution does not exist, and
	// a *troy.Error of kind Conflict if the host is a distribution's own, or
	// another distribution serves it.
	Attach(ctx context.Context, id string, h CustomHost) error
	// Host returns what the cloud knows about a custom host, or ErrNotFound if
	// it is not attached to this distribution.
	Host(ctx context.Context, id, host string) (HostState, error)
	// Detach makes the distribution stop serving the host, and removes what
	// the cloud keeps for it, except for certificates that others may use. It
	// returns nil if the host is not attached to this distribution, and
	// ErrNotDisabled while the cloud is still ending the service: retry later.
	// Deleting a distribution detaches its hosts.
	Detach(ctx context.Context, id, host string) error
}

// CustomHost is a host that a distribution serves besides its own.
type CustomHost struct {
	// Host is normalised. It may be a wildcard.
	Host string
	// Redirect is "", or the host to which every request is redirected with
	// 308. The path and the query stay.
	Redirect string
	// Again means that a failed request for a certificate shall be repeated now,
	// because people changed what was wrong.
	Again bool
}

// Certificate is the state of a custom host's certificate.
type Certificate string

const (
	// CertificateNone means that the cloud issues no certificates for hosts:
	// something in front of it ends TLS.
	CertificateNone Certificate = ""
	// CertificateWaiting means that the certificate has not been requested yet.
	CertificateWaiting Certificate = "waiting"
	// CertificateIssuing means that it has been requested.
	CertificateIssuing Certificate = "issuing"
	// CertificateActive means that a certificate is valid and in use.
	CertificateActive Certificate = "active"
	// CertificateFailed means that the last request failed and none is valid.
	CertificateFailed Certificate = "failed"
)

// HostState is what the cloud knows about a custom host.
type HostState struct {
	Serving     bool // whether requests for the host are answered
	Certificate Certificate
	// Problem is one sentence for people about the certificate, or "".
	Problem string
	// NotAfter is when the certificate expires, and NextTry when the cloud
	// requests one again. They are zero if they are unknown.
	NotAfter, NextTry time.Time
	// Records are those that the cloud needs besides the one that points at
	// Target, for example to validate a certificate.
	Records []HostRecord
}

// HostRecord is a DNS record that the owner of a host has to set.
type HostRecord struct{ Type, Name, Value string }
