package dnscheck

import "slices"

// findings returns what is to be said, sorted by importance.
func (f *facts) findings(s summary) []Finding {
	var all []Finding
	add := func(found ...Finding) { all = append(all, found...) }
	if f.limited || f.timedOut {
		add(f.checkIncomplete())
	}
	if len(f.good(f.public)) == 0 && !slices.ContainsFunc(f.public, func(v view) bool { return v.outcome == ServFail }) {
		add(f.resolversFail())
	} else {
		add(f.resolverFindings(s)...)
	}
	switch {
	case f.d.unregistered:
		add(f.notRegistered())
	case f.d.undelegated:
		add(f.delegationAbsent())
	case f.d.deaf && len(s.views) == 0:
	default:
		add(f.serverFindings(s)...)
		if len(s.views) > 0 {
			if f.wanted.leads() {
				add(f.hostFindings(s)...)
			}
			add(f.proofFindings(s)...)
			add(f.caaFindings()...)
		}
	}
	if !slices.ContainsFunc(all, func(g Finding) bool { return g.Severity == Error }) && s.points() {
		add(f.pointsHere())
	}
	if proven, _ := s.has(proofOf, f.wanted.Challenge); proven && !f.wanted.leads() {
		add(f.proofFound())
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		if c := severityRank(a.Severity) - severityRank(b.Severity); c != 0 {
			return c
		}
		return slices.Index(codes, a.Code) - slices.Index(codes, b.Code)
	})
	return all
}

func severityRank(s Severity) int { return slices.Index([]Severity{Error, Warning, Info}, s) }

// resolverFindings tells of resolvers that fail or have old records.
func (f *facts) resolverFindings(s summary) (all []Finding) {
	bogus, failing := view{}, view{}
	for _, v := range f.public {
		switch {
		case v.bogus:
			bogus = v
		case v.outcome == ServFail:
			failing = v
		case !v.answered():
			all = append(all, f.resolverFails(v))
		}
	}
	switch {
	case bogus.server != "":
		all = append(all, f.dnssecFails(bogus.why))
	case failing.server != "" && len(f.good(f.auth)) > 0 && s.worst.verdict != loops && s.worst.verdict != endless && s.worst.verdict != dead:
		all = append(all, f.resolversServ(failing))
	}
	if servers, until := f.cached(s); len(servers) > 0 {
		all = append(all, f.oldCached(servers, until))
	}
	return all
}

// serverFindings tells of the zone's name servers.
func (f *facts) serverFindings(s summary) (all []Finding) {
	var bad []view
	for _, v := range f.auth {
		if !v.answered() {
			bad = append(bad, v)
		}
	}
	if len(f.own) > 0 && len(f.d.names) > 0 && f.d.cut == f.d.zone && !slices.Equal(f.own, f.d.names) {
		all = append(all, f.delegationStale())
	}
	if len(bad) == 0 {
		if len(f.auth) == 0 && !f.d.deaf && len(s.views) == 0 {
			all = append(all, f.delegationAbsent())
		}
		return all
	}
	if len(bad) < len(f.auth) {
		for _, v := range bad {
			all = append(all, f.serverFails(v))
		}
		return all
	}
	return append(all, f.serversFail(bad, len(f.good(f.public)) > 0))
}

// hostFindings tells where the host leads.
func (f *facts) hostFindings(s summary) (all []Finding) {
	switch {
	case !s.agree:
		all = append(all, f.serversDisagree(s))
	case f.atApex(s):
		all = append(all, f.cnameAtApex(s))
	default:
		all = append(all, f.whereTo(s.worst)...)
	}
	if types := s.beside(); len(types) > 0 && !f.atApex(s) {
		all = append(all, f.cnameBeside(types))
	}
	if f.apex() && len(f.wanted.Addresses) == 0 && f.provider.Name != "" && f.apexType() == "" && s.worst.verdict != right {
		all = append(all, f.apexNeedsAlias())
	}
	if record := f.https(s); record != nil {
		all = append(all, f.httpsElsewhere(record))
	}
	if s.points() && !s.worst.v4 && slices.ContainsFunc(f.expected, isIPv4) {
		all = append(all, f.ipv4Missing())
	}
	if s.authoritative && f.fromWildcard(s) {
		all = append(all, f.wildcardAnswers())
	}
	return all
}

// whereTo returns the finding of a verdict.
func (f *facts) whereTo(j judgement) []Finding {
	switch j.verdict {
	case absent:
		return []Finding{f.nothingSet()}
	case loops:
		return []Finding{f.cnameLoop(j)}
	case endless:
		return []Finding{f.chainTooLong(j)}
	case dead:
		return []Finding{f.chainBroken(j)}
	case proxied:
		return []Finding{f.behindProxy(j)}
	case elsewhere:
		if len(j.chain) > 0 {
			return []Finding{f.wrongTarget(j)}
		}
		return []Finding{f.wrongAddress(j)}
	case mixed:
		return []Finding{f.foreignAmong(j)}
	case sixth:
		return []Finding{f.ipv6Elsewhere(j)}
	case varies:
		return []Finding{f.answersVary(j)}
	case silent, right:
	}
	return nil
}

// fromWildcard reports whether the host's answer is that of a wildcard: a name
// beside it, which surely has no records, gets the same.
func (f *facts) fromWildcard(s summary) bool {
	if f.sibling.outcome != Answered && len(f.sibling.chain) == 0 {
		return false
	}
	a := s.views[0].a
	return slices.Equal(a.names(), f.sibling.names()) && slices.Equal(addresses(a.rrs), addresses(f.sibling.rrs))
}

// proofFindings tells of the TXT record and of the records that the cloud needs.
func (f *facts) proofFindings(s summary) (all []Finding) {
	if f.wanted.Challenge != "" {
		if ok, others := s.has(proofOf, f.wanted.Challenge); !ok && len(others) == 0 {
			all = append(all, f.proofMissing())
		} else if !ok {
			all = append(all, f.proofWrong(others))
		}
	}
	for i, r := range f.wanted.Records[:min(len(f.wanted.Records), maxWantedRecords)] {
		of := recordOf(i)
		if ok, others := s.has(of, wantedValue(r)); !ok && len(others) == 0 {
			all = append(all, f.recordMissing(r))
		} else if !ok {
			all = append(all, f.recordWrong(r, others))
		}
	}
	return all
}

func proofOf(v view) found { return v.proof }

func recordOf(i int) func(view) found {
	return func(v view) found {
		if i >= len(v.records) {
			return found{}
		}
		return v.records[i]
	}
}

// wantedValue returns the value of a record in the form of value.
func wantedValue(r WantedRecord) string {
	if r.Type == "CNAME" {
		return plain(r.Value)
	}
	return r.Value
}

// caaVerdict returns the CAA records that count, and what they say.
func (f *facts) caaVerdict() (caaSet, permission) {
	if len(f.caa) == 0 {
		return caaSet{}, permission{}
	}
	last := f.caa[len(f.caa)-1]
	return last, permit(last.records, f.wanted.Issuers, f.wildcard)
}

// caaFindings tells whether certificates may be issued.
func (f *facts) caaFindings() []Finding {
	set, p := f.caaVerdict()
	switch {
	case p.forbidden:
		return []Finding{f.caaForbids(set, p)}
	case p.restricted != "":
		return []Finding{f.caaRestricts(set.owner(), p)}
	case len(f.caa) > 0 && set.outcome != NoData && set.outcome != NXDomain && set.outcome != Answered:
		return []Finding{f.caaFails(set)}
	}
	return nil
}
