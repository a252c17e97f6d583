package dnscheck

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// apex reports whether the host is the zone's own name.
func (f *facts) apex() bool { return f.base == f.d.zone && !f.wildcard }

// expectation names what the host should lead to.
func (f *facts) expectation() string {
	if f.wanted.Target != "" && (!f.apex() || len(f.wanted.Addresses) == 0) {
		return f.wanted.Target
	}
	return someAddresses(f.wanted.Addresses)
}

// change says what to do with a host whose CNAME record is wrong.
func (f *facts) change() string {
	if !f.apex() && f.wanted.Target != "" {
		return fmt.Sprintf("Change the value of its CNAME record to %s.", f.wanted.Target)
	}
	return fmt.Sprintf("Replace its CNAME record with %s.", f.records())
}

// replace says what to do with a host whose addresses are wrong.
func (f *facts) replace() string {
	return fmt.Sprintf("Replace its address records with %s.", f.records())
}

// add says what to add for a host without records.
func (f *facts) add() string {
	return fmt.Sprintf("In the zone %s, add %s.", f.d.zone, f.records())
}

// records names the records that lead visitors to the site.
func (f *facts) records() string {
	var what []string
	for _, r := range f.target() {
		what = append(what, fmt.Sprintf("%s record with the name %s and the value %s", article(r.Type), r.Name, r.Value))
	}
	return list(what)
}

// article returns a record's type with its article.
func article(typ string) string {
	if strings.ContainsAny(typ[:1], "A") {
		return "an " + typ
	}
	return "a " + typ
}

// who says what several servers do, in one clause for each outcome.
func who(views []view) string {
	var outcomes []Outcome
	servers := map[Outcome][]string{}
	for _, v := range views {
		if servers[v.outcome] == nil {
			outcomes = append(outcomes, v.outcome)
		}
		servers[v.outcome] = append(servers[v.outcome], short(v.server))
	}
	clauses := make([]string, len(outcomes))
	for i, o := range outcomes {
		clauses[i] = list(servers[o]) + " " + doing(o, len(servers[o]))
	}
	return strings.Join(clauses, "; ")
}

// list joins words as in a sentence.
func list(words []string) string { return join(words, "and") }

// either joins words of which one is enough.
func either(words []string) string { return join(words, "or") }

func join(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

// few4 returns at most four words, and says how many others there are.
func few4(words []string) []string {
	const most = 4
	if len(words) <= most {
		return words
	}
	return append(append([]string{}, words[:most-1]...), fmt.Sprintf("%d others", len(words)-most+1))
}

// someAddresses lists addresses.
func someAddresses(all []netip.Addr) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = a.String()
	}
	return list(few4(words))
}

// route shows a chain of names.
func route(host string, chain []string) string {
	names := make([]string, 0, len(chain)+1)
	if host != "" {
		names = append(names, host)
	}
	for _, name := range chain {
		names = append(names, short(name))
	}
	const most = 6
	if len(names) > most {
		names = append(names[:most:most], "…")
	}
	return strings.Join(names, " → ")
}

// quoted puts texts from servers in quotation marks, shortened.
func quoted(texts []string) []string {
	const most = 80
	all := make([]string, len(texts))
	for i, t := range texts {
		if len(t) > most {
			t = t[:most] + "…"
		}
		all[i] = "“" + t + "”"
	}
	return all
}

// caaText returns a CAA record as forms and zone files show it.
func caaText(c *dns.CAA) string {
	return fmt.Sprintf(`%d %s "%s"`, c.Flag, short(c.Tag), short(c.Value))
}

func caaTexts(records []*dns.CAA) []string {
	all := make([]string, len(records))
	for i, c := range records {
		all[i] = caaText(c)
	}
	return all
}

// itsThem returns the first word for one thing, the second for several.
func itsThem(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// zoneText names a zone in a sentence.
func zoneText(zone string) string {
	if zone == "." {
		return "the root"
	}
	return zone
}
