package edge

import (
	"net/http"
	"slices"
	"time"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// ruled resolves the paths of an index at one moment.
type ruled struct {
	*index
	now int64 // in Unix seconds
	// found is the entry of the file that was found last.
	name  string
	found file
}

// Resolve implements rules.Tree.
func (x *ruled) Resolve(path string) site.Answer {
	a, f := x.resolve(path, x.now)
	x.name, x.found = a.Path, f
	return a
}

// Missing implements rules.Tree.
func (x *ruled) Missing(path string) (string, bool) {
	name, f, ok := x.missing(path)
	x.name, x.found = name, f
	return name, ok
}

// entry returns the entry of a file that Resolve or Missing returned.
func (x *ruled) entry(name string) file {
	if name == x.name {
		return x.found
	}
	return x.served(name)
}

// respondByRules is respond for a site that has rules.
func (s *Server) respondByRules(w http.ResponseWriter, r *http.Request, l *live, path string) error {
	m := l.index.rules
	tree, request := &ruled{index: l.index, now: time.Now().Unix()}, rules.Request{
		Host: l.host, Path: path, Query: r.URL.RawQuery, HTML: rules.AcceptsHTML(r.Header["Accept"]),
	}
	d := m.Decide(tree, request)
	if l.index.broken() {
		return errSpill
	}
	if d.Status == http.StatusForbidden {
		w.Header().Set(deploymentHeader, l.deployment())
		s.pages.refused.send(w)
		return nil
	}
	if d.Guard > 0 {
		var ok bool
		if w, ok = s.admitUser(w, r, l, d.Guard); !ok {
			return nil
		}
	}
	changes := m.Headers(l.host, path)
	switch {
	case r.Method == http.MethodOptions:
		options(w, sharedWith(r.Header.Get("Origin"), d.Answer, changes))
		return nil
	case d.Location != "":
		redirect(w, l, d.Status, d.Location)
		return nil
	case d.Answer.Redirect:
		redirect(w, l, http.StatusMovedPermanently, withQuery(d.Answer.Address(), r))
		return nil
	case d.Answer.Path == "":
		w.Header().Set(deploymentHeader, l.deployment())
		p := &s.pages.notFound
		if d.Status == http.StatusGone {
			p = &s.pages.gone
		}
		p.send(w)
		return nil
	case d.Answer.Alias:
		w.Header()["Link"] = []string{"<" + d.Answer.Address() + `>; rel="canonical"`}
	}
	f, varies := tree.entry(d.Answer.Path), true
	if _, ok := w.(hotWriter); ok {
		// Only a response that does not depend on the Accept header may be kept.
		request.HTML = !request.HTML
		varies = m.Decide(tree, request) != d
	}
	if l.index.broken() {
		return errSpill
	}
	if links := s.hints(d.Answer.Path, d.Status, changes); links != nil {
		s.hint(w, r, links)
		varies = varies || s.early == HintsAll // a kept response has no hints
	}
	return s.send(w, r, l, sent{name: d.Answer.Path, file: f, status: d.Status, changes: changes, varies: varies})
}

// sharedWith returns the origin that may read an answer: "*", the request's
// origin, or "" if it may not.
func sharedWith(origin string, a site.Answer, changes *rules.Changes) string {
	switch {
	case origin == "" || a.Path == "" || a.Redirect:
		return ""
	case changes != nil && changes.Origins != nil:
		return allowedOrigin(origin, changes.Origins)
	case site.Shared(a.Path):
		return "*"
	}
	return ""
}

func allowedOrigin(origin string, origins []string) string {
	switch {
	case slices.Contains(origins, "*"):
		return "*"
	case origin != "" && slices.Contains(origins, origin):
		return origin
	}
	return ""
}

// change applies the changes of the site's rules to an answer's header. An
// error is never cached, so rules about caching don't apply to it.
func change(h http.Header, r *http.Request, what sent) {
	c := what.changes
	if c == nil {
		return
	}
	if c.Origins != nil {
		delete(h, "Access-Control-Allow-Origin")
		if origin := allowedOrigin(r.Header.Get("Origin"), c.Origins); origin != "" {
			h["Access-Control-Allow-Origin"] = []string{origin}
		}
		if !slices.Contains(c.Origins, "*") {
			h["Vary"] = append(h["Vary"], "Origin")
		}
	}
	for name, values := range c.Set {
		switch {
		case what.status != http.StatusOK && (name == "Cache-Control" || overridesCaching(name)):
		case name == "Vary" || name == "Link":
			// Troy's own values are true whatever the rules add or remove.
			if len(values) > 0 {
				h[name] = append(slices.Clip(h[name]), values...)
			}
		case len(values) == 0:
			delete(h, name)
		default:
			h[name] = values
		}
	}
}
