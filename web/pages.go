package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/web/dashboard"
	"github.com/troy-iaas/troy/web/reply"
)

//go:embed templates
var pageFiles embed.FS

const (
	failurePage = "failure.html"
	openingPage = "preview.html"
)

// pages are Troy's pages for browsers.
type pages struct {
	templates *template.Template
	frame     frame
	policy    string // the content security policy, without form-action
}

// frame is the data of every page.
type frame struct {
	Style template.CSS
	Host  string // Troy's own
}

// newPages parses Troy's own pages and those of the forges.
func newPages(address string, forges []forge.Adapter) (*pages, error) {
	style, err := pageFiles.ReadFile("templates/page.css")
	if err != nil {
		return nil, fmt.Errorf("read the pages' style: %w", err)
	}
	templates, err := template.ParseFS(pageFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the pages: %w", err)
	}
	for _, a := range forges {
		if a.Pages == nil {
			continue
		}
		if templates, err = templates.ParseFS(a.Pages, "*.html"); err != nil {
			return nil, fmt.Errorf("parse the pages of %s: %w", a.Provider, err)
		}
	}
	host := address
	if u, err := url.Parse(address); err == nil {
		host = u.Host
	}
	digest := sha256.Sum256(style)
	return &pages{
		templates: templates,
		frame:     frame{Style: template.CSS(style), Host: host}, //nolint:gosec // it is this repository's own
		policy: fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
			base64.StdEncoding.EncodeToString(digest[:])),
	}, nil
}

// show answers with a page. The policy ends with form-action, to which more is
// appended.
func (p *pages) show(c *gin.Context, status int, name string, view any, more string) error {
	var page bytes.Buffer
	if err := p.templates.ExecuteTemplate(&page, name, view); err != nil {
		return fmt.Errorf("write the page %s: %w", name, err)
	}
	reply.Limit(c.Writer)
	c.Header("Content-Security-Policy", p.policy+more)
	c.Data(status, "text/html; charset=utf-8", page.Bytes())
	return nil
}

// page makes a route of a page for callers whose role is at least least. back,
// if not empty, is where its failure page leads. Browsers without a session are
// sent to sign in and come back.
func (s *server) page(least credentials.Role, back string, h func(context.Context, *gin.Context, caller) error) gin.HandlerFunc {
	return s.anonymous(func(c *gin.Context) error {
		who, err := s.visitor(c.Request, least)
		if troy.KindOf(err) == troy.Unauthenticated && c.Request.Header.Get("Authorization") == "" {
			dashboard.Login(c.Writer, c.Request)
			return nil
		}
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		if err := h(ctx, c, who); err != nil {
			return s.showFailure(c, err, back)
		}
		return nil
	})
}

// sentence returns a message as people read it on a page.
func sentence(message string) string {
	r, size := utf8.DecodeRuneInString(message)
	text := string(unicode.ToUpper(r)) + message[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// showFailure answers with a page that says what is wrong, and leads back if
// back is not empty.
func (s *server) showFailure(c *gin.Context, err error, back string) error {
	n := note(c.Request.Context())
	n.err = err
	e := visible(err)
	if e.Kind == troy.Internal {
		e.Message = "Internal error; Troy's log has the details under request " + n.request
	}
	view := struct {
		frame
		Failure, Back string
	}{s.pages.frame, sentence(e.Message), back}
	return s.pages.show(c, reply.Status(e.Kind), failurePage, view, "")
}
