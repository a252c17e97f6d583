package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/web/dashboard"
	"github.com/troy-iaas/troy/web/reply"
)

// caller is the sender of a request.
type caller = credentials.Holder

// fromPage is the header with which the dashboard's scripts call the API. A
// page of another site can't send it: browsers first ask whether it may
// (fetch.spec.whatwg.org, "CORS-preflight fetch"), and Troy never allows it.
const fromPage = "X-Troy-Page"

// authorize finds the caller, whose role must be at least least: by its token
// or, for the dashboard's scripts, by the session.
func (s *server) authorize(r *http.Request, least credentials.Role) (caller, error) {
	if r.Header.Get(fromPage) != "" {
		return s.visitor(r, least)
	}
	who, err := s.tokens.Authorize(r, least)
	if who.ID != uuid.Nil {
		note(r.Context()).actor = who.Actor()
	}
	return who, err
}

// visitor is authorize for browsers, which may have a session instead of a
// token.
func (s *server) visitor(r *http.Request, least credentials.Role) (caller, error) {
	who, err := s.sessions.Visitor(r, s.tokens, least)
	if who.ID != uuid.Nil {
		note(r.Context()).actor = who.Actor()
	}
	return who, err
}

// mayAll reports whether the caller has access to all pipelines, and answers
// the request if not. It asks browsers for a token.
func (s *server) mayAll(w http.ResponseWriter, r *http.Request, least credentials.Role, why string) bool {
	who, err := s.visitor(r, least)
	if err == nil {
		err = who.MustAll(why)
	}
	if err == nil {
		return true
	}
	if troy.KindOf(err) == troy.Unauthenticated {
		if r.Header.Get("Authorization") == "" && strings.Contains(r.Header.Get("Accept"), "text/html") {
			// A browser that is asked for a password keeps it until it is closed,
			// and signing out would not end that.
			dashboard.Login(w, r)
			return false
		}
		w.Header().Set("WWW-Authenticate", reply.AdminChallenge)
	}
	s.fail(w, r, err)
	return false
}

// as makes a route of a handler for callers whose role is at least least. The
// request's context ends after the time, unless it is zero.
func (s *server) as(least credentials.Role, most time.Duration, h func(*gin.Context, caller) error) gin.HandlerFunc {
	return s.asPreviewer(least, most, func(c *gin.Context, who caller) error {
		if who.PreviewsOnly && least != credentials.Viewer {
			return previewsOnly()
		}
		return h(c, who)
	})
}

// previewsOnly refuses what a token for previews alone may not do.
func previewsOnly() error {
	return troy.Errorf(troy.Forbidden, "the token may only publish previews, because a pull request or a trust rule for previews only gave it; release with --preview")
}

// asPreviewer is like as, for the few changes that a token for previews alone
// may make. The handler refuses those that concern the site.
func (s *server) asPreviewer(least credentials.Role, most time.Duration, h func(*gin.Context, caller) error) gin.HandlerFunc {
	return s.anonymous(func(c *gin.Context) error {
		who, err := s.authorize(c.Request, least)
		if err != nil {
			return err
		}
		if most > 0 {
			ctx, cancel := context.WithTimeout(c.Request.Context(), most)
			defer cancel()
			c.Request = c.Request.WithContext(ctx)
		}
		c.Request = c.Request.WithContext(intake.By(c.Request.Context(), who.Actor(), network.Proxies(s.cfg.Proxies).Name(c.Request)))
		return h(c, who)
	})
}

// anonymous makes a route of a handler that authenticates its callers itself.
func (s *server) anonymous(h func(*gin.Context) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		note(c.Request.Context()).route = c.FullPath()
		if err := h(c); err != nil {
			s.fail(c.Writer, c.Request, err)
		}
	}
}
