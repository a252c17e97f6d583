package troy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mozillazg/go-unidecode"
)

// MaxSlug is the maximum length of a slug in characters. A DNS label has at
// most 63 (RFC 1035 §2.3.4); the rest is reserved for the names of previews.
const MaxSlug = 40

var slugForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// reservedSlugs are not allowed as the first label of a site's host. They
// include names that programs look up by themselves: wpad, isatap (both also
// blocked by Microsoft's DNS server), autoconfig, autodiscover, mta-sts (RFC
// 8461 §3.3) and openpgpkey.
var reservedSlugs = []string{
	"admin", "api", "app", "assets", "autoconfig", "autodiscover", "cdn", "dashboard", "dev",
	"ftp", "git", "help", "imap", "isatap", "localhost", "login", "mail", "monitor", "mta-sts", "mx", "ns", "ns1", "ns2",
	"openpgpkey", "pop", "preview", "smtp", "staging", "static", "status", "support", "test", "troy", "webmail", "wpad", "www",
}

// CheckSlug returns an Invalid error if s is not a valid slug: a DNS label (RFC
// 1035 §2.3.1; a leading digit is allowed by RFC 1123 §2.1) of at most MaxSlug
// lower-case characters, without "--", and not reserved.
func CheckSlug(s string) error {
	switch {
	case s == "":
		return Errorf(Invalid, "the slug is empty").At("slug")
	case len(s) > MaxSlug:
		return Errorf(Invalid, "the slug has %d characters; expected at most %d", len(s), MaxSlug).At("slug")
	case !slugForm.MatchString(s):
		return Errorf(Invalid, "the slug %q may contain only lower-case letters, digits and inner hyphens", s).At("slug")
	case strings.Contains(s, "--"):
		return Errorf(Invalid, "the slug %q contains two hyphens in a row", s).At("slug")
	case slices.Contains(reservedSlugs, s):
		return Errorf(Invalid, "the slug %q is reserved; choose another", s).At("slug")
	}
	return nil
}

// SlugFrom returns a slug for an app's name. It transliterates other scripts
// and accents to Latin letters ("Журнал" becomes "zhurnal"). It returns "site"
// for a name without letters and digits, and appends "-site" to a reserved one.
func SlugFrom(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(unidecode.Unidecode(name)) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= MaxSlug {
			break
		}
	}
	s := strings.Trim(b.String(), "-")
	if s == "" {
		return "site"
	}
	if slices.Contains(reservedSlugs, s) {
		s += "-site"
	}
	return s
}

// SlugVariant returns the n-th alternative to a slug that is taken: "blog-2",
// "blog-3", …
func SlugVariant(slug string, n int) string {
	suffix := fmt.Sprintf("-%d", n)
	if len(slug)+len(suffix) > MaxSlug {
		slug = strings.TrimRight(slug[:MaxSlug-len(suffix)], "-")
	}
	return slug + suffix
}
