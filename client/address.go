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

// scheme is how an address with one begins (RFC 3986 §3.1).
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// parseURL reads a server's address and leaves out what does not belong to it.
func parseURL(address string) (*url.URL, error) {
	address = strings.TrimSpace(address)
	refuse := func(format string, args ...any) (*url.URL, error) {
		return nil, troy.Errorf(troy.Invalid, format, args...).At("url")
	}
	if address == "" {
		return refuse("the address of the server is empty; it is like https://troy.example.com")
	}
	if !scheme.MatchString(address) {
		if better := withScheme(address); better != "" {
			return refuse("%q has no scheme; did you mean %s?", address, better)
		}
		return refuse("%q is not an address like https://troy.example.com", address)
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return refuse("%q is not an address like https://troy.example.com: %w", withoutUser(address), errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("%q has the scheme %s; it must be http or https", u.Redacted(), u.Scheme)
	case u.Hostname() == "":
		return refuse("%q has no host; an address is like https://troy.example.com", u.Redacted())
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return refuse("%q has more than a scheme, a host and a path", u.Redacted())
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1")
	u.RawPath = ""
	return u, nil
}

// withoutUser hides a password in what can't be parsed.
func withoutUser(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "…" + address[i:]
	}
	return address
}

// withScheme is the address that was likely meant: this machine's own is
// http, all others are https. It is "" for what is not a host.
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
