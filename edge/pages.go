package edge

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"

	"github.com/troy-iaas/troy/internal/password"
)

//go:embed page.html
var pageTemplate string

// page is a response of the edge itself.
type page struct {
	Status int
	Title  string
	Text   string
	// Failed marks the text as what was wrong with the previous attempt.
	Failed bool
	html   []byte
}

// pages are the responses of the edge itself. They never contain any part of a
// request.
type pages struct {
	badAddress, badHost, noSite, nothingLive, notFound, gone, refused, badMethod, changed, fault page
	// Of protected sites, without and with the form.
	otherNetwork, otherOrigin, badForm, unreadable page
	askPassword, wrongPassword, manyAttempts, busy page
	// Of paths that rules protect.
	askUser, manyUsers, busyUsers page
	// Of previews for people who have a session of the dashboard.
	askForSession, notSignedIn, noTroy page
}

func newPages() (*pages, error) {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("parse the edge's page: %w", err)
	}
	p := &pages{
		badAddress: page{Status: http.StatusBadRequest, Title: "This address is malformed",
			Text: "A path must begin with a slash and must not contain a NUL character. Check the link."},
		badHost: page{Status: http.StatusBadRequest, Title: "This host name is malformed",
			Text: "No site can have this host name. Check the address."},
		noSite: page{Status: http.StatusNotFound, Title: "There is no site here",
			Text: "No site has this host name. A new site may take a moment to appear; otherwise check the address."},
		// 404, not 503: nothing is broken and waiting does not help, so
		// monitoring of server errors must not alert.
		nothingLive: page{Status: http.StatusNotFound, Title: "Nothing is live here yet",
			Text: "This site is ready for its first deployment. It will appear here as soon as it is published."},
		notFound: page{Status: http.StatusNotFound, Title: "This page does not exist",
			Text: "The page may have moved, or the link may contain a typo."},
		gone: page{Status: http.StatusGone, Title: "This page was removed",
			Text: "The page is gone for good. Remove links to it."},
		refused: page{Status: http.StatusForbidden, Title: "This page is protected",
			Text: "The site's rules protect this page in a way that this server does not support yet, so it is not shown."},
		badMethod: page{Status: http.StatusMethodNotAllowed, Title: "This method is not allowed",
			Text: "Sites accept only GET, HEAD and OPTIONS requests."},
		changed: page{Status: http.StatusPreconditionFailed, Title: "This file has changed",
			Text: "The current version does not match the request's If-Match header."},
		fault: page{Status: http.StatusInternalServerError, Title: "Something went wrong on our side",
			Text: "The server could not read the site. Try again in a moment. The server's log has the details under this response's X-Request-Id."},
	}
	p.setAccess()
	if err := render(t, &p.badAddress, &p.badHost, &p.noSite, &p.nothingLive, &p.notFound, &p.gone, &p.refused, &p.badMethod, &p.changed, &p.fault,
		&p.otherNetwork, &p.otherOrigin, &p.badForm, &p.unreadable, &p.askUser, &p.manyUsers, &p.busyUsers, &p.askForSession, &p.notSignedIn, &p.noTroy); err != nil {
		return nil, err
	}
	if t, err = template.New("access").Parse(password.PageTemplate); err != nil {
		return nil, fmt.Errorf("parse the page that asks for a password: %w", err)
	}
	return p, render(t, &p.askPassword, &p.wrongPassword, &p.manyAttempts, &p.busy)
}

// setAccess sets the texts of the pages of protected sites.
func (p *pages) setAccess() {
	p.otherNetwork = page{Status: http.StatusForbidden, Title: "This site is private",
		Text: "It can be seen only from certain networks, and your address is not in one of them."}
	p.otherOrigin = page{Status: http.StatusForbidden, Title: "This form came from another site",
		Text: "Open the site and type the password there."}
	p.badForm = page{Status: http.StatusBadRequest, Title: "This form is malformed",
		Text: "Open the site again and type the password."}
	p.unreadable = page{Status: http.StatusServiceUnavailable, Title: "This site can't be shown right now",
		Text: "The server could not read who may see the site, so it shows the site to no one. The server's log has the details under this response's X-Request-Id."}
	p.askPassword = page{Status: http.StatusUnauthorized, Title: "This site is protected", Text: "Enter the password to continue."}
	p.wrongPassword = page{Status: http.StatusUnauthorized, Title: "This site is protected", Text: "This password is wrong. Try again.", Failed: true}
	p.manyAttempts = page{Status: http.StatusTooManyRequests, Title: "This site is protected",
		Text: "There were too many wrong passwords. Wait a moment, then try again.", Failed: true}
	p.busy = page{Status: http.StatusServiceUnavailable, Title: "This site is protected",
		Text: "The server is checking too many passwords right now. Try again in a few seconds.", Failed: true}
	p.askForSession = page{Status: http.StatusUnauthorized, Title: "This preview is private",
		Text: "Only people who are signed in to Troy and may see its pipeline can see it. Open its address in a browser."}
	p.notSignedIn = page{Status: http.StatusForbidden, Title: "You are not signed in to this preview",
		Text: "The sign-in was used before, took too long, or began in another browser, or your browser does not accept cookies here. Allow cookies, then open the preview again."}
	p.noTroy = page{Status: http.StatusServiceUnavailable, Title: "This preview can't be shown right now",
		Text: "Only people who are signed in to Troy can see it, but this server does not know Troy's address. Its operator has to set TROY_URL."}
	p.askUser = page{Status: http.StatusUnauthorized, Title: "This page is protected",
		Text: "It needs a user name and a password. Reload the page to enter them."}
	p.manyUsers = page{Status: http.StatusTooManyRequests, Title: "This page is protected",
		Text: "There were too many wrong passwords. Wait a moment, then reload the page."}
	p.busyUsers = page{Status: http.StatusServiceUnavailable, Title: "This page is protected",
		Text: "The server is checking too many passwords right now. Reload the page in a few seconds."}
}

func render(t *template.Template, pages ...*page) error {
	for _, x := range pages {
		var b bytes.Buffer
		if err := t.Execute(&b, x); err != nil {
			return fmt.Errorf("render the edge's page %q: %w", x.Title, err)
		}
		x.html = b.Bytes()
	}
	return nil
}

// send writes the page. Caches must not store it, because it may be outdated at
// any moment.
func (p *page) send(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.html)))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.html) // net/http drops the body of a response to HEAD
}
