package site

import (
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/troy-iaas/troy"
)

// MaxCustomHost is the maximum length of a custom host in characters. A name has
// at most 253 (RFC 1035 §2.3.4), and the names of its challenges are longer by
// 16, the length of "_acme-challenge.".
const MaxCustomHost = 237

// CustomHosts says which hosts can't be custom hosts.
type CustomHosts struct {
	// Own are the hosts of Troy itself.
	Own []string
	// Suffix is the suffix of the sites' own hosts.
	Suffix string
	// Previews is the suffix of the hosts of previews, or "".
	Previews string
}

// profile maps a name as browsers do (UTS #46, nontransitional) and checks it.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.ValidateLabels(true), idna.CheckHyphens(true), idna.CheckJoiners(true), idna.BidiRule())

// Parse returns a custom host in its normal form: lower case, punycode, without
// a trailing dot. The host may be a wildcard, "*." and a name. Errors are
// Invalid, at the field "host", and say what to type instead.
func (c CustomHosts) Parse(text string) (string, error) {
	host, err := c.parse(strings.TrimSpace(text))
	if err != nil {
		return "", err.At("host")
	}
	return host, nil
}

func (c CustomHosts) parse(text string) (string, *troy.Error) {
	shown := troy.Clip(text)
	if err := checkForm(text, shown); err != nil {
		return "", err
	}
	name, wildcard := strings.CutPrefix(strings.TrimSuffix(text, "."), "*.")
	if strings.Contains(name, "*") {
		return "", troy.Errorf(troy.Invalid, "the host %q has an asterisk in another place than the first label; expected a wildcard like *.example.com", shown)
	}
	if len(name) > 4*MaxCustomHost { // before it is mapped; a character has at most 4 bytes
		return "", tooLong(shown, len(name))
	}
	ascii, err := profile.ToASCII(name)
	if err != nil {
		return "", troy.Errorf(troy.Invalid, "the host %q is not a valid domain name; expected a name like www.example.com", shown)
	}
	if _, err := NormalizeHost(ascii); err != nil && len(ascii) <= MaxCustomHost {
		e := troy.Errorf(troy.Invalid, "%w; expected a name like www.example.com", err)
		return "", e
	}
	if len(ascii) > MaxCustomHost {
		return "", tooLong(shown, len(ascii))
	}
	if err := checkScripts(ascii, shown); err != nil {
		return "", err
	}
	if err := c.checkPlace(ascii, shown); err != nil {
		return "", err
	}
	if !wildcard {
		return ascii, nil
	}
	for _, own := range c.Own {
		if _, parent, _ := strings.Cut(own, "."); parent == ascii {
			return "", troy.Errorf(troy.Invalid, "the wildcard %q covers Troy's own host %s; expected the hosts by their names", shown, own)
		}
	}
	return "*." + ascii, nil
}

func tooLong(shown string, n int) *troy.Error {
	return troy.Errorf(troy.Invalid, "the host %q has %d characters; expected at most %d, which leaves room for the names of its challenges", shown, n, MaxCustomHost)
}

// checkForm refuses what is not a name at all.
func checkForm(text, shown string) *troy.Error {
	bare := strings.Trim(text, "[]")
	switch {
	case text == "":
		return troy.Errorf(troy.Invalid, "the host is empty; expected a name like www.example.com")
	case strings.Contains(text, "://") || strings.ContainsAny(text, "/?#@\\"):
		return troy.Errorf(troy.Invalid, "%q is an address; expected only its host, like www.example.com", shown)
	case isAddress(bare) || isAddress(strings.TrimSuffix(text, ".")):
		return troy.Errorf(troy.Invalid, "%q is an IP address; expected a domain name like www.example.com", shown)
	case strings.Contains(text, ":"):
		return troy.Errorf(troy.Invalid, "the host %q has a port; expected the name without it", shown)
	case strings.Contains(text, "_"):
		return troy.Errorf(troy.Invalid, "the host %q has an underscore, which the name of a website can't have; expected letters, digits, hyphens and dots", shown)
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return troy.Errorf(troy.Invalid, "the host %q has spaces or control characters; expected a name like www.example.com", shown)
	}
	return nil
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// checkPlace refuses names that can't be custom hosts because of where they are.
func (c CustomHosts) checkPlace(host, shown string) *troy.Error {
	under := func(parent string) bool { return host == parent || strings.HasSuffix(host, "."+parent) }
	for _, own := range c.Own {
		if host == own {
			return troy.Errorf(troy.Invalid, "%q is Troy's own host; choose another name for the site", shown)
		}
	}
	suffix, icann := publicsuffix.PublicSuffix(host)
	switch {
	case under("localhost"):
		return troy.Errorf(troy.Invalid, "%q is a name of this machine; expected a name in public DNS, like www.example.com", shown)
	case c.Suffix != "" && under(c.Suffix):
		return troy.Errorf(troy.Invalid, "%q is a name of Troy's own sites, which end in %s; expected a name of your own domain", shown, c.Suffix)
	case c.Previews != "" && under(c.Previews):
		return troy.Errorf(troy.Invalid, "%q is a name of the previews of Troy's sites, which end in %s; expected a name of your own domain", shown, c.Previews)
	case !strings.Contains(host, "."):
		return troy.Errorf(troy.Invalid, "the host %q has only one label; expected a whole name like www.example.com", shown)
	case isNumber(host[strings.LastIndexByte(host, '.')+1:]):
		return troy.Errorf(troy.Invalid, "the host %q ends in a number, which only IP addresses do; expected a domain name like www.example.com", shown)
	case host == suffix && (icann || strings.Contains(suffix, ".")):
		return troy.Errorf(troy.Invalid, "%q is a public suffix, under which everyone can register names; expected a name under it, like www.example.%s", shown, suffix)
	}
	return nil
}

func isNumber(label string) bool { return strings.Trim(label, "0123456789") == "" }

// checkScripts refuses labels that mix scripts, because they look like other
// names. Those that writing systems combine are allowed (UTS #39, "highly
// restrictive").
func checkScripts(host, shown string) *troy.Error {
	text, err := profile.ToUnicode(host)
	if err != nil {
		return troy.Errorf(troy.Invalid, "the host %q has an invalid label that begins with xn--; type the name in its own script", shown)
	}
	for label := range strings.SplitSeq(text, ".") {
		if scripts := scriptsOf(label); !combined(scripts) {
			return troy.Errorf(troy.Invalid, "the host %q mixes the scripts %s in one label, so it could be taken for another name; expected letters of one script", shown, strings.Join(scripts, " and "))
		}
	}
	return nil
}

// scriptsOf returns the names of the scripts of a label, in the order in which
// they appear.
func scriptsOf(label string) []string {
	var found []string
runes:
	for _, r := range label {
		if r < 0x80 && !unicode.IsLetter(r) || unicode.In(r, unicode.Common, unicode.Inherited) {
			continue
		}
		for _, name := range found {
			if unicode.Is(unicode.Scripts[name], r) {
				continue runes
			}
		}
		for name, table := range unicode.Scripts {
			if unicode.Is(table, r) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// combined reports whether one writing system uses the scripts together.
func combined(scripts []string) bool {
	if len(scripts) < 2 {
		return true
	}
	for _, system := range []string{" Latin Han Hiragana Katakana ", " Latin Han Bopomofo ", " Latin Han Hangul "} {
		all := true
		for _, s := range scripts {
			all = all && strings.Contains(system, " "+s+" ")
		}
		if all {
			return true
		}
	}
	return false
}

// UnicodeHost returns a host as people read it: labels of other scripts than
// ASCII are not in punycode. It is for display beside the host.
func UnicodeHost(host string) string {
	rest, wildcard := strings.CutPrefix(host, "*.")
	text, err := profile.ToUnicode(rest)
	if err != nil {
		return host
	}
	if wildcard {
		text = "*." + text
	}
	return text
}

// HostPair returns the other one of a domain's apex and its www host, as
// publicsuffix.org knows apexes. It returns "" for other hosts.
func HostPair(host string) string {
	apex, err := publicsuffix.EffectiveTLDPlusOne(host)
	switch {
	case err != nil || strings.HasPrefix(host, "*."):
		return ""
	case host == apex && len(host)+len("www.") <= MaxCustomHost:
		return "www." + host
	case host == "www."+apex:
		return apex
	}
	return ""
}

// HostZone returns the domain that was registered for a host, whose DNS zone
// has its records unless a subdomain is delegated.
func HostZone(host string) string {
	host = strings.TrimPrefix(host, "*.")
	if apex, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return apex
	}
	return host
}
