package troy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mozillazg/go-unidecode"
)

// MaxSlug is the most characters a slug has. A DNS label has 63 (RFC 1035
// §2.3.4); the rest is kept for the names of previews.
const MaxSlug = 40

var slugForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// reservedSlugs cannot be the first label of a site's host. Among them are the
// names that programs look up by themselves: wpad, isatap (both withheld by
// Microsoft's DNS server too), autoconfig, autodiscover, mta-sts (RFC 8461 §3.3)
// and openpgpkey.
var reservedSlugs = []string{
	"admin", "api", "app", "assets", "autoconfig", "autodiscover", "cdn", "dashboard", "dev",
	"ftp", "git", "help", "imap", "isatap", "localhost", "login", "mail", "monitor", "mta-sts", "mx", "ns", "ns1", "ns2",
	"openpgpkey", "pop", "preview", "smtp", "staging", "static", "status", "support", "test", "troy", "webmail", "wpad", "www",
}

// CheckSlug reports what keeps s from being a pipeline's slug: a DNS label
// (RFC 1035 §2.3.1, digits first allowed by RFC 1123 §2.1) of at most MaxSlug
// lower-case characters, without "--", and not reserved.
func CheckSlug(s string) error {
	switch {
	case s == "":
		return Errorf(Invalid, "the slug is empty").At("slug")
	case len(s) > MaxSlug:
		return Errorf(Invalid, "the slug has %d characters; at most %d are allowed", len(s), MaxSlug).At("slug")
	case !slugForm.MatchString(s):
		return Errorf(Invalid, "the slug %q may have lower-case letters, digits and inner hyphens only", s).At("slug")
	case strings.Contains(s, "--"):
		return Errorf(Invalid, "the slug %q may not have two hyphens in a row", s).At("slug")
	case slices.Contains(reservedSlugs, s):
		return Errorf(Invalid, "the slug %q is reserved; choose another", s).At("slug")
	}
	return nil
}

// SlugFrom makes a slug of an app's name. Other scripts and accents are
// written in Latin letters ("Журнал" becomes "zhurnal"). A name without a
// letter or a digit becomes "site"; a reserved one gets "-site".
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

// SlugVariant makes the n-th candidate for a slug that is taken: "blog-2",
// "blog-3", …
func SlugVariant(slug string, n int) string {
	suffix := fmt.Sprintf("-%d", n)
	if len(slug)+len(suffix) > MaxSlug {
		slug = strings.TrimRight(slug[:MaxSlug-len(suffix)], "-")
	}
	return slug + suffix
}
