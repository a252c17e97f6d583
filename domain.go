package troy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// DomainState is the state of a custom domain. Rows and JSON hold its value
// ("waiting_for_dns"); people see its name ("Waiting for DNS").
type DomainState string

// The five states, in the order of a domain's life.
const (
	// DomainWaiting: the domain's DNS records don't lead to the site yet.
	DomainWaiting DomainState = "waiting_for_dns"
	// DomainVerifying: DNS leads to the site; the cloud is being told to serve the
	// domain.
	DomainVerifying DomainState = "verifying"
	// DomainIssuing: the cloud serves the domain and requests its certificate.
	DomainIssuing DomainState = "issuing"
	// DomainActive: visitors reach the site at the domain.
	DomainActive DomainState = "active"
	// DomainFailing: something has to be changed; the reason says what. Troy keeps
	// checking.
	DomainFailing DomainState = "failing"
)

// DomainStates returns all five states in the order of a domain's life.
func DomainStates() []DomainState {
	return []DomainState{DomainWaiting, DomainVerifying, DomainIssuing, DomainActive, DomainFailing}
}

// domainNext is the transition table.
var domainNext = map[DomainState][]DomainState{
	DomainWaiting:   {DomainVerifying, DomainIssuing, DomainActive, DomainFailing},
	DomainVerifying: {DomainWaiting, DomainIssuing, DomainActive, DomainFailing},
	DomainIssuing:   {DomainWaiting, DomainVerifying, DomainActive, DomainFailing},
	// What was Active and stopped working is Failing.
	DomainActive:  {DomainIssuing, DomainFailing},
	DomainFailing: {DomainVerifying, DomainIssuing, DomainActive},
}

// Next returns the states that may follow s. A check may skip states.
func (s DomainState) Next() []DomainState { return slices.Clone(domainNext[s]) }

// CanBecome reports whether a domain may change from s to t.
func (s DomainState) CanBecome(t DomainState) bool { return slices.Contains(domainNext[s], t) }

// Deadline returns how long a domain may stay in s before it is Failing. It is 0
// for Active and Failing, which have none.
func (s DomainState) Deadline() time.Duration {
	switch s {
	case DomainWaiting:
		return 72 * time.Hour
	case DomainVerifying:
		return 6 * time.Hour
	case DomainIssuing:
		return 24 * time.Hour
	}
	return 0
}

// CheckDelay returns the time until the next check of a domain in s, after n
// checks that changed nothing.
func (s DomainState) CheckDelay(n int) time.Duration {
	first, most := 15*time.Second, 10*time.Minute
	switch s {
	case DomainActive:
		return 24 * time.Hour
	case DomainFailing:
		first, most = time.Minute, time.Hour
	}
	return min(first<<min(max(n, 0), 10), most)
}

// String returns the name shown to people, such as "Waiting for DNS".
func (s DomainState) String() string {
	if s == DomainWaiting {
		return "Waiting for DNS"
	}
	if s == "" {
		return ""
	}
	return strings.ToUpper(string(s[:1])) + string(s[1:])
}

// ParseDomainState returns the state with the value s, or an error if there is
// none.
func ParseDomainState(s string) (DomainState, error) {
	if slices.Contains(DomainStates(), DomainState(s)) {
		return DomainState(s), nil
	}
	return "", fmt.Errorf("unknown state of a domain %q", s)
}
