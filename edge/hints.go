package edge

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// EarlyHints decides which clients get an informational response 103 (RFC 8297)
// with the Link headers of the site's rules.
type EarlyHints string

const (
	// HintsHTTP2 sends them over HTTP/2 and later. Browsers ignore them over
	// HTTP/1.1, and some proxies take them for the response (RFC 8297 §3).
	HintsHTTP2 EarlyHints = "http2"
	// HintsAll sends them over HTTP/1.1 too.
	HintsAll EarlyHints = "all"
	// HintsOff sends none.
	HintsOff EarlyHints = "off"
)

// hints returns the early hints for a file that answers, for all visitors alike:
// the links of the site's rules that browsers follow before they have the page.
func (s *Server) hints(name string, status int, changes *rules.Changes) []string {
	if s.early == HintsOff || status != http.StatusOK || changes == nil || changes.Set["Link"] == nil || !strings.HasPrefix(site.ContentType(name), "text/html") {
		return nil
	}
	return earlyLinks(changes.Set["Link"])
}

// hint sends early hints to a browser that navigates. It sends none for a
// conditional request or a range, because the browser has the page already.
func (s *Server) hint(w http.ResponseWriter, r *http.Request, links []string) {
	if r.ProtoMajor < 2 && s.early != HintsAll || !r.ProtoAtLeast(1, 1) || r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return
	}
	for _, name := range []string{"If-None-Match", "If-Match", "If-Modified-Since", "Range"} {
		if r.Header[name] != nil {
			return
		}
	}
	h := w.Header()
	final := maps.Clone(h)
	clear(h)
	h["Link"] = []string{strings.Join(links, ", ")}
	w.WriteHeader(http.StatusEarlyHints)
	clear(h)
	maps.Copy(h, final)
}

// maxHints is the maximum number of links in early hints.
const maxHints = 32

// earlyLinks returns the links in values of Link (RFC 8288 §3) with a relation
// that browsers follow at once.
func earlyLinks(values []string) (early []string) {
	for _, value := range values {
		for value != "" && len(early) < maxHints {
			var link string
			link, value = cutLink(value, ',')
			if isEarly(link) {
				early = append(early, link)
			}
		}
	}
	return early
}

// cutLink returns the part of a value before the first separator that is
// neither in a URL nor in quotes, and the rest.
func cutLink(value string, separator byte) (part, rest string) {
	quoted, target := false, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !target:
			quoted = !quoted
		case c == '<' && !quoted:
			target = true
		case c == '>' && !quoted:
			target = false
		case c == separator && !quoted && !target:
			return strings.TrimSpace(value[:i]), value[i+1:]
		}
	}
	return strings.TrimSpace(value), ""
}

// isEarly reports whether a link is well formed and has such a relation.
func isEarly(link string) bool {
	target, parameters := cutLink(link, ';')
	if len(target) < 3 || target[0] != '<' || target[len(target)-1] != '>' {
		return false
	}
	for parameters != "" {
		var p string
		p, parameters = cutLink(parameters, ';')
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		// The first rel counts (RFC 8288 §3.3).
		return slices.ContainsFunc(strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)), func(relation string) bool {
			relation = strings.ToLower(relation)
			return relation == "preload" || relation == "preconnect" || relation == "modulepreload"
		})
	}
	return false
}
