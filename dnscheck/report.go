package dnscheck

import (
	"slices"
	"time"
)

// Report is what DNS says about a custom host now, what is wrong, and what to
// set. Its JSON form is part of the API. Every list is present, even if empty.
// The lists and texts are bounded, however much the name servers answer.
type Report struct {
	// Host is the host that was checked, such as "www.example.com" or
	// "*.example.com".
	Host string `json:"host"`
	// Zone is the DNS zone that has the host's records. If it could not be
	// found, it is the domain that can be registered, such as "example.com".
	Zone string `json:"zone"`
	// Apex is true if the host is the zone's own name, which can't be a CNAME.
	Apex bool `json:"apex"`
	// Provider runs the zone's name servers.
	Provider Provider `json:"provider"`
	// DNSSEC is the zone's state in DNSSEC.
	DNSSEC DNSSEC `json:"dnssec"`

	// Headline is the sentence of the most important finding.
	Headline string `json:"headline"`
	// Findings are sorted by importance. There is at least one.
	Findings []Finding `json:"findings"`
	// Set are the records that the host needs.
	Set []Record `json:"set"`
	// Remove are the records that are in the way of those in Set.
	Remove []Record `json:"remove"`

	// Points is true if all answers of the zone's name servers lead to the
	// target, and nothing else keeps visitors from it, such as a failure of
	// DNSSEC. If no name server can be reached, the resolvers' answers count.
	Points bool `json:"points"`
	// Proven is true if the zone has the challenge's TXT record. It is false if
	// no challenge is wanted.
	Proven bool `json:"proven"`
	// CachedUntil is when the last of the asked resolvers drops the old records
	// that it has cached. It is zero if none has old records.
	CachedUntil time.Time `json:"cached_until,omitzero"`

	// Authoritative has the answers of the zone's name servers.
	Authoritative []Answer `json:"authoritative"`
	// Public has the answers of the configured resolvers, which most visitors
	// resemble.
	Public []Answer `json:"public"`

	// CheckedAt is when the check ended.
	CheckedAt time.Time `json:"checked_at"`
	// Queries is the number of questions asked.
	Queries int `json:"queries"`
}

// DNSSEC is the state of a zone in DNSSEC as validating resolvers see it.
type DNSSEC string

// The states in DNSSEC.
const (
	Unknown  DNSSEC = "unknown"  // no resolver answered
	Unsigned DNSSEC = "unsigned" // answers are not validated
	Secure   DNSSEC = "secure"   // a resolver validated the answers
	Bogus    DNSSEC = "bogus"    // validation fails (RFC 4035, section 4.3)
)

// Answer is what one server answers about the host.
type Answer struct {
	// Server is the name of the name server, or the address of a resolver.
	Server string `json:"server"`
	// Address is the address that was asked. It is empty if none could be.
	Address string `json:"address"`
	// Outcome says whether the server answered.
	Outcome Outcome `json:"outcome"`
	// Right is true if the answer leads to the target.
	Right bool `json:"right"`
	// Records are the records in the answers, in the order of the chain.
	Records []Seen `json:"records"`
	// Expires is when a resolver drops its answer from its cache. It is zero
	// for name servers of the zone.
	Expires time.Time `json:"expires,omitzero"`
}

// Outcome is what came of asking a server.
type Outcome string

// The outcomes.
const (
	Answered    Outcome = "answered"     // the name has records of the type
	NoData      Outcome = "no_data"      // the name exists without such records
	NXDomain    Outcome = "nxdomain"     // the name does not exist
	Refused     Outcome = "refused"      // the server refuses to answer
	ServFail    Outcome = "servfail"     // the server failed to find an answer
	Lame        Outcome = "lame"         // the server does not have the zone
	TimedOut    Outcome = "timed_out"    // no answer in time
	Unreachable Outcome = "unreachable"  // the network or the server rejects packets
	Malformed   Outcome = "malformed"    // the answer is not valid DNS
	Truncated   Outcome = "truncated"    // the answer is cut, and TCP fails
	TooBig      Outcome = "too_big"      // the answer is over a limit
	NoAddress   Outcome = "no_address"   // the server's name has no address
	NotPublic   Outcome = "not_public"   // the server's address is not public; it was not asked
	NotAsked    Outcome = "not_asked"    // a limit of the check was reached before
	ChainLoop   Outcome = "chain_loop"   // CNAMEs lead back to themselves
	ChainTooBig Outcome = "chain_length" // there are too many CNAMEs in a row
)

// Seen is a record in an answer.
type Seen struct {
	Type string `json:"type"`
	// Name is the record's owner, without the last dot.
	Name string `json:"name"`
	// Value is the record's data, cut after 255 bytes.
	Value string `json:"value"`
	// TTL is the remaining time to live in seconds.
	TTL uint32 `json:"ttl"`
}

// Record is a record to set or to remove.
type Record struct {
	// Type is the record's type in the provider's form: A, AAAA, CNAME, TXT,
	// CAA, HTTPS, or at an apex ALIAS, ANAME or "A (alias)".
	Type string `json:"type"`
	// Name is the name as providers' forms want it: relative to the zone, "@"
	// for the apex.
	Name string `json:"name"`
	// FullName is the whole name, without the last dot.
	FullName string `json:"full_name"`
	// Value is the data: an address, a host without the last dot, or text.
	Value string `json:"value"`
	// TTL is the time to live to set, in seconds. It is 0 in Report.Remove.
	TTL int `json:"ttl"`
	// Purpose says what the record is for.
	Purpose Purpose `json:"purpose"`
	// Found is true if the zone's name servers, or without them the resolvers,
	// have the record.
	Found bool `json:"found"`
}

// Purpose is what a record is for.
type Purpose string

// The purposes.
const (
	ForTarget      Purpose = "target"      // leads visitors to the site
	ForProof       Purpose = "proof"       // proves who controls the domain
	ForCertificate Purpose = "certificate" // lets the cloud issue a certificate
	InTheWay       Purpose = "in_the_way"  // is to be removed
)

// Severity is how serious a finding is.
type Severity string

// The severities.
const (
	// Error: the site does not work at the host, or gets no certificate, until
	// something is changed.
	Error Severity = "error"
	// Warning: some visitors are affected, or waiting is enough.
	Warning Severity = "warning"
	// Info: nothing has to be done.
	Info Severity = "info"
)

// Finding is something that the check found.
type Finding struct {
	// Code identifies the kind of finding. Codes don't change.
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Sentence says what was seen, what was expected and what to change.
	Sentence string `json:"sentence"`
}

// Code identifies a kind of finding.
type Code string

// The codes, from the most important to the least.
const (
	ResolversFail    Code = "resolvers_fail"     // no resolver answers; nothing else is known
	NotRegistered    Code = "not_registered"     // the registry does not know the domain
	DelegationAbsent Code = "delegation_missing" // the parent zone names no name servers
	DelegationLame   Code = "delegation_lame"    // none of the name servers has the zone
	ServersTimeout   Code = "servers_timeout"    // none of the name servers answers
	ServersFail      Code = "servers_fail"       // none of the name servers gives a valid answer
	DNSSECFails      Code = "dnssec_fails"       // resolvers reject the zone's signatures
	ResolversServ    Code = "servfail"           // resolvers fail, although the name servers answer
	CNAMELoop        Code = "cname_loop"
	ChainTooLong     Code = "chain_too_long"
	CNAMEAtApex      Code = "cname_at_apex"
	CNAMEBeside      Code = "cname_beside_others"
	ChainBroken      Code = "chain_broken"     // a CNAME leads to a name without addresses
	ApexNeedsAlias   Code = "apex_needs_alias" // the provider has no record for that
	NothingSet       Code = "nothing_set"      // the host has no records yet
	Proxied          Code = "proxied"          // a proxy answers in the site's place
	WrongTarget      Code = "wrong_target"     // the CNAME leads elsewhere
	WrongAddress     Code = "wrong_address"    // the addresses are others
	ForeignAmong     Code = "foreign_address"  // some addresses are right, others are not
	AnswersVary      Code = "answers_vary"     // a server answers differently each time
	IPv6Elsewhere    Code = "ipv6_elsewhere"
	HTTPSElsewhere   Code = "https_record_elsewhere"
	ServersDisagree  Code = "servers_disagree"
	ProofMissing     Code = "proof_missing"
	ProofWrong       Code = "proof_wrong"
	RecordMissing    Code = "record_missing" // a record that the cloud needs
	RecordWrong      Code = "record_wrong"
	CAAForbids       Code = "caa_forbids"
	CAAFails         Code = "caa_fails"        // CAA can't be read, so no authority issues
	CAARestricts     Code = "caa_restricts"    // CAA names an account or a method
	CheckIncomplete  Code = "check_incomplete" // a limit was reached
	Cached           Code = "old_records_cached"
	IPv4Missing      Code = "ipv4_missing"
	ServerLame       Code = "server_lame"    // one of several name servers
	ServerTimeout    Code = "server_timeout" // one of several
	ServerFails      Code = "server_fails"   // one of several
	ServerNotPublic  Code = "server_not_public"
	ResolverFails    Code = "resolver_fails"     // one of several resolvers
	DelegationStale  Code = "delegation_differs" // the parent names other servers than the zone
	FromWildcard     Code = "from_wildcard"      // the answer is a wildcard's
	ProofFound       Code = "proof_found"        // only the proof was wanted
	PointsHere       Code = "points_here"        // all is well
)

// codes are all codes, from the most important to the least.
var codes = []Code{
	ResolversFail, NotRegistered, DelegationAbsent, DelegationLame, ServersTimeout, ServersFail, DNSSECFails,
	ResolversServ, CNAMELoop, ChainTooLong, CNAMEAtApex, CNAMEBeside, ChainBroken, ApexNeedsAlias, NothingSet, Proxied, WrongTarget,
	WrongAddress, ForeignAmong, AnswersVary, IPv6Elsewhere, HTTPSElsewhere, ServersDisagree, ProofMissing, ProofWrong,
	RecordMissing, RecordWrong, CAAForbids, CAAFails, CAARestricts, CheckIncomplete, Cached,
	IPv4Missing, ServerLame, ServerTimeout, ServerFails, ServerNotPublic, ResolverFails, DelegationStale, FromWildcard,
	ProofFound, PointsHere,
}

// Codes returns all codes, from the most important to the least.
func Codes() []Code { return slices.Clone(codes) }
