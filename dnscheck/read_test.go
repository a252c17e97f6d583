package dnscheck

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/miekg/dns"
)

func TestRecognise(t *testing.T) {
	t.Parallel()
	for servers, want := range map[string]string{
		"amy.ns.cloudflare.com bob.ns.cloudflare.com":        "Cloudflare/CNAME",
		"ns-2048.awsdns-64.co.uk ns-1.awsdns-2.org":          "Amazon Route 53/",
		"ns11.domaincontrol.com ns12.domaincontrol.com":      "GoDaddy/",
		"dns1.registrar-servers.com":                         "Namecheap/ALIAS",
		"ns-1-a.gandi.net ns-2-b.gandi.net":                  "Gandi/ALIAS",
		"hydrogen.ns.hetzner.com helium.ns.hetzner.de":       "Hetzner/",
		"dns102.ovh.net ns102.ovh.net":                       "OVHcloud/",
		"ns1045.ui-dns.biz ns1104.ui-dns.com":                "IONOS/",
		"ns-cloud-a1.googledomains.com":                      "Google Cloud DNS or Squarespace/ALIAS",
		"ns1.vercel-dns.com ns2.vercel-dns.com":              "Vercel/ALIAS",
		"dns1.p05.nsone.net dns2.p05.nsone.net":              "Netlify or NS1/ALIAS",
		"ns1.digitalocean.com":                               "DigitalOcean/",
		"ns1-06.azure-dns.com ns2-06.azure-dns.net":          "Azure DNS/",
		"ns1.dnsimple.com ns2.dnsimple-edge.net":             "DNSimple/ALIAS",
		"curitiba.ns.porkbun.com":                            "Porkbun/ALIAS",
		"ns1hgn.name.com":                                    "Name.com/ANAME",
		"ns0.transip.net ns1.transip.nl ns2.transip.eu":      "TransIP/ALIAS",
		"ns.inwx.de ns2.inwx.de":                             "INWX/ALIAS",
		"kiki.bunny.net":                                     "bunny.net/CNAME",
		"ns1.linode.com":                                     "Linode/",
		"ns1.vultr.com":                                      "Vultr/",
		"ns1.example.com ns2.example.com":                    "/",
		"amy.ns.cloudflare.com ns1.example.com":              "/", // half is not enough
		"ns1.notcloudflare.com xns.cloudflare.com.evil.test": "/",
		"": "/",
	} {
		p := recognise(strings.Fields(servers))
		if got := p.Name + "/" + p.ApexType; got != want {
			t.Errorf("%s: %s, want %s", servers, got, want)
		}
		if p.Hint != "" && (!strings.HasSuffix(p.Hint, ".") || strings.Contains(p.Hint, "http")) {
			t.Errorf("the hint of %s is %q", p.Name, p.Hint)
		}
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"www.example.com": "com example.com", "example.com": "com example.com", "a.b.example.co.uk": "co.uk example.co.uk",
		"troy.github.io": "io github.io", "www.example.test": "test example.test", "x.s3.dualstack.eu-west-1.amazonaws.com": "com amazonaws.com",
		"example.kobe.jp": "kobe.jp example.kobe.jp", "co.uk": "uk co.uk",
	} {
		if suffix, domain := registry(host); suffix+" "+domain != want {
			t.Errorf("registry(%s) = %s %s, want %s", host, suffix, domain, want)
		}
	}
}

func TestPermit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		records  string
		wildcard bool
		want     string // allowed, forbidden, or the condition
	}{
		"iodef only":                 {`0 iodef "mailto:a@b.c"`, false, "allowed"},
		"critical iodef":             {`128 iodef "mailto:a@b.c"`, false, "allowed"},
		"one of two":                 {`0 issue "a.example"|0 issue "letsencrypt.org"`, false, "allowed"},
		"capitals and spaces":        {`0 ISSUE " LetsEncrypt.org "`, false, "allowed"},
		"empty":                      {`0 issue ""`, false, "forbidden"},
		"a similar name":             {`0 issue "letsencrypt.org.evil.example"`, false, "forbidden"},
		"issuewild for a host":       {`0 issuewild "letsencrypt.org"`, false, "allowed"},
		"issue for a wildcard":       {`0 issue "letsencrypt.org"`, true, "allowed"},
		"issuewild for a wildcard":   {`0 issue "a.example"|0 issuewild "letsencrypt.org"`, true, "allowed"},
		"issuewild forbids":          {`0 issue "letsencrypt.org"|0 issuewild "a.example"`, true, "forbidden"},
		"account":                    {`0 issue "letsencrypt.org; accounturi=https://ca.example/1"`, false, "accounturi=https://ca.example/1"},
		"with and without":           {`0 issue "letsencrypt.org; x=y"|0 issue "letsencrypt.org"`, false, "allowed"},
		"unknown":                    {`0 future "x"`, false, "allowed"},
		"unknown, critical":          {`128 future "x"|0 issue "letsencrypt.org"`, false, "forbidden"},
		"semicolon without anything": {`0 issue "letsencrypt.org;"`, false, "allowed"},
	} {
		var records []*dns.CAA
		for text := range strings.SplitSeq(c.records, "|") {
			rr, err := dns.NewRR("example.com. CAA " + text)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, rr.(*dns.CAA))
		}
		p := permit(records, []string{"other.example", "letsencrypt.org"}, c.wildcard)
		got := "allowed"
		if p.forbidden {
			got = "forbidden"
		} else if p.restricted != "" {
			got = p.restricted
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// FuzzRead reads a hostile packet as the answer to each question of a check. The
// report must stay within its bounds and show nothing that a terminal interprets.
func FuzzRead(f *testing.F) {
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeHTTPS, dns.TypeCNAME, dns.TypeCAA, dns.TypeNS, dns.TypeSOA}
	for i, text := range []string{
		"www.example.com. 60 A 198.51.100.1", "www.example.com. 60 AAAA 2001:db8::1", "www.example.com. 60 TXT \"\\027[31m\" \"\\255\"",
		"www.example.com. 60 HTTPS 1 cdn.example. ipv4hint=198.51.100.1", "www.example.com. 60 CNAME www.example.com.",
		"www.example.com. 60 CAA 128 issue \"\\007\"", "example.com. 60 NS ns1.example.com.", "example.com. 60 SOA a. b. 1 2 3 4 5",
	} {
		m := new(dns.Msg)
		m.SetQuestion("www.example.com.", types[i])
		m.Response, m.Authoritative = true, true
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer, m.Ns = []dns.RR{rr}, []dns.RR{rr}
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet, uint8(i))
	}
	f.Fuzz(func(t *testing.T, packet []byte, kind uint8) {
		typ := types[int(kind)%len(types)]
		q := question{name: "www.example.com", typ: typ}
		m, outcome, ours := parse(packet, packet, q)
		if (m == nil) != (outcome != "") {
			t.Fatalf("a message %v with the outcome %q (ours %v)", m != nil, outcome, ours)
		}
		if m == nil {
			return
		}
		if zone, names := referral(m, "com", q.name); zone != "" && (!within(q.name, zone) || len(names) == 0) {
			t.Errorf("a referral to %q with %d servers", zone, len(names))
		}
		if owner := soaOwner(m, "com", q.name); owner != "" && !within(q.name, owner) {
			t.Errorf("the zone %q", owner)
		}
		a := read(m, q.name, typ)
		if len(a.chain) > maxChain || len(a.rrs) > maxRRs {
			t.Errorf("%d CNAMEs, %d records", len(a.chain), len(a.rrs))
		}
		v := view{server: "ns1.example.com", outcome: a.outcome, a: a, aaaa: a, again: a, https: a, proof: a, records: []found{a}}
		fs := facts{
			wanted: Wanted{Host: q.name, Target: "edge.host.net", Challenge: "x", Issuers: []string{"letsencrypt.org"}, Records: []WantedRecord{{"TXT", "x.example.com", "y"}}},
			base:   q.name, d: delegation{zone: "example.com", parent: "com", cut: "example.com", sure: true, names: nsNames(a.rrs)},
			auth: []view{v}, public: []view{v}, own: nsNames(m.Answer), expected: []netip.Addr{netip.MustParseAddr("203.0.113.10")},
			tails: map[string]tail{}, sibling: a, at: time.Unix(0, 0).UTC(),
		}
		set := caaSet{name: q.name, outcome: a.outcome}
		for _, rr := range a.rrs {
			if c, ok := rr.(*dns.CAA); ok {
				set.records = append(set.records, c)
			}
		}
		fs.caa = []caaSet{set}
		report := fs.report()
		text, err := json.Marshal(report)
		if err != nil || len(text) > 64<<10 {
			t.Fatalf("%d bytes of JSON: %v", len(text), err)
		}
		if len(report.Findings) == 0 {
			t.Error("there are no findings")
		}
		for _, g := range report.Findings {
			if len(g.Sentence) > 4096 || !printable(g.Sentence) {
				t.Errorf("the sentence of %s is %q", g.Code, g.Sentence)
			}
		}
		for _, s := range report.Authoritative[0].Records {
			if len(s.Value) > 255 || len(s.Name) > 255 || !printable(s.Value+s.Name) {
				t.Errorf("a record is %+v", s)
			}
		}
	})
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
