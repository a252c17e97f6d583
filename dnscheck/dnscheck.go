// Package dnscheck explains why a custom host does, or does not, lead to a site.
// It asks the zone's own name servers and public resolvers, compares their
// answers with what is wanted, and reports the records to set and what is wrong,
// in sentences for people. The workers run a check; the API, the CLI and the
// dashboard show its report.
//
// Name servers belong to strangers. Every check has bounds for time, questions,
// servers, records and sizes, and asks no address that is not public, except
// configured ones.
package dnscheck

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/troy-iaas/troy"
)

// Config says which servers a Checker may ask.
type Config struct {
	// Resolvers are the addresses of recursive resolvers, as address:port or as
	// an address (port 53). At least one is needed, at most four are accepted.
	// Two of different operators show more. They should validate DNSSEC.
	Resolvers []string
	// Timeout limits a check in addition to its context. The default is 10 s. A
	// server has an eighth of it to answer.
	Timeout time.Duration
	// Allowed are networks that are not public and whose name servers may be
	// asked nevertheless.
	Allowed []netip.Prefix
	// Reach replaces the addresses of name servers, to reach them elsewhere or
	// at other ports than 53. The replacement may be any address.
	Reach map[netip.Addr]netip.AddrPort
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Wanted is what the DNS of a host should say.
type Wanted struct {
	// Host is a normalised host: lower case, punycode, without the last dot. The
	// first label may be "*".
	Host string
	// Target is the host that a CNAME or ALIAS should lead to. It is empty if
	// there are only addresses. Without both, only the proof is checked.
	Target string
	// Addresses are the fixed addresses that the host may have. They may be
	// empty; then the addresses that Target has now are right.
	Addresses []netip.Addr
	// Networks are networks whose addresses are right too, such as those that a
	// CDN publishes. A name server that resolves ALIAS itself can get other
	// addresses than this machine.
	Networks []netip.Prefix
	// Challenge is the text that a TXT record of _troy-challenge.HOST should
	// have. If it is empty, no proof is wanted.
	Challenge string
	// Issuers are the names in CAA records of which one must be allowed to issue
	// certificates, such as "letsencrypt.org". If empty, CAA is not checked.
	Issuers []string
	// Records are further records that the cloud needs, such as a CNAME that
	// validates a certificate. Their names are full names. At most four are
	// checked.
	Records []WantedRecord
}

// WantedRecord is a record that the cloud needs besides the target: a CNAME or a
// TXT record.
type WantedRecord struct{ Type, Name, Value string }

const (
	challengePrefix  = "_troy-challenge."
	siblingLabel     = "troy-wildcard-check"
	maxWantedRecords = 4
	defaultTimeout   = 10 * time.Second
)

// Checker checks hosts. Its methods may be called at the same time.
type Checker struct {
	config    Config
	resolvers []netip.AddrPort
	dialer    net.Dialer
	slots     chan struct{} // questions at the same time
}

// New returns a Checker. It returns an Invalid error if there are no resolvers,
// too many, or one without a valid address.
func New(c Config) (*Checker, error) {
	if len(c.Resolvers) == 0 || len(c.Resolvers) > maxResolvers {
		return nil, troy.Errorf(troy.Invalid, "there are %d resolvers; expected 1 to %d", len(c.Resolvers), maxResolvers)
	}
	checker := &Checker{config: c, slots: make(chan struct{}, maxAtOnce)}
	if checker.config.Timeout <= 0 {
		checker.config.Timeout = defaultTimeout
	}
	if checker.config.Now == nil {
		checker.config.Now = time.Now
	}
	for _, text := range c.Resolvers {
		resolver, err := netip.ParseAddrPort(text)
		if err != nil {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, troy.Errorf(troy.Invalid, "the resolver %q is not valid; expected an address such as 192.0.2.53 or 192.0.2.53:5353", text)
			}
			resolver = netip.AddrPortFrom(address, 53)
		}
		checker.resolvers = append(checker.resolvers, resolver)
	}
	return checker, nil
}

// Check asks DNS about a host and reports what it says. Failing servers are
// findings, not errors. Check returns an Invalid error if the host or the target
// is not valid, and the context's error if the context ends.
func (c *Checker) Check(ctx context.Context, w Wanted) (Report, error) {
	w.Host, w.Target = strings.ToLower(w.Host), strings.ToLower(strings.TrimSuffix(w.Target, "."))
	if err := w.validate(); err != nil {
		return Report{}, err
	}
	limited, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	r := &run{checker: c, wanted: w, base: strings.TrimPrefix(w.Host, "*."), not: map[netip.AddrPort]bool{}}
	facts := r.gather(limited)
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	facts.at = c.config.Now().UTC().Truncate(time.Second)
	report := facts.report()
	report.Queries = min(int(r.asked.Load()), maxQueries)
	return report, nil
}

// leads reports whether the host should lead somewhere.
func (w Wanted) leads() bool { return w.Target != "" || len(w.Addresses) > 0 }

// validate checks what would make a question that DNS can't answer.
func (w Wanted) validate() error {
	if !validHost(strings.TrimPrefix(w.Host, "*.")) {
		return troy.Errorf(troy.Invalid, "%q is not a valid host; expected a name such as www.example.com or *.example.com", short(w.Host)).At("host")
	}
	if w.Target != "" && !validHost(w.Target) {
		return troy.Errorf(troy.Invalid, "%q is not a valid host", short(w.Target)).At("target")
	}
	if !w.leads() && w.Challenge == "" {
		return troy.Errorf(troy.Invalid, "expected a target, addresses or a challenge").At("target")
	}
	for _, r := range w.Records {
		if r.Type != "CNAME" && r.Type != "TXT" {
			return troy.Errorf(troy.Invalid, "the type is %q; expected CNAME or TXT", short(r.Type)).At("records")
		}
		if _, ok := dns.IsDomainName(r.Name); !ok || r.Name == "" {
			return troy.Errorf(troy.Invalid, "%q is not a valid name", short(r.Name)).At("records")
		}
	}
	return nil
}

// validHost reports whether a host is a name of at least two labels in the form
// of URLs.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || len(host) > 253 || !strings.Contains(host, ".") {
		return false
	}
	return !slices.ContainsFunc(strings.Split(host, "."), func(label string) bool {
		return label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" ||
			label[0] == '-' || label[len(label)-1] == '-'
	})
}
