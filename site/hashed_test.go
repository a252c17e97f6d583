package site

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
)

const (
	hexDigits = "0123456789abcdef"
	base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	base32    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

// tools are the default file names of bundlers; @ stands for a hash.
var tools = []struct {
	name, alphabet string
	length         int
	first          string // the first character of rollup's hashes, three times in four
	patterns       []string
}{
	{"Vite", base64url, 8, "BCD", []string{"assets/index-@.js", "assets/page12-@.css", "assets/logo-@.svg", "assets/inter-latin-400-@.woff2", "assets/index-legacy-@.js", "assets/report-@.pdf"}},
	{"VitePress", base64url, 8, "BCD", []string{"assets/guide_index.md.@.js", "assets/guide_index.md.@.lean.js", "assets/chunks/theme.@.js"}},
	{"Rollup", base64url, 8, "BCD", []string{"page12-@.js", "vendor-@.mjs", "index-@.js.map"}},
	{"SvelteKit", base64url, 8, "BCD", []string{"_app/immutable/entry/start.@.js", "_app/immutable/chunks/@.js", "_app/immutable/assets/0.@.css"}},
	{"Astro", base64url, 8, "BCD", []string{"_astro/index.@.css", "_astro/hoisted.@.js", "docs/_astro/hero.@_Z1abcd.webp"}},
	{"Nuxt", base64url, 8, "BCD", []string{"_nuxt/@.js", "_nuxt/entry.@.css"}},
	{"esbuild", base32, 8, "", []string{"chunk-@.js", "logo-@.png", "main-@.css", "main-@.js.map"}},
	{"Angular", base32, 8, "", []string{"main-@.js", "polyfills-@.js", "styles-@.css", "media/inter-@.woff2"}},
	{"Angular, webpack", hexDigits, 16, "", []string{"main.@.js", "123.@.js", "styles.@.css"}},
	{"webpack", hexDigits, 20, "", []string{"main.@.js", "src_page230_js.@.js", "787.@.css"}},
	{"Create React App", hexDigits, 8, "", []string{"static/js/main.@.js", "static/js/787.@.chunk.js", "static/css/main.@.css", "static/js/main.@.js.LICENSE.txt", "static/js/main.@.js.map"}},
	{"Vue CLI", hexDigits, 8, "", []string{"js/chunk-vendors.@.js", "css/app.@.css", "img/logo.@.png"}},
	{"Parcel", hexDigits, 8, "", []string{"index.@.js", "page12.@.css", "logo.@.png"}},
	{"Next.js", hexDigits, 16, "", []string{"_next/static/chunks/framework-@.js", "_next/static/css/@.css", "_next/static/media/@-s.p.woff2"}},
	{"Gatsby", hexDigits, 20, "", []string{"component---src-pages-index-js-@.js", "app-@.js", "styles.@.css"}},
	{"Gatsby, images", hexDigits, 32, "", []string{"static/@/e5e3c/photo.jpg"}},
	{"Docusaurus", hexDigits, 8, "", []string{"assets/js/main.@.js", "assets/css/styles.@.css"}},
	{"Ember", hexDigits, 32, "", []string{"assets/vendor-@.js", "assets/logo-@.png"}},
	{"Hugo", hexDigits, 64, "", []string{"css/main.min.@.css", "js/main.@.js"}},
}

// TestHashesOfBundlers checks that Hashed finds 99.9 % of each tool's hashes.
func TestHashesOfBundlers(t *testing.T) {
	t.Parallel()
	const n = 40_000
	r := rand.New(rand.NewPCG(1, 2))
	for _, tool := range tools {
		missed, lost, example := 0, 0, ""
		for i := range n {
			hash := make([]byte, tool.length)
			for j := range hash {
				hash[j] = tool.alphabet[r.IntN(len(tool.alphabet))]
			}
			if tool.first != "" && i%4 > 0 {
				hash[0] = tool.first[r.IntN(len(tool.first))]
			}
			p := strings.ReplaceAll(tool.patterns[i%len(tool.patterns)], "@", string(hash))
			if !Hashed(p) {
				missed++
				example = p
			} else if !Carries(p) && kindOf(p) != asset {
				lost++
				example = p
			}
		}
		t.Logf("%-17s %.3f %% of %d hashes found", tool.name, 100-100*float64(missed)/n, n)
		if missed+lost > n/1000 {
			t.Errorf("%s: %d of %d hashes are missed, %d not carried, as in %s", tool.name, missed, n, lost, example)
		}
	}
}

// words are words that people use in file names.
const words = `about account action admin advert agenda album alert analytics android animation annual api app april archive area
article artist asset attachment audio august author avatar back background badge balance banner base basic beach before blog
blue board book booking bottom box brand breadcrumb bridge brochure browser budget building bundle business button calendar
camera campaign card career carousel cart case catalog category center certificate change chapter chart checkout children city
classic client cloud code collection color column comment common community company component concert config confirm contact
content contract control cookie copy corner country course cover create credit customer dark dashboard data database date
december default delivery demo deploy design desktop detail developer dialog diagram digital direction discount display
document domain download draft drawer dropdown education effect element email emoji employee energy engine error estimate
europe event example exhibit export extension external face factory family favicon feature february feedback festival field
figure file filter finance flag flower folder font footer forest form forum frame framework friday front function gallery game
garden general germany getting gift global graph green grid group guide hamburger handbook header health hero history holiday
home hospital hotel house icon image import index industry info input insight install instruction interview invoice item
january jquery july june keyboard keyword label landing language laptop large layout leader learn legal letter library license
light line link list loading local location login logo mail main manager manual map march market material meeting member memory
menu message method mobile modal model modern module monday money month mountain museum music navigation network news
newsletter night notes notice november number october office online open option order original outline overview package page
panel paper parent partner password payment people performance person phone photo picture plan platform player plugin podcast
policy popup portfolio portrait position post poster preview price primary print privacy process product profile program
progress project promo public quality question quote rating reader readme receipt recipe red register release remote report
request research resource response restaurant result review river room route sample schedule school science screen script
scroll search season secondary section security select server service session setting shadow share shipping shop sidebar
signup simple sketch slide slider small snippet social source space speaker spinner sponsor spring square standard start state
statement static station status sticky stock store story student style subscribe summary summer sunday support survey switch
symbol system table tablet team template terms test texture theme thumbnail ticket time timeline title toggle tomorrow tool
tooltip top tour town track training transfer travel tree tutorial typography update upload user utility vacation validate
vector vendor version video view village visitor vote wallet warning water wave weather website wedding weekly welcome white
widget window winter wizard woman workshop world yellow zoom`

var (
	acronyms = strings.Fields(`API PDF HTML CSS JSON XML URL SQL UI ID OS iOS USA UK EU GPS USB RGB SVG PNG FAQ CTO CEO BBC NASA DNA
		SDK CLI GUI AWS GCP S3 MP3 MP4 V2 V3 ES6 HD 4K 3D B2B P2P OAuth2 IPv6 UTF8 DSGVO WLAN TÜV OpenAPI GitHub XHR WebGL GraphQL LaTeX`)
	extensions = strings.Fields("js css json pdf png jpg svg webp woff2 mp4 txt zip map xml")
	places     = []string{"", "assets/", "images/", "static/js/", "downloads/2024/", "assets/img/"}
)

// ordinary returns a random name as people write them.
func ordinary(r *rand.Rand, lists [2][]string) string {
	word := func() string { return lists[0][r.IntN(len(lists[0]))] }
	title := func() string { w := word(); return strings.ToUpper(w[:1]) + w[1:] }
	acronym := func() string { return lists[1][r.IntN(len(lists[1]))] }
	separator := func() string { return string("--__."[r.IntN(5)]) }
	date := func(layout string) string { return fmt.Sprintf(layout, 1995+r.IntN(35), 1+r.IntN(12), 1+r.IntN(28)) }
	switch r.IntN(18) {
	case 0, 1:
		return word()
	case 2, 3:
		return word() + separator() + word()
	case 4:
		return word() + "-" + word() + "-" + word()
	case 5:
		return title() + separator() + title()
	case 6:
		return title() + title() + title()
	case 7:
		return word() + separator() + title() + title()
	case 8:
		return acronym() + title() + acronym()
	case 9:
		return word() + separator() + title() + acronym()
	case 10:
		return word() + separator() + acronym() + title()
	case 11:
		return strings.ToUpper(word()) + separator() + strings.ToUpper(word())
	case 12:
		return word() + separator() + date([]string{"%d%02d%02d", "%d-%02d-%02d", "%d%02d%02da", "%d_%02d%02d"}[r.IntN(4)])
	case 13:
		return fmt.Sprintf("%s%s%d.%d.%d", word(), separator(), r.IntN(20), r.IntN(20), r.IntN(20))
	case 14:
		return fmt.Sprintf("%s%sv%d%s", word(), separator(), r.IntN(30), []string{"", "-beta", "rc1", "_final"}[r.IntN(4)])
	case 15:
		return fmt.Sprintf("%s%s%0*d", []string{"IMG", "DSC", "photo", "scan", "INV"}[r.IntN(5)], string("-_"[r.IntN(2)]), 3+r.IntN(8), r.IntN(1e8))
	case 16:
		return fmt.Sprintf("%s-%dx%d", word(), 16<<r.IntN(7), 16<<r.IntN(7))
	}
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48))
}

// TestOrdinaryNames checks that Hashed takes at most one ordinary name in a
// thousand for hashed.
func TestOrdinaryNames(t *testing.T) {
	t.Parallel()
	const n = 60_000
	r := rand.New(rand.NewPCG(3, 4))
	lists := [2][]string{strings.Fields(words), acronyms}
	taken := map[string][]string{}
	for range n {
		place := places[r.IntN(len(places))]
		p := place + ordinary(r, lists) + "." + extensions[r.IntN(len(extensions))]
		if Hashed(p) {
			taken[place] = append(taken[place], path.Base(p))
		}
	}
	for _, place := range places {
		t.Logf("%-16q %.3f %% of ordinary names taken for hashed: %q", place, 100*float64(len(taken[place]))*float64(len(places))/n, taken[place])
		if len(taken[place]) > n/len(places)/1000 {
			t.Errorf("%q: %d of %d ordinary names are taken for hashed", place, len(taken[place]), n/len(places))
		}
	}
}

func TestHashed(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"app.4f3a9b1c.js": true, "index-BX3kz0aQ.css": true, "chunk.8d7f6a5b4c.mjs": true, "assets/app.4f3a9b1c.js.map": true,
		"main-app-6cb4d4205dbe6682.js": true, "chunk-7QKXJ4ZB.js": true, "img/logo.4F3A9B1C.svg": true, "vendors.4eadbeef.chunk.js": true,
		"_app/immutable/entry/start.CmkTqZkU.js": true, "_nuxt/C3kzBn4q.js": true, "assets/index-BdPEdpqg.js": true,
		"assets/DMcx_nWD-DMcx_nWD.js": true, "assets/index--q3SDn1k.js": true, "assets/index-_q3SDn1k.js": true,
		"blog/_next/static/Xf0zE7c7V1/_buildManifest.js": true, "_next/static/chunks/main.js": true, "static/js/main.12345678.js": true,
		"_nuxt/builds/meta/3fa85f64-5717-4562-b3fc-2c963f66afa6.json": true, "assets/report-Dq0JJc5l.pdf": true,

		"app.4f3a9b1c.html": false, "documentation.css": false, "bootstrap.min.js": false, "jquery-3.7.1.min.js": false, "deadbeef.js": false,
		"app.4f3a9b1.js": false, "report-20240115.pdf": false, "DSC00012.jpg": false, "JavaScript.png": false, "XMLHttpRequest.js": false,
		"4f3a9b1c/index.js": false, "LICENSE": false, "fonts/inter-latin-400.woff2": false, "assets/photo.jpg": false,
		"XMLHttpRequestAPI.js": false, "OpenAPISpecV3.json": false, "IMG_20240131a.jpg": false, "0123456789.js": false,
		"3fa85f64-5717-4562-b3fc-2c963f66afa6.pdf": false, "assets/3fa85f64-5717-4562-b3fc-2c963f66afa6.pdf": false,
		"assets/AnnualReportUKEdition.pdf": false, "GitHubAPIClientV3.js": false, "RedHatDisplay-Regular.woff2": false,
		"assets/logo-Original.js": false, "assets/logo-ORIGINAL.png": false, "assets/guide-OpenAPIs.js": false, "style.20240608.css": false,
		"ADM-B2B4C2C3.pdf": false, "contract-Dq0JJc5l.pdf": false, "assets/img-20240608.png": false, "app-12345678.js": false,
		"_nuxt/builds/latest.json": false, "my_nuxt/app.js": false, "x_astro/logo.svg": false, "static/logo.png": false,
		"assets/my-new-app.js": false, "data.1234567890abcdef.html": false,
	} {
		if got := Hashed(p); got != want {
			t.Errorf("Hashed(%q) = %v", p, got)
		}
	}
}

// TestCarries checks that an old page keeps its code and that other removed
// files are gone.
func TestCarries(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"assets/index-BX3kz0aQ.css": true, "assets/logo-Dq0JJc5l.svg": true, "main-5B3VN7VQ.js": true, "media/inter-5B3VN7VQ.woff2": true,
		"static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg": true, "index.2a3b4c5d.css": true,
		"photos/staff.2a3b4c5d.jpg": false, "logo-Dq0JJc5l.png": false, "3fa85f64-5717-4562-b3fc-2c963f66afa6.pdf": false,
		"AnnualReportUKEdition.pdf": false, "app.js": false, "index.html": false,
	} {
		if got := Carries(p); got != want {
			t.Errorf("Carries(%q) = %v", p, got)
		}
	}
}

func TestNamesCostNoAllocation(t *testing.T) {
	for _, p := range []string{"assets/index-BX3kz0aQ.css", "assets/logo-MyHTMLAp.svg", "main-5B3VN7VQ.js", "a/B.HTML", "x.JPEG", "_redirects", "a.unknown"} {
		if n := testing.AllocsPerRun(100, func() { Hashed(p); Carries(p); CacheControl(p); ContentType(p) }); n != 0 {
			t.Errorf("%s costs %v allocations", p, n)
		}
	}
}

func BenchmarkHashed(b *testing.B) {
	for _, p := range []string{"assets/index-BX3kz0aQ.css", "assets/app.4f3a9b1c.js", "images/photo-Original.jpg", "index.html"} {
		b.Run(p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Hashed(p)
			}
		})
	}
}
