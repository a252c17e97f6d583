package edge

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
)

//go:embed page.html
var pageTemplate string

// page is an answer of the edge's own, where no site has one.
type page struct {
	Status int
	Title  string
	Text   string
	html   []byte
}

// pages are the edge's own answers. Nothing of a request is repeated in them.
type pages struct {
	badAddress, badHost, noSite, nothingLive, notFound, badMethod, changed, fault page
}

func newPages() (*pages, error) {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("the edge's page: %w", err)
	}
	p := &pages{
		badAddress: page{Status: http.StatusBadRequest, Title: "This address is malformed",
			Text: "A path begins with a slash and has no NUL character. Check the link that led here."},
		badHost: page{Status: http.StatusBadRequest, Title: "This host name is malformed",
			Text: "The request names no host that a site could have. Check the address."},
		noSite: page{Status: http.StatusNotFound, Title: "There is no site here",
			Text: "No site answers at this host. If it was just created, it may still be on its way; otherwise check the address."},
		// 404, not 503: nothing is broken and nothing will mend by waiting, so
		// nobody's monitoring of server errors should ring.
		nothingLive: page{Status: http.StatusNotFound, Title: "Nothing is live here yet",
			Text: "This site is set up and waits for its first deployment, which will appear here the moment it is published."},
		notFound: page{Status: http.StatusNotFound, Title: "This page does not exist",
			Text: "The site has nothing at this address. It may have moved, or the link that led here has a typo."},
		badMethod: page{Status: http.StatusMethodNotAllowed, Title: "This method is not allowed",
			Text: "Sites answer GET and HEAD requests only."},
		changed: page{Status: http.StatusPreconditionFailed, Title: "This file has changed",
			Text: "It is not the version that the request's If-Match header asked for."},
		fault: page{Status: http.StatusInternalServerError, Title: "Something went wrong on our side",
			Text: "The site could not be read. Try again in a moment; the server's log has the details under this answer's X-Request-Id."},
	}
	for _, x := range []*page{&p.badAddress, &p.badHost, &p.noSite, &p.nothingLive, &p.notFound, &p.badMethod, &p.changed, &p.fault} {
		var b bytes.Buffer
		if err := t.Execute(&b, x); err != nil {
			return nil, fmt.Errorf("the edge's page %q: %w", x.Title, err)
		}
		x.html = b.Bytes()
	}
	return p, nil
}

// send answers with a page, never to be stored: what it says may be over the
// next moment.
func (p *page) send(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.html)))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.html) // net/http drops the body of an answer to HEAD
}
