package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/reply"
)

// signInPages is the page on which visitors of protected sites on CloudFront
// type the password, as on the edge.
type signInPages struct {
	template *template.Template
	style    string // the source of its style for a content security policy
}

func newSignInPages() (*signInPages, error) {
	t, err := template.New("sign in").Parse(password.PageTemplate)
	if err != nil {
		return nil, fmt.Errorf("parse the page that asks for a password: %w", err)
	}
	_, after, _ := strings.Cut(password.PageTemplate, "<style>")
	style, _, _ := strings.Cut(after, "</style>")
	sum := sha256.Sum256([]byte(style))
	return &signInPages{t, "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"}, nil
}

// protectedSite is a site whose visitors type the password here.
type protectedSite struct {
	host, origin string
	passwords    []site.Password
	secrets      *password.Secrets // of passwords, in their order
}

// protectedSite returns the site of a host, or NotFound.
func (s *server) protectedSite(ctx context.Context, host string) (protectedSite, error) {
	none := troy.Errorf(troy.NotFound, "no site with this address asks for a password here")
	host, err := site.NormalizeHost(host)
	if err != nil || !s.deps.Functions {
		return protectedSite{}, none
	}
	// All previews of a site have its passwords, and its bounds for wrong ones.
	_, own, preview := s.deps.Intake.PreviewHosts().Split(host)
	if !preview {
		own = host
	}
	out := protectedSite{host: host, origin: s.siteURL(host), secrets: password.NewSecrets(own)}
	pipeline, err := s.q.AccessOfHost(ctx, own)
	var wanted queries.AccessWantedRow
	if err == nil {
		wanted, err = s.q.AccessWanted(ctx, pipeline)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return protectedSite{}, none
	}
	if err != nil {
		return protectedSite{}, fmt.Errorf("read who may see %s: %w", host, err)
	}
	if wanted.Scope == intake.ScopePreviews && !preview {
		return out, nil
	}
	for i, name := range wanted.Names {
		if s.deps.Secrets == nil {
			return protectedSite{}, troy.Errorf(troy.Unavailable, "passwords can't be checked at the moment")
		}
		plain, err := s.deps.Secrets.Open(wanted.Secrets[i], secret.Access(pipeline, name))
		if err != nil {
			return protectedSite{}, err
		}
		w, err := site.DecodePassword(wanted.Ids[i].String(), plain)
		if err != nil {
			return protectedSite{}, fmt.Errorf("read the password %s of %s: %w", name, host, err)
		}
		if err := out.secrets.Add(w.ID, w.Hash); err != nil {
			return protectedSite{}, fmt.Errorf("read the password %s of %s: %w", name, host, err)
		}
		out.passwords = append(out.passwords, w)
	}
	return out, nil
}

// siteSignIn asks a visitor of a protected site for the password, and sends the
// visitor back with a token. Visitors who come without the mark that the site
// gives each browser are sent there first.
func (s *server) siteSignIn(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	p, err := s.protectedSite(ctx, c.Param("host"))
	if err != nil {
		return s.showFailure(c, err, "")
	}
	to, mark := site.LocalAddress(c.Query("to")), c.Query("ask")
	if len(p.passwords) == 0 || !site.ValidAsk(mark) {
		c.Redirect(http.StatusSeeOther, p.origin+to)
		return nil
	}
	if c.Request.Method != http.MethodPost {
		return s.askForPassword(c, p, nil)
	}
	typed, err := typedIn(c)
	if err != nil {
		return s.showFailure(c, err, "")
	}
	at, err := s.keeper.Verify(ctx, p.secrets, network.Proxies(s.cfg.Proxies).Client(c.Request), typed)
	if err != nil {
		note(ctx).err = err
		return s.askForPassword(c, p, err)
	}
	c.Redirect(http.StatusSeeOther, site.SignedInAddress(p.origin, p.passwords[at].Token(p.host, mark, s.now()), to))
	return nil
}

// maxSignInForm is the maximum size of the form in bytes. A byte of the password
// may take three.
const maxSignInForm = 4*password.MaxBytes + 1<<10

// typedIn returns the password in the form of a request.
func typedIn(c *gin.Context) (string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxSignInForm))
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !form.Has("password") {
		return "", troy.Errorf(troy.Invalid, "this form is malformed; open the site again and type the password")
	}
	return form.Get("password"), nil
}

// askForPassword shows the page with the form, and why the previous attempt
// failed.
func (s *server) askForPassword(c *gin.Context, p protectedSite, why error) error {
	view := struct {
		Title, Text string
		Failed      bool
	}{"This site is protected", "Enter the password of " + p.host + " to continue.", why != nil}
	status := http.StatusOK
	switch {
	case why == nil:
	case errors.Is(why, password.ErrWrong):
		status, view.Text = http.StatusUnauthorized, "This password is wrong. Try again."
		c.Header("WWW-Authenticate", "Form")
	case errors.Is(why, password.ErrManyAttempts):
		status, view.Text = http.StatusTooManyRequests, "There were too many wrong passwords. Wait a moment, then try again."
		c.Header("Retry-After", strconv.Itoa(int(password.AttemptsEvery/time.Second)))
	default:
		status, view.Text = http.StatusServiceUnavailable, "The server is checking too many passwords right now. Try again in a few seconds."
		c.Header("Retry-After", "5")
	}
	var page bytes.Buffer
	if err := s.signIn.template.Execute(&page, view); err != nil {
		return fmt.Errorf("write the page that asks for a password: %w", err)
	}
	reply.Limit(c.Writer)
	// Browsers hold the form's redirect to the site to form-action too.
	c.Header("Content-Security-Policy", "default-src 'none'; style-src "+s.signIn.style+"; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+p.origin)
	c.Data(status, "text/html; charset=utf-8", page.Bytes())
	return nil
}
