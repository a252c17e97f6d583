package rules

import (
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/password"
)

// maxCredentials is the maximum number of pairs of a user and a password in a
// site's rules. Each costs a hash when the rules are encoded.
const maxCredentials = 100

// denyBasicAuth is the reason of paths whose passwords can't be used.
const denyBasicAuth = "basic-auth"

// isBasicAuth reports whether a line or a name is Netlify's password rule.
func isBasicAuth(s string) bool {
	name, _, _ := strings.Cut(s, ":")
	return strings.EqualFold(strings.TrimSpace(name), "Basic-Auth")
}

// basicAuth adds the users in a value, which are separated by spaces, to those
// of a rule. Its messages contain no part of the value.
func (c *compiler) basicAuth(r *HeaderRule, at position, value string) {
	if r.auth.line == 0 {
		r.auth = at
	}
	if c.functions {
		return // protect says so
	}
	items := strings.Fields(value)
	for i, pair := range items {
		user, word, _ := strings.Cut(pair, ":")
		switch {
		case user == "" || word == "" || badCredential(pair):
			c.error(at, CodePassword, "user %d of %d is not in the form user:password, so it is ignored", i+1, len(items))
			continue
		case len(pair) > password.MaxBytes:
			c.error(at, CodePassword, "user %d of %d has more than %d bytes with the password, so it is ignored", i+1, len(items), password.MaxBytes)
			continue
		}
		n, known := c.credentials[pair]
		if !known {
			if n = len(c.rules.pairs); n == maxCredentials {
				c.error(at, CodeLimit, "the site has more than %d users with passwords, so user %d of %d is ignored", maxCredentials, i+1, len(items))
				continue
			}
			c.credentials[pair] = n
			c.rules.pairs = append(c.rules.pairs, pair)
		}
		if !slices.Contains(r.Users, n) {
			r.Users = append(r.Users, n)
		}
	}
}

// badCredential reports whether browsers can't send a pair (RFC 7617 §2).
func badCredential(pair string) bool { return strings.ContainsFunc(pair, isControl) }

// protect adds a rule with Basic-Auth. No limit can make its path public.
func (c *compiler) protect(r *HeaderRule) {
	switch {
	case c.functions:
		c.error(r.auth, CodePassword, "Basic-Auth protects %q, which is not supported on AWS, so the deployment is refused", clip(r.from))
	case r.Deny == "" && len(r.Users) == 0:
		c.error(r.auth, CodePassword, "Basic-Auth names no user that can be used, so requests for %q are refused with status 403", clip(r.from))
	case r.Deny == "":
		if !c.mayProtect(r.at) {
			return
		}
		if c.headers++; c.headers > maxHeaderRules && len(r.Headers) > 0 {
			c.error(r.at, CodeLimit, "the site has more than %d paths with headers, so the headers of this one are ignored", maxHeaderRules)
			r.Headers = nil
		}
		c.notice(r.auth, CodePassword, "the password in this file protects %q for %s; Troy does not publish the file", clip(r.from), troy.Count(len(r.Users), "user", "users"))
		c.rules.Headers = append(c.rules.Headers, *r)
		return
	}
	denied := *r
	denied.Deny = denyBasicAuth
	c.deny(denied)
}

// hide refuses requests for configuration files that have passwords, which may
// be files of the site.
func (c *compiler) hide() {
	for i, name := range c.files {
		if c.hidden[name] {
			c.deny(HeaderRule{Where: Where{Path: "/" + name}, Deny: denyBasicAuth, at: position{i, 0}, from: name})
		}
	}
}
