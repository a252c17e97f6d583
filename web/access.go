package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

// accessJSON says who may see a site. It has nothing of the passwords but their
// names.
type accessJSON struct {
	Protected bool   `json:"protected"`
	Scope     string `json:"scope"`
	// InForce means that the site is served as the other members say.
	InForce   bool                 `json:"in_force"`
	Previews  string               `json:"previews"`
	Passwords []accessPasswordJSON `json:"passwords"`
	Networks  []string             `json:"networks"`
	ChangedAt *time.Time           `json:"changed_at,omitempty"`
	// Problem says why it is not in force yet, to admins alone.
	Problem string `json:"problem,omitempty"`
}

type accessPasswordJSON struct {
	Name      string    `json:"name"`
	ChangedAt time.Time `json:"changed_at"`
}

func accessView(ctx context.Context, q *queries.Queries, p queries.Pipeline, role credentials.Role) (accessJSON, error) {
	out := accessJSON{Scope: "site", Previews: intake.PreviewsPublic, InForce: true, Passwords: []accessPasswordJSON{}, Networks: []string{}}
	row, passwords, ok, err := intake.Protection(ctx, q, p.ID)
	if err != nil || !ok {
		return out, err
	}
	for _, w := range passwords {
		out.Passwords = append(out.Passwords, accessPasswordJSON{w.Name, w.ChangedAt.UTC()})
	}
	changed := row.Access.ChangedAt.UTC()
	out.Scope, out.Networks, out.ChangedAt = row.Access.Scope, append(out.Networks, row.Access.Networks...), &changed
	out.Previews = intake.PreviewsOf(row.Access, len(passwords))
	out.Protected = out.Previews != intake.PreviewsPublic
	// A site without a distribution is not served; provisioning applies it.
	out.InForce = row.Access.Applied == row.Access.Generation || p.DistributionID == nil
	if !out.InForce {
		out.Problem = lists.ProblemFor(role, row.Cause)
	}
	return out, nil
}

func (s *server) replyAccess(c *gin.Context, status int, pipeline uuid.UUID, role credentials.Role) error {
	p, err := s.q.PipelineGet(c.Request.Context(), pipeline)
	if err != nil {
		return fmt.Errorf("read pipeline %s: %w", pipeline, err)
	}
	view, err := accessView(c.Request.Context(), s.q, p, role)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, status, view)
	return nil
}

// accessAgain answers an admin with who may see a pipeline's site now.
func (s *server) accessAgain(c *gin.Context, id uuid.UUID) error {
	return s.replyAccess(c, http.StatusAccepted, id, credentials.Admin)
}

func (s *server) accessGet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	return s.replyAccess(c, http.StatusOK, p.ID, who.Role)
}

// changeAccess answers a change of who may see a site. It is accepted: a worker
// applies it.
func (s *server) changeAccess(f func(*gin.Context, queries.Pipeline, caller) error) func(*gin.Context, caller) error {
	return func(c *gin.Context, who caller) error {
		p, err := s.pipeline(c.Request.Context(), c, who)
		if err != nil {
			return err
		}
		if err := f(c, p, who); err != nil {
			return err
		}
		return s.replyAccess(c, http.StatusAccepted, p.ID, who.Role)
	}
}

func (s *server) accessPasswordSet(c *gin.Context, p queries.Pipeline, who caller) error {
	var body struct {
		Password  *string `json:"password"`
		Generated bool    `json:"generated"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if body.Password == nil {
		return troy.Errorf(troy.Invalid, "the password is missing").At("password")
	}
	return s.setAccessPassword(c.Request.Context(), p, c.Param("name"), typedPassword{*body.Password, body.Generated}, who.Actor())
}

// typedPassword is a password as it is set.
type typedPassword struct {
	text string
	// generated means that it is random, so that a fast hash protects it.
	// CloudFront's functions can check no other ones.
	generated bool
}

func (w typedPassword) check() error {
	if n := utf8.RuneCountInString(w.text); w.generated && n < site.MinGenerated {
		return troy.Errorf(troy.Invalid, "the password has %d characters; expected at least %d of a generated one", n, site.MinGenerated)
	}
	return password.Check(w.text)
}

// setAccessPassword hashes and seals a password for a site, and sets it.
func (s *server) setAccessPassword(ctx context.Context, p queries.Pipeline, name string, w typedPassword, actor string) error {
	if err := intake.CheckAccessName(name); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		if e, ok := errors.AsType[*troy.Error](err); ok {
			return e.At("password")
		}
		return err
	}
	if s.deps.Secrets == nil {
		return troy.Errorf(troy.Unavailable, "passwords can't be stored: TROY_SECRET_KEY is not set")
	}
	err := s.sealAccessPassword(ctx, p, name, w, actor)
	if troy.KindOf(err) == troy.Moved {
		// Another password came first, so the site has its salt, which stays.
		err = s.sealAccessPassword(ctx, p, name, w, actor)
	}
	return err
}

func (s *server) sealAccessPassword(ctx context.Context, p queries.Pipeline, name string, w typedPassword, actor string) error {
	row, _, ok, err := intake.Protection(ctx, s.q, p.ID)
	if err != nil {
		return err
	}
	salt := row.Access.Salt
	if !ok || len(salt) == 0 {
		salt = password.NewSalt()
	}
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	made := site.Password{Hash: password.Hash(w.text, salt), Key: secret.NewSigningKey()}
	<-s.hashing
	if w.generated && s.deps.Functions {
		made.Digest = made.GeneratedDigest(w.text)
	}
	plain, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("write the password %s: %w", name, err)
	}
	sealed, err := s.deps.Secrets.Seal(plain, secret.Access(p.ID, name))
	if err != nil {
		return err
	}
	return s.deps.Intake.SetAccessPassword(ctx, p.ID, intake.AccessPassword{Name: name, Salt: salt, Sealed: sealed}, actor)
}

func (s *server) accessPasswordRemove(c *gin.Context, p queries.Pipeline, who caller) error {
	return s.deps.Intake.RemoveAccessPassword(c.Request.Context(), p.ID, c.Param("name"), who.Actor())
}

func (s *server) accessAllow(c *gin.Context, p queries.Pipeline, who caller) error {
	var body struct {
		Network string `json:"network"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	return s.allowNetwork(c.Request.Context(), p, body.Network, who.Actor())
}

func (s *server) allowNetwork(ctx context.Context, p queries.Pipeline, text, actor string) error {
	network, err := site.ParseNetwork(text)
	if err != nil {
		return atNetwork(err)
	}
	return s.deps.Intake.AllowNetwork(ctx, p.ID, network, actor)
}

func (s *server) accessDisallow(c *gin.Context, p queries.Pipeline, who caller) error {
	network, err := site.ParseNetwork(c.Query("network"))
	if err != nil {
		return atNetwork(err)
	}
	return s.deps.Intake.DisallowNetwork(c.Request.Context(), p.ID, network, who.Actor())
}

func atNetwork(err error) error {
	return troy.Errorf(troy.Invalid, "%w", err).At("network")
}

func (s *server) accessScope(c *gin.Context, p queries.Pipeline, who caller) error {
	var body struct {
		Scope string `json:"scope"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	return s.deps.Intake.SetAccessScope(c.Request.Context(), p.ID, body.Scope, who.Actor())
}

func (s *server) accessPreviews(c *gin.Context, p queries.Pipeline, who caller) error {
	var body struct {
		Previews string `json:"previews"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	return s.deps.Intake.SetPreviewAccess(c.Request.Context(), p.ID, body.Previews, who.Actor())
}

func (s *server) accessOff(c *gin.Context, p queries.Pipeline, who caller) error {
	return s.deps.Intake.Unprotect(c.Request.Context(), p.ID, who.Actor())
}
