package site

import (
	"path"
	"strings"
)

// Hashed reports whether p names a file whose name holds a hash of its bytes,
// as bundlers write it, so that the bytes under this name never change and may
// be kept for a year. A file taken for one by mistake would keep its old
// content in browsers that long; one that is missed costs a revalidation.
//
// The place is trusted first. Everything in _next/static/, _app/immutable/,
// _astro/, _nuxt/ and, below static/, in a folder named by 32 hexadecimal
// digits (Gatsby) is hashed: their frameworks say so. Elsewhere the name's
// last part decides, after one of . - _ and before the extensions:
//
//   - 8, 10, 12, 16, 20, 24, 32, 40 or 64 hexadecimal digits in one case, with
//     a letter and a digit among them, that don't end a UUID (webpack, Parcel,
//     Gatsby, Next, Docusaurus). Eight decimal digits count after a dot, if
//     they are not a date;
//   - eight characters of base64url or base 32 that a person would not have
//     written (Vite, Rollup, SvelteKit, Astro, esbuild, Angular).
//
// HTML never counts. Outside the folders that bundlers fill, documents don't
// either: people name them, with part numbers that look like hashes.
func Hashed(p string) bool {
	return !isHTML(p) && (owned(p) || hashForm(p))
}

// Carries reports whether p, once a later deployment leaves it out, stays
// reachable for a while, so that pages that are still open find their scripts
// and styles: a hashed file in a place that bundlers write to, or hashed code
// anywhere. What else was removed is gone at once, whatever its name.
func Carries(p string) bool {
	return !isHTML(p) && (owned(p) || hashForm(p) && (filled(p) || kindOf(p) == code))
}

// Covers reports whether a purge of what reaches p: what is p, a folder of p
// that ends in a slash, or empty for everything.
func Covers(what, p string) bool {
	return what == "" || what == p || strings.HasSuffix(what, "/") && strings.HasPrefix(p, what)
}

// owned reports whether a framework says that whatever is in p's folder has
// its hash in its name.
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

// filled reports whether bundlers put their output where p is, beside what
// people put there.
func filled(p string) bool {
	return within(p, "assets/") || within(p, "media/") || within(p, "static/js/") || within(p, "static/css/") || within(p, "chunks/")
}

// within reports whether p is in a folder, at any depth.
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

// kind is what hashes are looked for in.
type kind uint8

const (
	other kind = iota
	code
	asset // what pages show: images, fonts, sound
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

// hashForm reports whether p's name has the form of a hashed one.
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

// cutExtensions leaves out a name's extension and what tools put between it
// and the hash.
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

// isHex reports whether s has hexadecimal digits only, its letters in one
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

// shouted reports whether s is written in capitals.
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

// isDate reports whether eight digits are a day of 1900 to 2099.
func isDate(s string) bool {
	year, month, day := s[:4], s[4:6], s[6:]
	return (year[:2] == "19" || year[:2] == "20") && "01" <= month && month <= "12" && "01" <= day && day <= "31"
}
