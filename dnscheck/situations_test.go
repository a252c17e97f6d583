package dnscheck_test

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/internal/dnsdouble"
)

const rightCNAME = "www CNAME edge.host.net.\n"

var (
	challenge = dnscheck.Wanted{Challenge: "troy-3f9a"}
	encrypt   = dnscheck.Wanted{Issuers: []string{"letsencrypt.org"}}
	validated = dnscheck.Wanted{Records: []dnscheck.WantedRecord{{Type: "CNAME", Name: "_abc.www.example.com.", Value: "_def.acm-validations.aws."}}}
)

// situations are what DNS can say. Each has the codes of all its findings, in
// order.
var situations = []struct {
	name   string
	s      situation
	points bool
	codes  []dnscheck.Code
}{
	{"right CNAME", situation{zone: rightCNAME}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"right CNAME in capitals", situation{zone: "WWW CNAME EDGE.Host.NET.\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"right addresses", situation{zone: "www A 203.0.113.10\nwww AAAA 2001:db8::10\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"right through another CNAME", situation{zone: "www CNAME lb.example.com.\nlb CNAME edge.host.net.\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"right through another zone", situation{zone: "www CNAME to.other.net.\n", more: map[string]string{"other.net": "to CNAME edge.host.net.\n"}}, true,
		[]dnscheck.Code{dnscheck.PointsHere}},
	{"right addresses at the end of another CNAME", situation{zone: "www CNAME to.other.net.\n", more: map[string]string{"other.net": "to A 203.0.113.10\n"}}, true,
		[]dnscheck.Code{dnscheck.PointsHere}},
	{"apex with fixed addresses", situation{host: "example.com", fixed: true, zone: "@ A 203.0.113.10\n@ AAAA 2001:db8::10\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"apex with the target's addresses", situation{host: "example.com", zone: "@ A 203.0.113.10\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"apex in a network of the CDN", situation{host: "example.com", zone: "@ A 198.51.100.77\n",
		wanted: dnscheck.Wanted{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"right wildcard", situation{host: "*.example.com", zone: "* CNAME edge.host.net.\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"zone below the registered domain", situation{host: "www.sub.example.com", below: map[string]string{"sub.example.com": "www CNAME edge.host.net.\n"}}, true,
		[]dnscheck.Code{dnscheck.PointsHere}},
	{"delegated zone below", situation{host: "sub.example.com", zone: "sub NS ns.host.net.\n", more: map[string]string{"sub.example.com": "@ NS ns.host.net.\n@ A 203.0.113.10\n"}}, true,
		[]dnscheck.Code{dnscheck.PointsHere}},
	{"delegated zone below, lame", situation{host: "sub.example.com", zone: "sub NS ns.host.net.\n", resolver: dnsdouble.Resolver{Broken: []string{"sub.example.com"}}}, false,
		[]dnscheck.Code{dnscheck.DelegationLame}},
	{"from a wildcard", situation{zone: "* CNAME edge.host.net.\n"}, true, []dnscheck.Code{dnscheck.FromWildcard, dnscheck.PointsHere}},

	{"nothing set", situation{}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"zone appended to the name", situation{zone: "www.example.com CNAME edge.host.net.\n"}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"nothing set at the apex", situation{host: "example.com", zone: "@ MX 10 mail\n"}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"nothing set at the apex, with fixed addresses", situation{host: "example.com", fixed: true}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"nothing set for a wildcard", situation{host: "*.example.com", zone: rightCNAME}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"other records only", situation{zone: "www TXT hello\n"}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"wrong CNAME", situation{zone: "www CNAME other.host.net.\n"}, false, []dnscheck.Code{dnscheck.WrongTarget}},
	{"CNAME with the zone appended", situation{zone: "www CNAME edge.host.net\n"}, false, []dnscheck.Code{dnscheck.ChainBroken}},
	{"wrong wildcard", situation{zone: "* A 198.51.100.1\n"}, false, []dnscheck.Code{dnscheck.WrongAddress, dnscheck.FromWildcard}},
	{"wrong address", situation{zone: "www A 198.51.100.1\n"}, false, []dnscheck.Code{dnscheck.WrongAddress}},
	{"wrong IPv6 address only", situation{zone: "www AAAA 2001:db8::66\n"}, false, []dnscheck.Code{dnscheck.WrongAddress}},
	{"wrong address at the apex, fixed", situation{host: "example.com", fixed: true, zone: "@ A 198.51.100.1\n"}, false, []dnscheck.Code{dnscheck.WrongAddress}},
	{"an address of many is foreign", situation{zone: "www A 203.0.113.10\nwww A 198.51.100.1\nwww A 198.51.100.2\n"}, false, []dnscheck.Code{dnscheck.ForeignAmong}},
	{"IPv6 elsewhere", situation{zone: "www A 203.0.113.10\nwww AAAA 2001:db8::66\n"}, false, []dnscheck.Code{dnscheck.IPv6Elsewhere}},
	{"IPv6 elsewhere, fixed", situation{host: "example.com", fixed: true, zone: "@ A 203.0.113.10\n@ AAAA 2001:db8::66\n"}, false, []dnscheck.Code{dnscheck.IPv6Elsewhere}},
	{"IPv6 only", situation{zone: "www AAAA 2001:db8::10\n"}, true, []dnscheck.Code{dnscheck.IPv4Missing, dnscheck.PointsHere}},
	{"Cloudflare's proxy", situation{zone: "www A 104.21.5.6\nwww AAAA 2606:4700:3030::6815:506\n"}, false, []dnscheck.Code{dnscheck.Proxied}},
	{"HTTPS record elsewhere", situation{zone: "www A 203.0.113.10\nwww HTTPS 1 cdn.other.net. alpn=h2\n"}, false, []dnscheck.Code{dnscheck.HTTPSElsewhere}},
	{"hints of an HTTPS record elsewhere", situation{zone: "www A 203.0.113.10\nwww HTTPS 1 . alpn=h2 ipv4hint=198.51.100.1\n"}, false, []dnscheck.Code{dnscheck.HTTPSElsewhere}},
	{"harmless HTTPS record", situation{zone: "www A 203.0.113.10\nwww HTTPS 1 . alpn=h2 ipv4hint=203.0.113.10\n"}, true, []dnscheck.Code{dnscheck.PointsHere}},

	{"CNAME at the apex", situation{host: "example.com", zone: "@ CNAME edge.host.net.\n"}, false, []dnscheck.Code{dnscheck.CNAMEAtApex}},
	{"CNAME at the apex, fixed addresses", situation{host: "example.com", fixed: true, wanted: dnscheck.Wanted{Target: target}, zone: "@ CNAME edge.host.net.\n"}, false,
		[]dnscheck.Code{dnscheck.CNAMEAtApex}},
	{"CNAME beside other records", situation{zone: rightCNAME + "www MX 10 mail\nwww TXT hello\n"}, true, []dnscheck.Code{dnscheck.CNAMEBeside}},
	{"apex at a provider without ALIAS", situation{host: "example.com", bare: true, zone: "@ NS ns11.domaincontrol.com.\n@ NS ns12.domaincontrol.com.\n",
		com:  "example.com. NS ns11.domaincontrol.com.\nexample.com. NS ns12.domaincontrol.com.\n",
		more: map[string]string{"domaincontrol.com": "ns11 A 192.0.2.11\nns12 A 192.0.2.12\n"}}, false, []dnscheck.Code{dnscheck.ApexNeedsAlias, dnscheck.NothingSet}},
	{"apex at Route 53, for CloudFront", situation{host: "example.com", bare: true, zone: "@ NS ns-1.awsdns-02.net.\n",
		com: "example.com. NS ns-1.awsdns-02.net.\n", wanted: dnscheck.Wanted{Target: "d111.cloudfront.net"},
		more: map[string]string{"awsdns-02.net": "ns-1 A 192.0.2.11\n", "cloudfront.net": "d111 A 203.0.113.10\n"}}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"apex at Cloudflare", situation{host: "example.com", bare: true, zone: "@ NS amy.ns.cloudflare.com.\n@ NS bob.ns.cloudflare.com.\n",
		com:  "example.com. NS amy.ns.cloudflare.com.\nexample.com. NS bob.ns.cloudflare.com.\n",
		more: map[string]string{"ns.cloudflare.com": "amy A 192.0.2.11\nbob A 192.0.2.12\n"}}, false, []dnscheck.Code{dnscheck.NothingSet}},
	{"loop in a zone", situation{zone: "www CNAME a\na CNAME b\nb CNAME www\n"}, false, []dnscheck.Code{dnscheck.CNAMELoop}},
	{"loop across zones", situation{zone: "www CNAME a.other.net.\n", more: map[string]string{"other.net": "a CNAME b.third.net.\n", "third.net": "b CNAME www.example.com.\n"}}, false,
		[]dnscheck.Code{dnscheck.CNAMELoop}},
	{"long chain", situation{zone: "www CNAME c1\nc1 CNAME c2\nc2 CNAME c3\nc3 CNAME c4\nc4 CNAME c5\nc5 CNAME c6\nc6 CNAME c7\nc7 CNAME c8\nc8 CNAME c9\nc9 A 203.0.113.10\n"}, false,
		[]dnscheck.Code{dnscheck.ChainTooLong}},
	{"CNAME to a name that does not exist", situation{zone: "www CNAME gone.host.net.\n"}, false, []dnscheck.Code{dnscheck.ChainBroken}},

	{"not registered", situation{com: "-"}, false, []dnscheck.Code{dnscheck.NotRegistered}},
	{"registered without name servers", situation{com: "x.example.com. TXT here\n", host: "example.com"}, false, []dnscheck.Code{dnscheck.DelegationAbsent}},
	{"name servers refuse", situation{zone: rightCNAME, ns1: refuse, ns2: refuse, resolver: dnsdouble.Resolver{Broken: []string{"example.com"}}}, false,
		[]dnscheck.Code{dnscheck.DelegationLame}},
	{"name servers refer to the root", situation{zone: rightCNAME, ns1: upward, ns2: upward, resolver: dnsdouble.Resolver{Broken: []string{"example.com"}}}, false,
		[]dnscheck.Code{dnscheck.DelegationLame}},
	{"one name server refuses", situation{zone: rightCNAME, ns2: refuse}, true, []dnscheck.Code{dnscheck.ServerLame, dnscheck.PointsHere}},
	{"one name server is silent", situation{zone: rightCNAME, ns2: quiet, timeout: 8 * time.Second}, true, []dnscheck.Code{dnscheck.ServerTimeout, dnscheck.PointsHere}},
	{"all name servers are silent", situation{zone: rightCNAME, ns1: quiet, ns2: quiet, timeout: 8 * time.Second, resolver: dnsdouble.Resolver{Broken: []string{"example.com"}}}, false,
		[]dnscheck.Code{dnscheck.ServersTimeout}},
	{"one name server fails", situation{zone: rightCNAME, ns2: broken}, true, []dnscheck.Code{dnscheck.ServerFails, dnscheck.PointsHere}},
	{"all name servers fail", situation{zone: rightCNAME, ns1: broken, ns2: broken, resolver: dnsdouble.Resolver{Broken: []string{"example.com"}}}, false,
		[]dnscheck.Code{dnscheck.ServersFail}},
	{"only resolvers are reachable", situation{zone: rightCNAME, com1: quiet, ns1: quiet, ns2: quiet, timeout: 8 * time.Second}, true,
		[]dnscheck.Code{dnscheck.ServersTimeout, dnscheck.PointsHere}},
	{"name server on loopback", situation{zone: rightCNAME, com: "example.com. NS ns1.example.com.\nexample.com. NS ns2.example.com.\nns1.example.com. A 127.0.0.1\nns2.example.com. A 192.0.2.12\n"}, true,
		[]dnscheck.Code{dnscheck.ServerNotPublic, dnscheck.PointsHere}},
	{"all name servers in private networks", situation{zone: rightCNAME, com: "example.com. NS ns1.example.com.\nexample.com. NS ns2.example.com.\nns1.example.com. A 10.0.0.1\nns2.example.com. AAAA fd00::1\n",
		resolver: dnsdouble.Resolver{Broken: []string{"example.com"}}}, false, []dnscheck.Code{dnscheck.ServerNotPublic}},
	{"name server without an address", situation{zone: rightCNAME, com: "example.com. NS ns1.example.com.\nexample.com. NS gone.host.net.\nns1.example.com. A 192.0.2.11\n"}, true,
		[]dnscheck.Code{dnscheck.ServerNotPublic, dnscheck.DelegationStale, dnscheck.PointsHere}},
	{"old delegation", situation{bare: true, zone: rightCNAME + "@ NS ns1\n@ NS ns3\nns1 A 192.0.2.11\nns2 A 192.0.2.12\n"}, true,
		[]dnscheck.Code{dnscheck.DelegationStale, dnscheck.PointsHere}},

	{"name servers disagree", situation{zone: rightCNAME, second: "www CNAME other.host.net.\n"}, false, []dnscheck.Code{dnscheck.ServersDisagree}},
	{"a name server has nothing yet", situation{zone: rightCNAME, second: "mail A 198.51.100.1\n"}, false, []dnscheck.Code{dnscheck.ServersDisagree}},
	{"old address cached", situation{zone: rightCNAME, caches: map[string]string{"www.example.com": "@ 1500 A 198.51.100.1\n"}}, true, []dnscheck.Code{dnscheck.Cached, dnscheck.PointsHere}},
	{"absence cached", situation{zone: rightCNAME, caches: map[string]string{"www.example.com": "@ 900 SOA ns.example.com. me.example.com. 1 1 1 1 7200\n"}}, true,
		[]dnscheck.Code{dnscheck.Cached, dnscheck.PointsHere}},
	{"DNSSEC fails", situation{zone: rightCNAME, resolver: dnsdouble.Resolver{Bogus: map[string]uint16{"example.com": signed}}}, false, []dnscheck.Code{dnscheck.DNSSECFails}},
	{"signature expired", situation{zone: rightCNAME, resolver: dnsdouble.Resolver{Bogus: map[string]uint16{"example.com": dns.ExtendedErrorCodeSignatureExpired}}}, false,
		[]dnscheck.Code{dnscheck.DNSSECFails}},
	{"resolvers fail although the name servers answer", situation{zone: rightCNAME, resolver: dnsdouble.Resolver{Broken: []string{"www.example.com"}}}, true,
		[]dnscheck.Code{dnscheck.ResolversServ, dnscheck.PointsHere}},
	{"one resolver is silent", situation{zone: rightCNAME, one: quiet, timeout: 8 * time.Second}, true, []dnscheck.Code{dnscheck.ResolverFails, dnscheck.PointsHere}},
	{"no resolver answers", situation{zone: rightCNAME, one: quiet, two: quiet, timeout: 4 * time.Second}, false, []dnscheck.Code{dnscheck.ResolversFail}},
	{"resolvers refuse", situation{zone: rightCNAME, one: refuse, two: refuse}, false, []dnscheck.Code{dnscheck.ResolversFail}},

	{"proof set", situation{zone: rightCNAME + "_troy-challenge.www TXT troy-3f9a\n", wanted: challenge}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"proof in parts beside others", situation{zone: rightCNAME + "_troy-challenge.www TXT other\n_troy-challenge.www TXT \"troy-\" \"3f9a\"\n", wanted: challenge}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"proof of a wildcard", situation{host: "*.example.com", zone: "* CNAME edge.host.net.\n_troy-challenge TXT troy-3f9a\n", wanted: challenge}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"proof alone", situation{fixed: true, alone: true, zone: "_troy-challenge.www TXT troy-3f9a\n", wanted: challenge}, false, []dnscheck.Code{dnscheck.ProofFound}},
	{"proof alone missing", situation{fixed: true, alone: true, wanted: challenge}, false, []dnscheck.Code{dnscheck.ProofMissing}},
	{"proof missing", situation{zone: rightCNAME, wanted: challenge}, true, []dnscheck.Code{dnscheck.ProofMissing}},
	{"proof wrong", situation{zone: rightCNAME + "_troy-challenge.www TXT troy-old\n", wanted: challenge}, true, []dnscheck.Code{dnscheck.ProofWrong}},
	{"proof at the name with the zone appended", situation{zone: "_troy-challenge.www.example.com TXT troy-3f9a\n", wanted: challenge}, false,
		[]dnscheck.Code{dnscheck.NothingSet, dnscheck.ProofMissing}},
	{"record of the certificate missing", situation{zone: rightCNAME, wanted: validated}, true, []dnscheck.Code{dnscheck.RecordMissing}},
	{"record of the certificate wrong", situation{zone: rightCNAME + "_abc.www CNAME _old.acm-validations.aws.\n", wanted: validated}, true, []dnscheck.Code{dnscheck.RecordWrong}},
	{"record of the certificate set", situation{zone: rightCNAME + "_abc.www CNAME _def.acm-validations.aws.\n", wanted: validated}, true, []dnscheck.Code{dnscheck.PointsHere}},

	{"CAA allows the issuer", situation{zone: rightCNAME + "@ CAA 0 issue \"letsencrypt.org\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"CAA forbids the issuer", situation{zone: rightCNAME + "@ CAA 0 issue \"digicert.com\"\n@ CAA 0 issue \"sectigo.com\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.CAAForbids}},
	{"CAA forbids all", situation{zone: rightCNAME + "@ CAA 0 issue \";\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.CAAForbids}},
	{"nearer CAA allows", situation{zone: "www A 203.0.113.10\nwww CAA 0 issue \"letsencrypt.org\"\n@ CAA 0 issue \"digicert.com\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"CAA of the target forbids", situation{zone: "www CNAME to.other.net.\n", more: map[string]string{"other.net": "to A 203.0.113.10\nto CAA 0 issue \"digicert.com\"\n"}, wanted: encrypt}, true,
		[]dnscheck.Code{dnscheck.CAAForbids}},
	{"CAA forbids wildcards", situation{host: "*.example.com", zone: "* CNAME edge.host.net.\n@ CAA 0 issue \"letsencrypt.org\"\n@ CAA 0 issuewild \";\"\n", wanted: encrypt}, true,
		[]dnscheck.Code{dnscheck.CAAForbids}},
	{"CAA forbids wildcards alone", situation{zone: rightCNAME + "@ CAA 0 issuewild \";\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.PointsHere}},
	{"unknown critical CAA", situation{zone: rightCNAME + "@ CAA 128 future \"x\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.CAAForbids}},
	{"CAA with a method", situation{zone: rightCNAME + "@ CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"\n", wanted: encrypt}, true, []dnscheck.Code{dnscheck.CAARestricts, dnscheck.PointsHere}},
	{"CAA fails", situation{zone: "www A 203.0.113.10\n", ns1: only(dns.TypeCAA, broken), ns2: only(dns.TypeCAA, broken), one: only(dns.TypeCAA, broken), two: only(dns.TypeCAA, broken), wanted: encrypt}, true,
		[]dnscheck.Code{dnscheck.CAAFails}},

	{"invalid packets", situation{zone: rightCNAME, ns2: junk}, true, []dnscheck.Code{dnscheck.ServerFails, dnscheck.PointsHere}},
	{"wrong ids", situation{zone: rightCNAME, ns2: forged, timeout: 4 * time.Second}, true, []dnscheck.Code{dnscheck.ServerFails, dnscheck.PointsHere}},
	{"cut without TCP", situation{zone: rightCNAME, ns2: cut}, true, []dnscheck.Code{dnscheck.ServerFails, dnscheck.PointsHere}},
	{"thousands of records", situation{zone: rightCNAME, ns2: huge}, true, []dnscheck.Code{dnscheck.ServerFails, dnscheck.PointsHere}},
	{"too many for UDP", situation{zone: rightCNAME + many("www TXT text-%d-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 0) + many("_troy-challenge.www TXT troy-%d-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 60) + "_troy-challenge.www TXT troy-3f9a\n",
		wanted: challenge}, true, []dnscheck.Code{dnscheck.PointsHere}},
}
