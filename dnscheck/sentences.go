package dnscheck

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Each function returns a finding. Its sentence says what was seen, what was
// expected and what to change, in this order.

func (f *facts) resolversFail() Finding {
	return finding(ResolversFail, Error, "No resolver answers: %s. Expected an answer about %s. Check this server's network and the configured resolvers.",
		who(f.public), f.wanted.Host)
}

func (f *facts) resolverFails(v view) Finding {
	return finding(ResolverFails, Warning, "The resolver %s %s when it is asked about %s. The other resolvers answer.", v.server, doing(v.outcome, 1), f.wanted.Host)
}

func (f *facts) notRegistered() Finding {
	return finding(NotRegistered, Error, "The domain %s does not exist: the name servers of %s do not know it. Check the spelling, or register the domain. A new registration can take an hour to appear.",
		f.d.zone, zoneText(f.d.parent))
}

func (f *facts) delegationAbsent() Finding {
	return finding(DelegationAbsent, Error, "%s names no name servers for %s, so the records of %s can't be found. Enter the name servers of your DNS provider at the company where you registered %s.",
		zoneText(f.d.parent), f.d.zone, f.wanted.Host, f.d.zone)
}

// serversFail is about a zone of which no name server answers. If resolvers
// answer nevertheless, the reason may be this machine's network.
func (f *facts) serversFail(bad []view, resolved bool) Finding {
	lame, slow, private := true, true, true
	for _, v := range bad {
		lame = lame && (v.outcome == Refused || v.outcome == Lame)
		slow = slow && (v.outcome == TimedOut || v.outcome == Unreachable)
		private = private && v.outcome == NotPublic
	}
	seen := fmt.Sprintf("None of the name servers of %s has an answer about %s: %s.", f.d.zone, f.wanted.Host, who(bad))
	switch {
	case lame:
		return finding(DelegationLame, Error, "%s Create the zone %s at your DNS provider, or enter the provider's right name servers where you registered the domain.", seen, f.d.zone)
	case slow && resolved:
		return finding(ServersTimeout, Warning, "%s Resolvers do reach them, so this server's network probably blocks DNS. Allow outgoing packets to port 53 for more precise checks.", seen)
	case slow:
		return finding(ServersTimeout, Error, "%s Ask your DNS provider whether they run, or enter other name servers where you registered the domain.", seen)
	case private:
		return finding(ServerNotPublic, Error, "%s Troy does not ask them. Enter name servers with public addresses where you registered the domain.", seen)
	}
	return finding(ServersFail, Error, "%s Ask your DNS provider, or enter other name servers where you registered the domain.", seen)
}

// serverFails is about one of several name servers.
func (f *facts) serverFails(v view) Finding {
	code, advice := ServerFails, "Ask your DNS provider."
	switch v.outcome {
	case Refused, Lame:
		code, advice = ServerLame, "Create the zone there too, or remove the server from the zone and where you registered the domain."
	case TimedOut, Unreachable:
		code, advice = ServerTimeout, "Some visitors wait longer or fail. Ask your DNS provider, or remove the server."
	case NotPublic, NoAddress:
		code, advice = ServerNotPublic, "Correct its address, or remove the server."
	}
	return finding(code, Warning, "One of the name servers of %s, %s, %s. %s", f.d.zone, v.server, doing(v.outcome, 1), advice)
}

func (f *facts) delegationStale() Finding {
	return finding(DelegationStale, Info, "%s names %s as the name servers of %s, but the zone itself names %s. If you have just moved the zone, this passes; otherwise make both lists equal.",
		zoneText(f.d.parent), list(few4(f.d.names)), f.d.zone, list(few4(f.own)))
}

func (f *facts) dnssecFails(why int) Finding {
	reason := map[int]string{
		int(dns.ExtendedErrorCodeSignatureExpired):     " (a signature has expired)",
		int(dns.ExtendedErrorCodeSignatureNotYetValid): " (a signature is not valid yet)",
		int(dns.ExtendedErrorCodeDNSKEYMissing):        " (no key matches the DS record)",
		int(dns.ExtendedErrorCodeRRSIGsMissing):        " (signatures are missing)",
		int(dns.ExtendedErrorCodeNSECMissing):          " (the proof that a name does not exist is missing)",
	}[why]
	return finding(DNSSECFails, Error, "The DNSSEC signatures of %s are not valid%s, so most visitors and certificate authorities reject its records. Remove the DS record where you registered the domain, or have your DNS provider sign the zone again and enter the new DS record.",
		f.d.zone, reason)
}

func (f *facts) resolversServ(v view) Finding {
	return finding(ResolversServ, Warning, "The name servers of %s answer, but the resolver %s can't resolve %s (SERVFAIL). If this lasts longer than an hour, check the list of name servers where you registered the domain.",
		f.d.zone, v.server, f.wanted.Host)
}

func (f *facts) cnameLoop(j judgement) Finding {
	return finding(CNAMELoop, Error, "The CNAME records of %s lead in a circle: %s. %s", f.wanted.Host, route(f.wanted.Host, j.chain), f.change())
}

func (f *facts) chainTooLong(j judgement) Finding {
	return finding(ChainTooLong, Error, "%s leads through more than %d CNAME records: %s. Resolvers give up. %s", f.wanted.Host, maxChain, route(f.wanted.Host, j.chain), f.change())
}

func (f *facts) cnameAtApex(s summary) Finding {
	to := ""
	for _, v := range s.views {
		if len(v.a.chain) > 0 {
			to = short(v.a.names()[0])
			break
		}
	}
	return finding(CNAMEAtApex, Error, "%s is the top of its zone and has a CNAME record to %s. DNS forbids that, because the CNAME hides the zone's other records, such as those for mail. %s", f.wanted.Host, to, f.change())
}

func (f *facts) cnameBeside(types []string) Finding {
	return finding(CNAMEBeside, Error, "%s has a CNAME record beside other records (%s). DNS forbids that, and servers answer with the one or the other. Keep the CNAME record and remove the others.", f.wanted.Host, list(few4(types)))
}

func (f *facts) chainBroken(j judgement) Finding {
	advice := f.change()
	if last := j.chain[len(j.chain)-1]; f.wanted.Target != "" && last == f.wanted.Target+"."+f.d.zone {
		advice = fmt.Sprintf("The form has appended the zone's name to the value. Enter the value with a dot at its end (%s.).", f.wanted.Target)
	}
	return finding(ChainBroken, Error, "%s is a CNAME to %s, which has no address. %s", f.wanted.Host, route("", j.chain), advice)
}

func (f *facts) nothingSet() Finding {
	return finding(NothingSet, Error, "%s has no address and no CNAME record in DNS yet. %s%s", f.wanted.Host, f.add(), f.appendedName(f.appended))
}

func (f *facts) behindProxy(j judgement) Finding {
	return finding(Proxied, Error, "%s leads to Cloudflare's proxy (%s), which hides where the record points. Expected %s. At Cloudflare, set the proxy status of the record to “DNS only” (gray cloud).",
		f.wanted.Host, someAddresses(j.foreign), f.expectation())
}

func (f *facts) wrongTarget(j judgement) Finding {
	return finding(WrongTarget, Error, "%s is a CNAME to %s. Expected %s. %s", f.wanted.Host, route("", j.chain), f.expectation(), f.change())
}

func (f *facts) wrongAddress(j judgement) Finding {
	return finding(WrongAddress, Error, "%s leads to %s. Expected %s. %s", f.wanted.Host, someAddresses(j.foreign), f.expectation(), f.replace())
}

func (f *facts) foreignAmong(j judgement) Finding {
	return finding(ForeignAmong, Error, "%s leads to this site, but also to %s, so some visitors reach another server. Remove the records with %s.",
		f.wanted.Host, someAddresses(j.foreign), itsThem(len(j.foreign), "that address", "those addresses"))
}

func (f *facts) answersVary(j judgement) Finding {
	return finding(AnswersVary, Error, "The name servers of %s answer differently each time they are asked about %s; among the answers is %s. Expected only %s. Remove the other records, or switch off load balancing for this name at your DNS provider.",
		f.d.zone, f.wanted.Host, someAddresses(j.foreign), f.expectation())
}

func (f *facts) ipv6Elsewhere(j judgement) Finding {
	return finding(IPv6Elsewhere, Error, "The A record of %s is right, but its AAAA record leads elsewhere, to %s. Many visitors and certificate authorities use IPv6 first. %s",
		f.wanted.Host, someAddresses(j.foreign), f.sixInstead())
}

// sixInstead says what to do with a wrong AAAA record.
func (f *facts) sixInstead() string {
	for _, a := range f.wanted.Addresses {
		if !a.Is4() {
			return fmt.Sprintf("Change the AAAA record to %s.", a)
		}
	}
	return "Remove the AAAA record."
}

func (f *facts) httpsElsewhere(record *dns.HTTPS) Finding {
	to := plain(record.Target)
	if to == "." || to == f.wanted.Host {
		to = someAddresses(hints(record))
	}
	return finding(HTTPSElsewhere, Error, "%s has an HTTPS record (type 65) that leads browsers to %s, whatever its other records say. Remove the HTTPS record.", f.wanted.Host, short(to))
}

func (f *facts) serversDisagree(s summary) Finding {
	var good, bad []string
	for i, v := range s.views {
		if s.judgements[i].verdict == right {
			good = append(good, v.server)
		} else {
			bad = append(bad, v.server)
		}
	}
	who := "The name servers of " + f.d.zone
	if !s.authoritative {
		who = "The resolvers"
	}
	return finding(ServersDisagree, Warning, "%s disagree about %s: %s %s the right records, but %s %s other or old ones. Wait a few minutes. If it lasts longer than an hour, ask your DNS provider.",
		who, f.wanted.Host, list(good), itsThem(len(good), "has", "have"), list(bad), itsThem(len(bad), "has", "have"))
}

func (f *facts) proofMissing() Finding {
	return finding(ProofMissing, Error, "The TXT record %s, which proves that you control the domain, was not found. In the zone %s, add a TXT record with the name %s and the value %s.%s",
		challengePrefix+f.base, f.d.zone, f.relative(challengePrefix+f.base), f.wanted.Challenge, f.appendedName(f.appendedProof))
}

func (f *facts) proofWrong(others []string) Finding {
	return finding(ProofWrong, Error, "The TXT record %s, which proves that you control the domain, has the value %s. Expected %s. Change the value, or add a second TXT record.",
		challengePrefix+f.base, list(quoted(others)), f.wanted.Challenge)
}

func (f *facts) recordMissing(r WantedRecord) Finding {
	return finding(RecordMissing, Error, "The %s record %s, which the certificate needs, was not found. In the zone %s, add it with the name %s and the value %s.", r.Type, plain(r.Name), f.d.zone, f.relative(plain(r.Name)), wantedValue(r))
}

func (f *facts) recordWrong(r WantedRecord, others []string) Finding {
	return finding(RecordWrong, Error, "The %s record %s, which the certificate needs, has the value %s. Expected %s. Change the value.", r.Type, plain(r.Name), list(others), wantedValue(r))
}

func (f *facts) caaForbids(set caaSet, p permission) Finding {
	owner := set.owner()
	seen := fmt.Sprintf("The CAA records of %s (%s) do not allow %s to issue certificates for %s.",
		owner, list(few4(caaTexts(p.because))), either(f.wanted.Issuers), f.wanted.Host)
	switch {
	case owner != set.name:
		return finding(CAAForbids, Error, "%s They count, because %s is a CNAME to that name. Change the CNAME record, or have the owner of %s change the CAA records.", seen, set.name, owner)
	case p.unknown:
		return finding(CAAForbids, Error, "%s Their tag is critical, and certificate authorities do not know it. Remove them.", seen)
	}
	return finding(CAAForbids, Error, "%s Add the CAA record %s to %s.", seen, caaText(f.caaToAdd(p)), owner)
}

// caaToAdd returns the CAA record that would allow the issuer.
func (f *facts) caaToAdd(p permission) *dns.CAA {
	return &dns.CAA{Tag: p.tag, Value: f.wanted.Issuers[0]}
}

// appendedName explains that a form has appended the zone to a name.
func (f *facts) appendedName(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" There is such a record at %s: the form has appended the zone's name. Enter only the short name.", name)
}

func (f *facts) caaRestricts(name string, p permission) Finding {
	return finding(CAARestricts, Warning, "The CAA record of %s (%s) allows certificates for %s only under a condition. If no certificate arrives, remove the condition “%s”.",
		name, list(caaTexts(p.because)), f.wanted.Host, short(p.restricted))
}

func (f *facts) caaFails(set caaSet) Finding {
	severity := Error
	if set.outcome == TimedOut || set.outcome == Unreachable || set.outcome == NotAsked {
		severity = Warning // the authority's own question may fare better
	}
	return finding(CAAFails, severity, "The CAA records of %s can't be read: its name server %s. Certificate authorities then refuse to issue. Ask your DNS provider why questions for CAA records fail.", set.name, doing(set.outcome, 1))
}

func (f *facts) apexNeedsAlias() Finding {
	return finding(ApexNeedsAlias, Error, "%s is the top of its zone and has to follow %s, but %s has no ALIAS record that does so. Use www.%s instead, or move the zone to a DNS provider with ALIAS records or CNAME flattening.",
		f.wanted.Host, f.wanted.Target, f.provider.Name, f.base)
}

func (f *facts) checkIncomplete() Finding {
	reason := "the time limit was reached"
	if f.limited {
		reason = fmt.Sprintf("it may ask at most %d questions", maxQueries)
	}
	return finding(CheckIncomplete, Warning, "The check of %s is not complete, because %s. Something may be missing here; Troy checks again.", f.wanted.Host, reason)
}

func (f *facts) ipv4Missing() Finding {
	return finding(IPv4Missing, Warning, "%s has an AAAA record only, so visitors without IPv6 can't reach it. %s", f.wanted.Host, f.replace())
}

func (f *facts) wildcardAnswers() Finding {
	return finding(FromWildcard, Info, "%s has no record of its own; the answer comes from the wildcard *.%s. A record of its own takes precedence.", f.wanted.Host, above(f.base))
}

func (f *facts) pointsHere() Finding {
	return finding(PointsHere, Info, "%s leads to this site.", f.wanted.Host)
}

func (f *facts) proofFound() Finding {
	return finding(ProofFound, Info, "The TXT record %s proves that you control the domain.", challengePrefix+f.base)
}

// finding returns a finding with its sentence.
func finding(code Code, severity Severity, format string, args ...any) Finding {
	return Finding{Code: code, Severity: severity, Sentence: strings.TrimSpace(fmt.Sprintf(format, args...))}
}

// doing says what a number of servers do, as the end of a sentence about them.
func doing(o Outcome, servers int) string {
	verb := func(one, many string) string { return itsThem(servers, one, many) }
	switch o {
	case Refused:
		return verb("refuses", "refuse") + " to answer"
	case ServFail:
		return verb("reports", "report") + " a failure (SERVFAIL)"
	case Lame:
		return verb("does", "do") + " not have the zone"
	case TimedOut:
		return verb("does", "do") + " not answer in time"
	case Unreachable:
		return "can't be reached"
	case Malformed:
		return verb("sends", "send") + " invalid answers"
	case Truncated:
		return verb("cuts its answer", "cut their answers") + " short and can't be asked over TCP"
	case TooBig:
		return verb("sends too large an answer", "send too large answers")
	case NoAddress:
		return verb("has no address", "have no addresses")
	case NotPublic:
		return verb("has an address that is", "have addresses that are") + " not public"
	case NotAsked:
		return verb("was", "were") + " not asked"
	case Answered, NoData, NXDomain, ChainLoop, ChainTooBig:
	}
	return verb("answers", "answer")
}

// isIPv4 is netip.Addr.Is4 as a function.
func isIPv4(a netip.Addr) bool { return a.Is4() }
