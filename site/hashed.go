package site

import (
	"path"
	"strings"
)

// Hashed reports whether p names a file whose name contains a hash of its
// content, as bundlers write it. The content of such a name never changes, so
// clients may keep it for a year. A false positive would stay outdated in
// browsers for that long; a false negative costs a revalidation.
//
// The location decides first. Everything in _next/static/, _app/immutable/,
// _astro/, _nuxt/ and, below static/, in a folder named with 32 hexadecimal
// digits (Gatsby) is hashed, as the frameworks document. Elsewhere the last
// part of the name decides, after one of . - _ and before the extensions:
//
//   - 8, 10, 12, 16, 20, 24, 32, 40 or 64 hexadecimal digits in one case,
//     including a letter and a digit, that don't end a UUID (webpack, Parcel,
//     Gatsby, Next, Docusaurus). Eight decimal digits count after a dot, unless
//     they are a date;
//   - eight characters of base64url or base 32 that a person would not have
//     written (Vite, Rollup, SvelteKit, Astro, esbuild, Angular).
//
// HTML never counts. Outside the folders that bundlers fill, documents don't
// count either, because people give them names with part numbers that look like
// hashes.
func Hashed(p string) bool {
	return !isHTML(p) && (owned(p) || hashForm(p))
}

// Carries reports whether p stays reachable for a while after a later
// deployment leaves it out, so that open pages still find their scripts and
// styles. It is true for a hashed file in a folder that bundlers write to, and
// for hashed code anywhere. Other removed files are gone at once.
func Carries(p string) bool {
	return !isHTML(p) && (owned(p) || hashForm(p) && (filled(p) || kindOf(p) == code))
}

// Covers reports whether a purge of what includes p. what is a path, a folder
// that ends with a slash, or "" for everything.
func Covers(what, p string) bool {
	return what == "" || what == p || strings.HasSuffix(what, "/") && strings.HasPrefix(p, what)
}

// owned reports whether the framework guarantees that every file in p's folder
// has a hash in its name.
func owned(p string) bool {
	if within(p, "_nuxt/builds/") {
		return within(p, "_nuxt/builds/meta/") // latest.json is not an asset
	}
	if within(p, "_next/static/") || within(p, "_app/immutable/") || within(p, "_astro/") || within(p, "_nuxt/") {
		return true
	}
	_, below, found := strings.Cut(p, "static/")
	folder, _, inFolder := strings.Cut(below, "/")
	return found && inFolder && len(folder) == 32 && isHex(folder)
}

// filled reports whether p is in a folder that both bundlers and people write
// to.
func filled(p string) bool {
	return within(p, "assets/") || within(p, "media/") || within(p, "static/js/") || within(p, "static/css/") || within(p, "chunks/")
}

// within reports whether p is in the folder, at any depth.
func within(p, folder string) bool {
	for {
		i := strings.Index(p, folder)
		if i < 0 {
			return false
		}
		if i == 0 || p[i-1] == '/' {
			return true
		}
		p = p[i+len(folder):]
	}
}

// kind is the kind of file that may have a hash in its name.
type kind uint8

const (
	other kind = iota
	code
	asset // images, fonts, sound
)

func kindOf(p string) kind {
	if strings.HasSuffix(p, ".js.LICENSE.txt") {
		return code // webpack's, beside the script
	}
	switch strings.TrimPrefix(path.Ext(p), ".") {
	case "js", "mjs", "cjs", "css", "map", "wasm":
		return code
	case "png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "woff", "woff2", "ttf", "otf", "eot",
		"mp4", "webm", "mp3", "ogg", "wav", "m4a":
		return asset
	}
	return other
}

// hashForm reports whether p's name has the form of a hashed name.
func hashForm(p string) bool {
	is, place := kindOf(p), filled(p)
	if is == other && !place {
		return false
	}
	stem := cutExtensions(path.Base(p))
	at := strings.LastIndexAny(stem, ".-_~")
	if last := stem[at+1:]; hexLength(len(last)) && isHex(last) && !endsInUUID(stem) {
		switch letters, digits := composition(last); {
		case letters > 0 && digits > 0:
			return at > 0 || place && len(last) >= 16
		case letters == 0:
			return at > 0 && stem[at] == '.' && is != other && len(last) == 8 && !isDate(last)
		}
	}
	const n = 8
	if len(stem) < n+2 || strings.IndexByte(".-_", stem[len(stem)-n-1]) < 0 {
		return false
	}
	before, last := stem[:len(stem)-n-1], stem[len(stem)-n:]
	limit := base64Limit
	if inBase32(last) {
		if shouted(before) {
			return false
		}
		if !within(p, "assets/") { // where Vite writes, and esbuild doesn't
			limit = base32Limit
		}
	}
	return !written(last, limit)
}

// cutExtensions removes a name's extension and the suffixes that tools put
// between it and the hash.
func cutExtensions(name string) string {
	name = strings.TrimSuffix(name, path.Ext(name))
	for {
		switch ext := path.Ext(name); ext {
		case ".js", ".mjs", ".css", ".LICENSE", ".chunk", ".bundle", ".min", ".lean", ".module":
			name = strings.TrimSuffix(name, ext)
		default:
			return name
		}
	}
}

func hexLength(n int) bool {
	switch n {
	case 8, 10, 12, 16, 20, 24, 32, 40, 64:
		return true
	}
	return false
}

// isHex reports whether s consists of hexadecimal digits with letters of one
// case.
func isHex(s string) bool {
	lower, upper := false, false
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'f':
			lower = true
		case 'A' <= c && c <= 'F':
			upper = true
		default:
			return false
		}
	}
	return !lower || !upper
}

func composition(s string) (letters, digits int) {
	for i := range len(s) {
		if classOf(s[i]) == digit {
			digits++
		} else {
			letters++
		}
	}
	return letters, digits
}

func inBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// shouted reports whether s is in capitals.
func shouted(s string) bool {
	capitals := false
	for i := range len(s) {
		switch classOf(s[i]) {
		case lower:
			return false
		case upper:
			capitals = true
		}
	}
	return capitals
}

// endsInUUID reports whether s ends in 8-4-4-4-12 hexadecimal digits
// (RFC 9562 §4).
func endsInUUID(s string) bool {
	const n = 36
	if len(s) < n {
		return false
	}
	s = s[len(s)-n:]
	for i := range n {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') {
			return false
		}
	}
	return true
}

// isDate reports whether eight digits are a date from 1900 to 2099.
func isDate(s string) bool {
	year, month, day := s[:4], s[4:6], s[6:]
	return (year[:2] == "19" || year[:2] == "20") && "01" <= month && month <= "12" && "01" <= day && day <= "31"
}
