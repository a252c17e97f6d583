package web

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/hook"
	"github.com/troy-iaas/troy/web/reply"
)

// hidden is a request's path as logs have it: without the state of a Connect
// app's address.
func hidden(path string) string {
	rest, found := strings.CutPrefix(path, credentials.ConnectPrefix)
	if !found {
		return path
	}
	_, below, _ := strings.Cut(rest, "/")
	return credentials.ConnectPrefix + "[state]/" + below
}

func stateOf(c *gin.Context) credentials.State { return credentials.State(c.Param("state")) }

// connectState looks the state of the path up.
func (s *server) connectState(ctx context.Context, c *gin.Context) (queries.SetupState, error) {
	none := troy.Errorf(troy.NotFound, "there is nothing at this address: it was never issued, or not used within an hour")
	state := stateOf(c)
	if !state.Valid() {
		return queries.SetupState{}, none
	}
	row, err := s.q.ConnectStateGet(ctx, state.Hash())
	if errors.Is(err, pgx.ErrNoRows) {
		return row, none
	}
	if err != nil {
		return row, fmt.Errorf("look up the state of a Connect app: %w", err)
	}
	return row, nil
}

// connectDescriptor answers what the Connect app is: what its installation
// begins with, and what Bitbucket reads again when it is updated.
func (s *server) connectDescriptor(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	state, err := s.connectState(ctx, c)
	if err != nil {
		return err
	}
	if s.deps.ConnectDescriptor == nil || state.AppKey == nil {
		return troy.Errorf(troy.Unavailable, "Bitbucket is not set up in this installation")
	}
	text, err := s.deps.ConnectDescriptor(*state.AppKey, strings.TrimSuffix(s.cfg.URL, "/")+stateOf(c).ConnectPath())
	if err != nil {
		return fmt.Errorf("describe the Connect app: %w", err)
	}
	reply.Limit(c.Writer)
	c.Data(http.StatusOK, "application/json; charset=utf-8", text)
	return nil
}

// connect makes a route of a handler of a Connect app's messages. What it
// refuses is audited; nothing of the body, the token or the state is.
func (s *server) connect(h func(context.Context, *gin.Context, queries.SetupState) error) gin.HandlerFunc {
	return s.anonymous(func(c *gin.Context) error {
		ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
		defer cancel()
		err := func() error {
			if s.deps.Secrets == nil {
				return troy.Errorf(troy.Unavailable, "Connect installations can't be kept: TROY_SECRET_KEY is not set")
			}
			state, err := s.connectState(ctx, c)
			if err != nil {
				return err
			}
			if state.ClientKey != nil {
				note(ctx).actor = "Connect installation " + *state.ClientKey
			}
			return h(ctx, c, state)
		}()
		if err == nil {
			return nil
		}
		s.deps.Log.WarnContext(ctx, "a message to the Connect app was refused", "request", note(ctx).request,
			"path", hidden(c.Request.URL.Path), "remote", c.Request.RemoteAddr, "error", err)
		if troy.KindOf(err) == troy.Unauthenticated {
			c.Header("WWW-Authenticate", "JWT")
		}
		return err
	})
}

// verifyConnect holds a request's token to the secrets of an installation.
func verifyConnect(c *gin.Context, clientKey string, secrets []string) error {
	token, err := hook.ConnectToken(c.Request.Header, c.Request.URL.Query())
	if err != nil {
		return err
	}
	issuer, err := hook.ConnectIssuer(token)
	if err != nil {
		return err
	}
	if issuer != clientKey {
		return troy.Errorf(troy.Unauthenticated, "the token's issuer is not the installation's clientKey")
	}
	request := hook.ConnectRequest{
		Method: c.Request.Method, Path: c.Request.URL.EscapedPath(), Query: c.Request.URL.RawQuery, Base: stateOf(c).ConnectPath(),
	}
	for i, kept := range secrets {
		verified := hook.VerifyConnect(token, request, clientKey, []byte(kept), time.Now())
		if verified == nil {
			return nil
		}
		if i == 0 {
			err = verified
		}
	}
	return err
}

// connectCaller verifies who sends a message to the address of an
// installation, with the secrets that are kept of it.
func (s *server) connectCaller(ctx context.Context, c *gin.Context, state queries.SetupState) (queries.Installation, error) {
	unknown := troy.Errorf(troy.Unauthenticated, "there is no installation at this address yet")
	if state.ClientKey == nil {
		return queries.Installation{}, unknown
	}
	row, err := s.q.InstallationGet(ctx, string(troy.Bitbucket), *state.ClientKey)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Credentials == nil {
		return row, unknown
	}
	if err != nil {
		return row, fmt.Errorf("look up Connect installation %s: %w", *state.ClientKey, err)
	}
	kept, err := credentials.OpenConnect(s.deps.Secrets, row.ID, row.Credentials)
	if err != nil {
		return row, err
	}
	return row, verifyConnect(c, row.ID, kept.Secrets)
}

// readConnect reads a message to the Connect app, whose memory is held until
// release is called.
func (s *server) readConnect(c *gin.Context) (body []byte, release func(), err error) {
	body, release, err = s.readUnverified(c, hook.MaxConnectBody)
	if err != nil {
		err = fmt.Errorf("read a message to the Connect app: %w", err)
	}
	return body, release, err
}

// connectInstalled takes in an installation. The first one is unsigned: what
// it is held to is the state, which an operator issued. Whatever names an
// installation that is known has to be signed with a secret that was given
// with it before, or repeat the newest.
func (s *server) connectInstalled(ctx context.Context, c *gin.Context, state queries.SetupState) error {
	signed := c.Request.Header.Get("Authorization") != "" || c.Request.URL.Query().Has("jwt")
	if state.ClientKey != nil && signed {
		// Before anything of the body is looked at.
		if _, err := s.connectCaller(ctx, c, state); err != nil {
			return err
		}
	}
	body, release, err := s.readConnect(c)
	defer release()
	if err != nil {
		return err
	}
	message, err := hook.ParseInstalled(body)
	if err != nil {
		return err
	}
	given := string(message.SharedSecret)
	account := message.Principal.Name
	if account == "" {
		account = message.Principal.ID
	}
	err = s.deps.Intake.ConnectInstalled(ctx, intake.ConnectInstall{
		State: state.Hash, AppKey: message.AppKey, ClientKey: message.ClientKey, Account: account,
		Seal: func(current []byte) ([]byte, error) {
			kept := credentials.Connect{AppKey: message.AppKey}
			if current != nil {
				var err error
				if kept, err = credentials.OpenConnect(s.deps.Secrets, message.ClientKey, current); err != nil {
					return nil, err
				}
				if !signed && subtle.ConstantTimeCompare([]byte(kept.Secrets[0]), []byte(given)) == 1 {
					return current, nil // sent again, since our answer was lost
				}
				if !signed {
					return nil, troy.Errorf(troy.Unauthenticated, "the installation is known; installing it again has to be signed with the secret that it was given before")
				}
				if err := verifyConnect(c, message.ClientKey, kept.Secrets); err != nil {
					return nil, err
				}
				if kept.AppKey != message.AppKey {
					return nil, troy.Errorf(troy.Forbidden, "the installation is of another app").At("key")
				}
			}
			return kept.With(given).Seal(s.deps.Secrets, message.ClientKey)
		},
	})
	if err != nil {
		return err
	}
	note(ctx).actor = "Connect installation " + message.ClientKey
	s.deps.Log.InfoContext(ctx, "the Connect app was installed", "request", note(ctx).request, "installation", message.ClientKey,
		"account", account, "api", message.BaseAPIURL, "again", signed)
	c.Status(http.StatusNoContent)
	return nil
}

func (s *server) connectUninstalled(ctx context.Context, c *gin.Context, state queries.SetupState) error {
	installation, err := s.connectCaller(ctx, c, state)
	if err != nil {
		return err
	}
	body, release, err := s.readConnect(c)
	defer release()
	if err != nil {
		return err
	}
	message, err := hook.ParseUninstalled(body)
	if err != nil {
		return err
	}
	if message.ClientKey != installation.ID {
		return troy.Errorf(troy.Forbidden, "the message is about another installation than the one that signed it").At("clientKey")
	}
	if err := s.deps.Intake.ConnectUninstalled(ctx, installation.ID); err != nil {
		return err
	}
	s.deps.Log.InfoContext(ctx, "the Connect app was uninstalled", "request", note(ctx).request, "installation", installation.ID, "account", installation.Account)
	c.Status(http.StatusNoContent)
	return nil
}

// connectEvent takes in what the webhooks of an installation send. Its token
// is verified before the body is read.
func (s *server) connectEvent(ctx context.Context, c *gin.Context, state queries.SetupState) error {
	installation, err := s.connectCaller(ctx, c, state)
	if err != nil {
		return err
	}
	if installation.State != "active" {
		return troy.Errorf(troy.Forbidden, "the app was uninstalled from %s", installation.Account)
	}
	d, err := hook.ConnectDelivery(c.Request.Header)
	if err != nil {
		return err
	}
	body, release, err := s.readUnverified(c, hook.MaxBody)
	defer release()
	if err != nil {
		return fmt.Errorf("read a delivery of %s: %w", troy.Bitbucket, err)
	}
	return s.takeIn(c, forgeHook{provider: troy.Bitbucket, parse: func(event string, body []byte) (troy.ForgeEvent, error) {
		e, err := hook.ParseBitbucket(event, body)
		return seenBy(e, installation.ID), err
	}}, d, body)
}

// seenBy says of an event which installation told of it, which the event of
// Bitbucket itself does not.
func seenBy(e troy.ForgeEvent, installation string) troy.ForgeEvent {
	switch e := e.(type) {
	case troy.PushEvent:
		e.Installation = installation
		return e
	case troy.RepositoryChange:
		e.Installation = installation
		return e
	}
	return e
}
