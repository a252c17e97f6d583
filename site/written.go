package site

import "strings"

// Costs of a name are counted in half bits. A random string of eight characters
// costs 96 as base64url and 80 as base 32. If spelling a string as words,
// abbreviations and numbers is cheaper by a margin, a person wrote it.
//
// The limits keep the risk of missing a hash below one in a thousand. That
// follows from theory: if the costs were exact, at most 2^-n of all random
// strings could be n bits cheaper than themselves.
const (
	base64Limit = 77
	base32Limit = 68
	tooDear     = 1 << 10
)

// letterCost is the cost of each letter after another one; the first row is for
// the start of a word. '0' is 0, and each following character is half a bit
// more. The figures come from a list of English words and from names of files
// in Linux packages.
const letterCost = "" +
	"88799:7;9==99;;8?978::;=@@" +
	"A:89@=:@9D=696C8@686;<=@<?" + // after a
	"6:;?4@>A7;B6<?7>@88=7AA?<A" +
	"7B<A7AA7;G84=A5=E9<8:BEF=E" +
	"6<>:3<;@6@=:=;7=D99>9@>D<C" +
	"9<97;<=A>D@8:7><?557><=9=C" +
	"7B=>78?C4E@7=@7?D7997DBE<I" +
	"9=3@5A;;8FA9>:8<C8:>9CBE>C" +
	"3B?<4ADE7IA>=?6>E:<89FAI;B" +
	"::899:9DAE?8849:C:77A;E=I=" +
	"5D>;4CBF8IDA>>68AA6B6?=EII" +
	"8=<<3=;=6B?::;:>B<6<:@>D:E" +
	"7??;5>@C5G?8?A48EA:::=DD;C" +
	"59=85@AD7FA:9?66CA:>9CAC<G" +
	"7?876:6@8A;>@:9>C?76:<AC>B" +
	";;:9?=;A<B<88598G69:5<:?>B" +
	"7?<<6A<67F=7>>79E7998>AE;I" +
	"=>>>?=?A?DF4@=>?D=<?1=AEDD" +
	"6>;;4>;A6G;<:;6=E:889<?F:G" +
	"8>9=6@@87E<;<=99=?84:?=D:G" +
	"5@<?4<B86GA<=A7=I789:B<D:A" +
	"<::49=<D9F>897?9I776BCG<C?" +
	"5>>B3?;D5G??9@8<IB>;=BE@?E" +
	"5@==5A@95I>;@96>E87=@ABG;E" +
	"9?9<7;A=8G@98><4E?95<=@;<A" +
	"8<9;8?=@:E:97996E:49<@=AD=" +
	"6B>>3@>;6IB;;?7@G?9<;FAF97" // after z

// abbreviations must match exactly.
const abbreviations = " 2D 3D 4K 5G AI API APIs AWS B2B B2C BBC BIOS BMP BOM CAD CD CDN CEO CGI CI CLI CMS CMYK CPU CRM CSS CSV CTA CTO" +
	" CV CVE DB DE DIY DKIM DNA DNS DOM DPI DSL DVD EAN EN ERP ES5 ES6 EU FAQ FAQs FM FR FTP GB GCP GDPR GIF GIS GL GPL GPS" +
	" GPU GPX GUI GmbH HD HDR HQ HR HTML HTML5 HTTP HTTPS I18n IBM ID IDs IE IO IP IPv4 IPv6 IRC ISBN ISO IT JPEG JPG JS JSON" +
	" JVM JWT KML KPI L10n LAN LCD LDAP LED LLM LMS LTE LaTeX M3U8 MAC MD5 MHz MIDI MIT ML MP3 MP4 MPEG MacOS NASA NATO NDA" +
	" NFC NFT NGO NLP NPM OAuth OAuth2 OCR OEM OK OS OSS OSX P2P PC PDF PDFs PHP PIN PNG POS PR PSD Q1 Q2 Q3 Q4 QA QR RAM RDF REST" +
	" RFC RGB RGBA RNA ROI RPC RSS RTL S3 SDK SEO SHA SHA1 SHA256 SIM SMS SMTP SNS SOAP SPA SQL SQS SSD SSH SSL SSO SVG SaaS" +
	" TCP TLS TOC TODO TS TV UDP UI UK UML UN URI URL URLs US USA USB UTC UTF UTF8 UUID UX V1 V2 V3 VAT VIP VM VPN VR WWII" +
	" WWW WebGL WiFi XHR XL XML XSS YAML ZIP a11y app ePub i18n iOS iPad iPhone img k8s lib max min mp3 mp4 pb2 pdf src svg" +
	" v1 v2 v3 web x64 x86 "

type class uint8

const (
	lower class = iota
	upper
	digit
	mark // - and _
	foreign
)

func classOf(c byte) class {
	switch {
	case 'a' <= c && c <= 'z':
		return lower
	case 'A' <= c && c <= 'Z':
		return upper
	case '0' <= c && c <= '9':
		return digit
	case c == '-' || c == '_':
		return mark
	}
	return foreign
}

// written reports whether a person would have written s (at most 16
// characters): whether some spelling of it costs at most limit.
func written(s string, limit int) bool {
	if isSize(s) {
		return true
	}
	if even := evenCost(s); even >= 0 {
		return even <= limit
	}
	var least [17]int // indexed by the number of spelled characters of s
	for i := range least {
		least[i] = tooDear
	}
	least[0] = 4 // the cost of an uneven name
	for i := range len(s) {
		for n := 2; n <= 8 && i+n <= len(s); n++ {
			if abbreviated(s, i, n) {
				least[i+n] = min(least[i+n], least[i]+17)
			}
		}
		end := runEnd(s, i)
		switch classOf(s[i]) {
		case lower:
			if i == 0 || classOf(s[i-1]) != upper {
				least[end] = min(least[end], least[i]+wordCost(end-i)+spell(s[i:end], 0))
			}
		case upper:
			for capitals := i + 1; capitals <= end; capitals++ {
				least[capitals] = min(least[capitals], least[i]+8+spell(s[i:capitals], 1))
			}
			if i+1 < len(s) && classOf(s[i+1]) == lower {
				word := runEnd(s, i+1)
				least[word] = min(least[word], least[i]+wordCost(word-i)+spell(s[i:word], 0))
			}
		case digit:
			cost := 7 * (end - i)
			if isYear(s[i:end]) {
				cost = 16
			}
			least[end] = min(least[end], least[i]+6+cost)
		case mark:
			if i > 0 && i+1 < len(s) {
				least[i+1] = min(least[i+1], least[i]+6)
			}
		case foreign:
			return true
		}
	}
	return least[len(s)] <= limit
}

// wordCost returns the cost of a word in addition to its letters. Short words
// are rare.
func wordCost(letters int) int {
	if letters < 3 {
		return 10
	}
	return 3
}

// evenCost returns the cost of a name in a single style, as most names are:
// small letters, capitals, a capital before small letters, or words of small
// letters with separators. It returns -1 for any other name.
func evenCost(s string) int {
	var count [foreign + 1]int
	for i := range len(s) {
		count[classOf(s[i])]++
	}
	switch n := len(s); {
	case count[lower] == n, count[lower] == n-1 && classOf(s[0]) == upper:
		return spell(s, 0)
	case count[upper] == n:
		return 6 + spell(s, 0)
	case count[lower]+count[mark] == n && count[lower] > 0:
		return 7*count[mark] + spell(s, 0)
	}
	return -1
}

// spell returns the cost of the letters of s plus more for each of them.
func spell(s string, more int) int {
	cost, row := 0, 0
	for i := range len(s) {
		c := classOf(s[i])
		if c == mark {
			row = 0
			continue
		}
		letter := int(s[i]|0x20) - 'a'
		cost += int(letterCost[26*row+letter]-'0') + more
		row = 1 + letter
	}
	return cost
}

// abbreviated reports whether the n characters of s at i are an abbreviation
// and not part of a longer word.
func abbreviated(s string, i, n int) bool {
	begins := i == 0 || classOf(s[i]) != lower || classOf(s[i-1]) != lower
	ends := i+n == len(s) || classOf(s[i+n-1]) != lower || classOf(s[i+n]) != lower
	return begins && ends && listed(s[i:i+n])
}

// listed reports whether word is one of the abbreviations.
func listed(word string) bool {
	rest := abbreviations
	for {
		i := strings.Index(rest, word)
		if i < 0 {
			return false
		}
		if rest[i-1] == ' ' && rest[i+len(word)] == ' ' {
			return true
		}
		rest = rest[i+len(word):]
	}
}

// isSize reports whether s is a picture's size, such as 1024x768.
func isSize(s string) bool {
	width, height, found := strings.Cut(s, "x")
	return found && allDigits(width) && allDigits(height)
}

func allDigits(s string) bool { return s != "" && runEnd(s, 0) == len(s) && classOf(s[0]) == digit }

func isYear(s string) bool { return len(s) == 4 && (s[:2] == "19" || s[:2] == "20") }

// runEnd returns the end of the run of characters of one class that begins at
// i.
func runEnd(s string, i int) int {
	c := classOf(s[i])
	for i < len(s) && classOf(s[i]) == c {
		i++
	}
	return i
}
