package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
)

// guard returns the rule that decides who may see an answer, plus 1: the last
// one that matches the request's path or an address of the file, so that no
// rewrite and no file name goes around it. A rule with Deny counts before all
// others.
func (m *Matcher) guard(host, path string, a site.Answer) (guard int, denied bool) {
	paths := []string{path}
	if a.Path != "" && !a.Redirect {
		file := "/" + a.Path
		paths = append(paths, file, strings.TrimSuffix(file, ".html"), strings.TrimSuffix(file, "index.html"), strings.TrimSuffix(file, "/index.html"))
	}
	var room [16]int32
	for i, p := range paths {
		if p == "" || slices.Contains(paths[:i], p) {
			continue
		}
		for _, n := range m.headers.matching(host, p, room[:0]) {
			r := &m.headers.rules[n]
			if r.Deny != "" {
				return 0, true
			}
			if r.Users != nil {
				guard = max(guard, int(n)+1)
			}
		}
	}
	return guard, false
}

// Credentials returns the hashes of the pairs user:password that open protected
// paths. password.Parse accepts all of them.
func (m *Matcher) Credentials() []string { return m.rules.Credentials }

// Admits reports whether the rule that decides about an answer admits those who
// know a pair, by its index in Credentials.
func (m *Matcher) Admits(guard, credential int) bool {
	return guard == 0 || slices.Contains(m.headers.rules[guard-1].Users, credential)
}

// checkCredentials checks the hashes and the rules' references to them.
func (m *Matcher) checkCredentials() error {
	for i, hash := range m.rules.Credentials {
		if _, err := password.Parse(hash); err != nil {
			return fmt.Errorf("credential %d: %w", i+1, err)
		}
		m.bytes += int64(len(hash))
	}
	known := max(len(m.rules.Credentials), len(m.rules.pairs))
	for i, r := range m.rules.Headers {
		for _, n := range r.Users {
			if n < 0 || n >= known {
				return fmt.Errorf("header rule %d names credential %d; there are %d", i+1, n+1, known)
			}
		}
	}
	return nil
}
