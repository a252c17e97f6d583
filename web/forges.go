package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/web/reply"
)

// hidden returns a request's path for logs, without the credentials that forges
// put into paths.
func (s *server) hidden(path string) string {
	path = credentials.HookSecrets.ReplaceAllString(path, "[secret]")
	if strings.HasPrefix(path, deployHookPath) {
		return deployHookPath + "[secret]"
	}
	for _, a := range s.deps.Forges {
		if rest, found := strings.CutPrefix(path, a.Hidden); found && a.Hidden != "" {
			_, below, _ := strings.Cut(rest, "/")
			return a.Hidden + "[state]/" + below
		}
	}
	return path
}

// forgeRoute makes a forge's own route: a page for admins of all pipelines, or
// an endpoint for authenticated messages. It logs neither the body nor the
// credentials of refused messages.
func (s *server) forgeRoute(a forge.Adapter, r forge.Route) gin.HandlerFunc {
	if r.Back != "" {
		return s.page(credentials.Admin, r.Back, func(ctx context.Context, c *gin.Context, who caller) error {
			if err := who.MustAll("the app is for all"); err != nil {
				return err
			}
			return s.serveForge(ctx, c, a, r, who.Actor())
		})
	}
	return s.anonymous(func(c *gin.Context) error {
		ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
		defer cancel()
		err := s.serveForge(ctx, c, a, r, "")
		if err == nil || r.Refusal == "" {
			return err
		}
		s.deps.Log.WarnContext(ctx, r.Refusal, "request", note(ctx).request, //nolint:sloglint // each Route has a constant
			"path", s.hidden(c.Request.URL.Path), "remote", c.Request.RemoteAddr, "error", err)
		if troy.KindOf(err) == troy.Unauthenticated && r.Challenge != "" {
			c.Header("WWW-Authenticate", r.Challenge)
		}
		return err
	})
}

// serveForge lets a forge handle a request, and sends its answer.
func (s *server) serveForge(ctx context.Context, c *gin.Context, a forge.Adapter, r forge.Route, admin string) error {
	for _, p := range c.Params {
		c.Request.SetPathValue(p.Key, p.Value)
	}
	release := func() {}
	defer func() { release() }()
	answer, err := r.Serve(ctx, forge.Request{
		HTTP: c.Request, ID: note(ctx).request, Admin: admin,
		Sender: func(name string) { note(ctx).actor = name },
		Read: func(most int64) (body []byte, err error) {
			release()
			body, release, err = s.readUnverified(c, most)
			return body, err
		},
	})
	switch {
	case err != nil:
		return err
	case answer.Verified != nil:
		return s.takeIn(c, a.Provider, *answer.Verified)
	case answer.Page != nil:
		return s.showForge(c, answer.Status, *answer.Page)
	case answer.Location != "":
		c.Redirect(http.StatusSeeOther, answer.Location)
	case answer.JSON != nil:
		reply.Limit(c.Writer)
		c.Data(answer.Status, "application/json; charset=utf-8", answer.JSON)
	default:
		c.Status(answer.Status)
	}
	return nil
}

func (s *server) showForge(c *gin.Context, status int, p forge.Page) error {
	more := ""
	if p.FormTo != "" {
		to, err := url.Parse(p.FormTo)
		if err != nil {
			return fmt.Errorf("the address of a form of %s: %w", p.Template, err)
		}
		more = " " + to.Scheme + "://" + to.Host
	}
	view := struct {
		frame
		View any
	}{s.pages.frame, p.View}
	return s.pages.show(c, status, p.Template, view, more)
}
