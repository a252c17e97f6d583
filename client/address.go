package client

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/troy-iaas/troy"
)

// scheme matches the beginning of an address with a scheme (RFC 3986 §3.1).
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// parseURL parses a server's address and removes a trailing /v1. Errors are
// Invalid.
func parseURL(address string) (*url.URL, error) {
	address = strings.TrimSpace(address)
	refuse := func(format string, args ...any) (*url.URL, error) {
		return nil, troy.Errorf(troy.Invalid, format, args...).At("url")
	}
	if address == "" {
		return refuse("the server's address is empty; expected an address like https://troy.example.com")
	}
	if !scheme.MatchString(address) {
		if better := withScheme(address); better != "" {
			return refuse("%q has no scheme; did you mean %s?", address, better)
		}
		return refuse("%q is not a valid address; expected an address like https://troy.example.com", address)
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return refuse("%q is not a valid address; expected an address like https://troy.example.com: %w", withoutUser(address), errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("%q has the scheme %s; expected http or https", u.Redacted(), u.Scheme)
	case u.Hostname() == "":
		return refuse("%q has no host; expected an address like https://troy.example.com", u.Redacted())
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return refuse("%q contains more than a scheme, a host and a path", u.Redacted())
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1")
	u.RawPath = ""
	return u, nil
}

// withoutUser removes the user and password from an address that can't be
// parsed.
func withoutUser(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "…" + address[i:]
	}
	return address
}

// withScheme returns the address that was probably meant: http for this
// machine, https for all others. It returns "" if address is not a host.
func withScheme(address string) string {
	u, err := url.Parse("https://" + strings.TrimLeft(address, ":/"))
	if err != nil || u.User != nil || u.Hostname() == "" || strings.ContainsAny(u.Host, " ") {
		return ""
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || err == nil && (ip.IsLoopback() || ip.IsPrivate()) {
		u.Scheme = "http"
	}
	if _, port, err := net.SplitHostPort(u.Host); err == nil && port == "80" {
		u.Scheme = "http"
	}
	return u.String()
}
