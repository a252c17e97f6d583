package rules

import (
	"strings"

	"github.com/troy-iaas/troy/site"
)

// Tree resolves the paths of a deployment.
type Tree interface {
	// Resolve returns the file for a decoded path that begins with a slash, as
	// site.TrailingSlash.Resolve does. Its Path is "" if there is none.
	Resolve(path string) site.Answer
	// Missing returns the 404.html nearest to a path.
	Missing(path string) (file string, ok bool)
}

// Decision is the answer to a request.
type Decision struct {
	// Status is 200, 403, 404, 410 or that of a redirect.
	Status int
	// Location is the target of a redirect by a rule.
	Location string
	// Answer is the file that answers; its Path is "" for a page of the server.
	// If Redirect is set and Location is empty, the answer is a redirect to its
	// address, with the request's query.
	Answer site.Answer
	// Guard is the rule that decides who may see the answer, for Admits. It is
	// 0 if everyone may.
	Guard int
}

// Decide returns the answer to a request: a rule with Force, or else a file, or
// else another rule, or else the site's fallback. A target is never matched
// against the rules again, so a chain has one step.
func (m *Matcher) Decide(t Tree, r Request) Decision {
	d := m.decide(t, r)
	if !m.headers.guards {
		return d
	}
	var denied bool
	if d.Guard, denied = m.guard(r.Host, r.Path, d.Answer); denied {
		return Decision{Status: 403}
	}
	return d
}

func (m *Matcher) decide(t Tree, r Request) Decision {
	var match Match
	matched := false
	if m.forced {
		if match, matched = m.Redirect(r); matched && match.Force {
			return m.follow(t, r, match)
		}
	}
	if a := m.file(t, r.Path); a.Path != "" {
		return Decision{Status: 200, Answer: a}
	}
	if !m.forced {
		match, matched = m.Redirect(r)
	}
	if matched {
		return m.follow(t, r, match)
	}
	if m.site.SPA && r.HTML && navigates(r.Path) {
		if a := t.Resolve("/"); a.Path != "" {
			return Decision{Status: 200, Answer: site.Answer{Path: a.Path}}
		}
	}
	return m.missing(t, r.Path, 404)
}

// file resolves a path under the setting clean_urls.
func (m *Matcher) file(t Tree, path string) site.Answer {
	a := t.Resolve(path)
	if a.Path == "" || m.site.CleanURLs == nil || !strings.HasSuffix(a.Path, ".html") {
		return a
	}
	own := path[1:] == a.Path
	if *m.site.CleanURLs {
		if own && a.Alias {
			a.Redirect, a.Alias = true, false
		}
		return a
	}
	if a.Path == "index.html" || strings.HasSuffix(a.Path, "/index.html") {
		return a
	}
	if !own {
		return site.Answer{}
	}
	return site.Answer{Path: a.Path}
}

// follow answers by a rule.
func (m *Matcher) follow(t Tree, r Request, match Match) Decision {
	if redirects(match.Status) {
		return Decision{Status: match.Status, Location: match.Location}
	}
	a := t.Resolve(match.Path)
	if a.Path == "" {
		status := match.Status
		if status == 200 {
			status = 404
		}
		return m.missing(t, match.Path, status)
	}
	// The visitor stays at the address, so the page's own does not matter.
	return Decision{Status: match.Status, Answer: site.Answer{Path: a.Path}}
}

// missing answers with the site's page for missing paths.
func (m *Matcher) missing(t Tree, path string, status int) Decision {
	if m.site.NotFound != "" {
		if a := t.Resolve("/" + m.site.NotFound); a.Path == m.site.NotFound {
			return Decision{Status: status, Answer: site.Answer{Path: a.Path}}
		}
	}
	if file, ok := t.Missing(path); ok {
		return Decision{Status: status, Answer: site.Answer{Path: file}}
	}
	return Decision{Status: status}
}

// navigates reports whether a path may be a page of a single-page application:
// its last segment has no extension.
func navigates(path string) bool {
	return !strings.Contains(path[strings.LastIndexByte(path, '/')+1:], ".")
}

// AcceptsHTML reports whether an Accept header asks for a page.
func AcceptsHTML(values []string) bool {
	for _, v := range values {
		if strings.Contains(strings.ToLower(v), "text/html") {
			return true
		}
	}
	return false
}
