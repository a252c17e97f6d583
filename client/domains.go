package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/troy-iaas/troy"
)

// Domain is a custom domain of a pipeline's site.
type Domain struct {
	// Host is in lower case and punycode; "*.example.com" is a wildcard. Unicode
	// is the host as people read it, if that differs.
	Host    string `json:"host"`
	Unicode string `json:"unicode,omitempty"`
	// State is the domain's state and StateName its name for people.
	State     troy.DomainState `json:"state"`
	StateName string           `json:"state_name"`
	// Reason says what is seen, what was expected and what to change.
	Reason string `json:"reason,omitempty"`
	// Primary means that the domain is the site's address while it is active.
	Primary bool `json:"primary"`
	// Redirect is the host to which the domain redirects.
	Redirect    string             `json:"redirect,omitempty"`
	Certificate *DomainCertificate `json:"certificate,omitempty"`
	// Records are the DNS records to set.
	Records     []DomainRecord `json:"records"`
	CreatedAt   time.Time      `json:"created_at"`
	CreatedBy   string         `json:"created_by"`
	Since       time.Time      `json:"since"`
	CheckedAt   *time.Time     `json:"checked_at,omitempty"`
	NextCheckAt time.Time      `json:"next_check_at"`
	ActiveAt    *time.Time     `json:"active_at,omitempty"`
	// Report is what DNS said at the last check. Only answers about one domain
	// have it.
	Report *DomainReport `json:"report,omitempty"`
}

// DomainCertificate is the certificate of a custom domain: "waiting", "issuing",
// "active" or "failed".
type DomainCertificate struct {
	State    string     `json:"state"`
	NotAfter *time.Time `json:"not_after,omitempty"`
	NextTry  *time.Time `json:"next_try,omitempty"`
}

// DomainRecord is a DNS record to set.
type DomainRecord struct {
	Type string `json:"type"`
	// Name is as providers' forms want it: relative to the zone, "@" for the
	// apex.
	Name     string `json:"name"`
	FullName string `json:"full_name"`
	Value    string `json:"value"`
	TTL      int    `json:"ttl"` // in seconds
	Purpose  string `json:"purpose"`
	// Found means that DNS has the record.
	Found bool `json:"found"`
}

// DomainReport is what DNS said about a domain.
type DomainReport struct {
	Zone          string          `json:"zone"`
	Provider      DomainProvider  `json:"provider"`
	Findings      []DomainFinding `json:"findings"`
	Remove        []DomainRecord  `json:"remove"`
	Authoritative []DomainAnswer  `json:"authoritative"`
	Public        []DomainAnswer  `json:"public"`
	CachedUntil   time.Time       `json:"cached_until,omitzero"`
}

// DomainProvider runs the name servers of a domain.
type DomainProvider struct {
	Name string `json:"name"`
	Hint string `json:"hint"`
}

// DomainFinding is something that a check found.
type DomainFinding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"` // "error", "warning" or "info"
	Sentence string `json:"sentence"`
}

// DomainAnswer is what one name server answers.
type DomainAnswer struct {
	Server  string `json:"server"`
	Outcome string `json:"outcome"`
	Right   bool   `json:"right"`
	Records []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
		TTL   int    `json:"ttl"`
	} `json:"records"`
}

type domainList struct {
	Domains []Domain `json:"domains"`
}

// Domains returns the custom domains of a pipeline's site.
func (c *Client) Domains(ctx context.Context, pipeline string) ([]Domain, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return nil, err
	}
	var list domainList
	err = c.get(ctx, path+"/domains", nil, &list)
	return list.Domains, err
}

// Domain returns a custom domain, with what DNS said at the last check.
func (c *Client) Domain(ctx context.Context, pipeline, host string) (Domain, error) {
	var d Domain
	path, err := domainPath(pipeline, host)
	if err != nil {
		return d, err
	}
	return d, c.get(ctx, path, nil, &d)
}

// AddDomain adds a custom domain to a pipeline's site and, with pair, the other
// one of an apex and its www host. It returns all of the site's domains.
func (c *Client) AddDomain(ctx context.Context, pipeline, host string, pair bool) ([]Domain, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return nil, err
	}
	var list domainList
	err = c.post(ctx, path+"/domains", map[string]any{"host": host, "pair": pair}, &list)
	return list.Domains, err
}

// RemoveDomain removes a custom domain and, with pair, the other one of an apex
// and its www host if that redirects to it. It returns the removed hosts. It
// does not retry after a lost response, because the second response would be
// NotFound.
func (c *Client) RemoveDomain(ctx context.Context, pipeline, host string, pair bool) ([]string, error) {
	path, err := domainPath(pipeline, host)
	if err != nil {
		return nil, err
	}
	if !pair {
		path += "?pair=false"
	}
	var out struct {
		Removed []string `json:"removed"`
	}
	err = c.do(ctx, call{method: http.MethodDelete, path: path}, &out)
	return out.Removed, err
}

// VerifyDomain requests a check of a custom domain now. The check has ended when
// CheckedAt has changed.
func (c *Client) VerifyDomain(ctx context.Context, pipeline, host string) (Domain, error) {
	var d Domain
	path, err := domainPath(pipeline, host)
	if err != nil {
		return d, err
	}
	return d, c.post(ctx, path+"/verify", nil, &d)
}

// MakeDomainPrimary makes a custom domain the address of a pipeline's site. It
// returns all of the site's domains.
func (c *Client) MakeDomainPrimary(ctx context.Context, pipeline, host string) ([]Domain, error) {
	path, err := domainPath(pipeline, host)
	if err != nil {
		return nil, err
	}
	var list domainList
	err = c.post(ctx, path+"/primary", nil, &list)
	return list.Domains, err
}

func domainPath(pipeline, host string) (string, error) {
	p, err := pipelinePath(pipeline)
	if err != nil {
		return "", err
	}
	if host == "" || host == "." || host == ".." || len(host) > 1000 {
		return "", troy.Errorf(troy.Invalid, "%q is not a domain; expected a name like www.example.com", troy.Clip(host)).At("host")
	}
	return p + "/domains/" + url.PathEscape(host), nil
}
