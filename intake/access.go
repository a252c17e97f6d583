package intake

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// Limits of a pipeline's protection. The edge has the same.
const (
	maxAccessPasswords = 20
	maxAccessNetworks  = 100
)

var accessNameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// CheckAccessName returns an Invalid error if name is not a valid name of a
// site's password: lower-case letters, digits and hyphens, at most 40
// characters.
func CheckAccessName(name string) error {
	if !accessNameForm.MatchString(name) {
		return troy.Errorf(troy.Invalid, "%q is not a valid name of a password; expected lower-case letters, digits and hyphens, at most 40 characters", troy.Clip(name)).At("name")
	}
	return nil
}

// The scopes of a protection.
const (
	ScopeSite     = "site"     // the site and its previews
	ScopePreviews = "previews" // the previews; everyone may see the site
)

// Who may see the previews of a pipeline.
const (
	PreviewsPublic   = "public"    // everyone
	PreviewsPassword = "password"  // those whom the passwords and networks admit
	PreviewsSignedIn = "signed-in" // those who have a session of the dashboard and may see the pipeline
)

// PreviewsOf returns who may see the previews of a pipeline with this
// protection.
func PreviewsOf(a queries.Access, passwords int) string {
	switch {
	case a.PreviewKey != nil:
		return PreviewsSignedIn
	case passwords > 0 || len(a.Networks) > 0:
		return PreviewsPassword
	}
	return PreviewsPublic
}

// AccessPassword is a password of a site.
type AccessPassword struct {
	Name string
	// Salt is the salt of the hash in Sealed.
	Salt []byte
	// Sealed is a site.Password as JSON, sealed.
	Sealed []byte
}

// SetAccessPassword adds a password to a pipeline's site, or changes it, which
// ends the sessions that began with it. It returns Moved if the site's
// passwords have another salt than w.
func (in *Intake) SetAccessPassword(ctx context.Context, pipeline uuid.UUID, w AccessPassword, actor string) error {
	if err := CheckAccessName(w.Name); err != nil {
		return err
	}
	return in.protect(ctx, pipeline, Change{Action: AccessPasswordSet, Subject: w.Name, Actor: actor}, w.Salt, func(q *queries.Queries, a *protected) error {
		if !bytes.Equal(a.salt, w.Salt) {
			return troy.Errorf(troy.Moved, "another password was set at the same moment; try again")
		}
		if !slices.Contains(a.passwords, w.Name) && len(a.passwords) >= maxAccessPasswords {
			return troy.Errorf(troy.Conflict, "the site has %d passwords; no more are allowed", len(a.passwords))
		}
		id, err := uuid.NewRandom()
		if err != nil {
			return err
		}
		a.passwords = append(a.passwords, w.Name)
		return q.AccessPasswordSet(ctx, queries.AccessPasswordSetParams{PipelineID: pipeline, Name: w.Name, ID: id, Secret: w.Sealed})
	})
}

// RemoveAccessPassword removes a password from a pipeline's site and ends the
// sessions that began with it. It returns NotFound if the password does not
// exist.
func (in *Intake) RemoveAccessPassword(ctx context.Context, pipeline uuid.UUID, name, actor string) error {
	if CheckAccessName(name) != nil {
		return noAccessPassword(name)
	}
	return in.protect(ctx, pipeline, Change{Action: AccessPasswordRemove, Subject: name, Actor: actor}, nil, func(q *queries.Queries, a *protected) error {
		n, err := q.AccessPasswordRemove(ctx, pipeline, name)
		if err == nil && n == 0 {
			err = noAccessPassword(name)
		}
		a.passwords = slices.DeleteFunc(a.passwords, func(p string) bool { return p == name })
		return err
	})
}

func noAccessPassword(name string) error {
	return troy.Errorf(troy.NotFound, "the site has no password %q", troy.Clip(name))
}

// AllowNetwork lets visitors from a network see a pipeline's site, and keeps
// those from networks that are not listed from it. Allowing a network again
// changes nothing.
func (in *Intake) AllowNetwork(ctx context.Context, pipeline uuid.UUID, network netip.Prefix, actor string) error {
	return in.protect(ctx, pipeline, Change{Action: AccessAllow, Subject: network.String(), Actor: actor}, nil, func(q *queries.Queries, a *protected) error {
		switch {
		case slices.Contains(a.networks, network.String()):
			return errUnchanged
		case len(a.networks) >= maxAccessNetworks:
			return troy.Errorf(troy.Conflict, "the site has %d networks; no more are allowed", len(a.networks)).At("network")
		}
		a.networks = append(a.networks, network.String())
		return q.AccessSetNetworks(ctx, a.networks, pipeline)
	})
}

// DisallowNetwork removes a network from those that may see a pipeline's site.
// It returns NotFound if the network is not listed.
func (in *Intake) DisallowNetwork(ctx context.Context, pipeline uuid.UUID, network netip.Prefix, actor string) error {
	return in.protect(ctx, pipeline, Change{Action: AccessDisallow, Subject: network.String(), Actor: actor}, nil, func(q *queries.Queries, a *protected) error {
		at := slices.Index(a.networks, network.String())
		if at < 0 {
			return troy.Errorf(troy.NotFound, "the site does not list the network %s", network).At("network")
		}
		a.networks = slices.Delete(a.networks, at, at+1)
		return q.AccessSetNetworks(ctx, a.networks, pipeline)
	})
}

// SetAccessScope sets what the passwords and networks of a pipeline's site
// protect: ScopeSite or ScopePreviews. It returns a Conflict error if there is no
// password and no network.
func (in *Intake) SetAccessScope(ctx context.Context, pipeline uuid.UUID, scope, actor string) error {
	if scope != ScopeSite && scope != ScopePreviews {
		return troy.Errorf(troy.Invalid, "%q is not a scope; expected site or previews", troy.Clip(scope)).At("scope")
	}
	return in.protect(ctx, pipeline, Change{Action: AccessScope, Subject: scope, Actor: actor}, nil, func(q *queries.Queries, a *protected) error {
		switch {
		case scope == ScopePreviews && in.cfg.NoPreviews != "":
			return troy.Errorf(troy.Conflict, "%s", in.cfg.NoPreviews)
		case len(a.networks) == 0 && len(a.passwords) == 0:
			return troy.Errorf(troy.Conflict, "the site has no password and no network; add a password or a network first")
		case a.scope == scope:
			return errUnchanged
		}
		return q.AccessSetScope(ctx, scope, pipeline)
	})
}

// SetPreviewAccess sets who may see the previews of a pipeline. To set
// PreviewsSignedIn again signs everyone out of them. It returns a Conflict error
// for PreviewsPublic while passwords or networks protect the previews too, and
// for PreviewsPassword without any.
func (in *Intake) SetPreviewAccess(ctx context.Context, pipeline uuid.UUID, previews, actor string) error {
	if previews != PreviewsPublic && previews != PreviewsPassword && previews != PreviewsSignedIn {
		return troy.Errorf(troy.Invalid, "%q does not say who may see previews; expected public, password or signed-in", troy.Clip(previews)).At("previews")
	}
	return in.protect(ctx, pipeline, Change{Action: AccessPreviews, Subject: previews, Actor: actor}, nil, func(q *queries.Queries, a *protected) error {
		scope, sealed := a.scope, []byte(nil)
		bare := len(a.networks) == 0 && len(a.passwords) == 0
		switch {
		case in.cfg.NoPreviews != "":
			return troy.Errorf(troy.Conflict, "%s", in.cfg.NoPreviews)
		case previews == PreviewsSignedIn:
			if bare {
				scope = ScopePreviews // the next password is for previews
			}
			var err error
			if sealed, err = in.previewKey(pipeline); err != nil {
				return err
			}
		case previews == PreviewsPassword && bare:
			return troy.Errorf(troy.Conflict, "the site has no password and no network; add a password or a network first").At("previews")
		case previews == PreviewsPublic && !bare:
			return troy.Errorf(troy.Conflict, "passwords or networks protect the previews too; to make the site and its previews public, turn the protection off").At("previews")
		case !a.signedIn:
			return errUnchanged
		case bare:
			scope, a.off = ScopeSite, true
		}
		a.signedIn, a.scope = sealed != nil, scope
		return q.AccessSetPreviewKey(ctx, queries.AccessSetPreviewKeyParams{PreviewKey: sealed, Scope: scope, PipelineID: pipeline})
	})
}

// previewKey returns a new sealed key of previews for people who have a session
// of the dashboard.
func (in *Intake) previewKey(pipeline uuid.UUID) ([]byte, error) {
	switch {
	case in.cfg.NoSignedIn != "":
		return nil, troy.Errorf(troy.Conflict, "%s", in.cfg.NoSignedIn).At("previews")
	case in.cfg.PreviewKey == nil:
		return nil, troy.Errorf(troy.Unavailable, "the key of previews can't be stored: TROY_SECRET_KEY is not set")
	}
	return in.cfg.PreviewKey(pipeline)
}

// protectNew protects the previews of a new pipeline, if the operator wishes.
func (in *Intake) protectNew(ctx context.Context, q *queries.Queries, pipeline uuid.UUID) error {
	if !in.cfg.PreviewsSignedIn {
		return nil
	}
	sealed, err := in.previewKey(pipeline)
	if err == nil {
		_, err = q.AccessChange(ctx, pipeline, []byte{})
	}
	if err == nil {
		err = q.AccessSetPreviewKey(ctx, queries.AccessSetPreviewKeyParams{PreviewKey: sealed, Scope: ScopePreviews, PipelineID: pipeline})
	}
	if err != nil {
		return fmt.Errorf("protect the previews of pipeline %s: %w", pipeline, err)
	}
	return nil
}

// Unprotect removes all passwords and networks of a pipeline's site, so that
// everyone may see it and its previews. The next password or network protects
// both.
func (in *Intake) Unprotect(ctx context.Context, pipeline uuid.UUID, actor string) error {
	return in.protect(ctx, pipeline, Change{Action: AccessOff, Actor: actor}, nil, func(q *queries.Queries, a *protected) error {
		if len(a.passwords) == 0 && len(a.networks) == 0 && !a.signedIn {
			return errUnchanged
		}
		a.off = true
		if err := q.AccessPasswordsClear(ctx, pipeline); err != nil {
			return err
		}
		if err := q.AccessSetPreviewKey(ctx, queries.AccessSetPreviewKeyParams{Scope: ScopeSite, PipelineID: pipeline}); err != nil {
			return err
		}
		return q.AccessSetNetworks(ctx, []string{}, pipeline)
	})
}

// protected is the protection of a site during a change.
type protected struct {
	networks, passwords []string
	scope               string
	salt                []byte // of all passwords
	signedIn            bool   // the previews need a session of the dashboard
	off                 bool   // everyone may see the site, as the caller wished
}

// errUnchanged ends a change that is in effect already, without a trace.
var errUnchanged = errors.New("nothing changed")

// protect changes the protection of a pipeline's site in one transaction with
// its entry in the audit trail and the work that applies it. salt is only for a
// site that never had a password.
func (in *Intake) protect(ctx context.Context, pipeline uuid.UUID, change Change, salt []byte, f func(*queries.Queries, *protected) error) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Protecting); err != nil {
			return err
		}
		if in.cfg.NoPasswords != "" && change.Action == AccessPasswordSet {
			return troy.Errorf(troy.Conflict, "%s", in.cfg.NoPasswords)
		}
		if salt == nil {
			salt = []byte{}
		}
		row, err := q.AccessChange(ctx, p.ID, salt)
		if err != nil {
			return err
		}
		list, err := q.AccessPasswordList(ctx, p.ID)
		if err != nil {
			return err
		}
		a := protected{networks: row.Networks, salt: row.Salt, scope: row.Scope, signedIn: row.PreviewKey != nil}
		for _, w := range list {
			a.passwords = append(a.passwords, w.Name)
		}
		if err := f(q, &a); err != nil {
			return err
		}
		signedIn := a.signedIn && a.scope == ScopePreviews
		if !a.off && !signedIn && len(a.networks) == 0 && len(a.passwords) == 0 {
			// Someone who replaces a password would open the site for a moment.
			return troy.Errorf(troy.Conflict, "nothing else protects the site, so everyone could see it; add another password or network first, or turn the protection off: troy access %s off", p.Slug)
		}
		change.Pipeline = &p
		change.Subject = cmp.Or(change.Subject, p.Slug)
		if err := Audit(ctx, q, change); err != nil {
			return err
		}
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeAccess, SubjectID: p.ID})
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("change who may see the site of pipeline %s: %w", pipeline, err)
	}
	return nil
}

// Protection returns who may see a pipeline's site. ok is false if it was never
// protected.
func Protection(ctx context.Context, q *queries.Queries, pipeline uuid.UUID) (row queries.AccessGetRow, passwords []queries.AccessPasswordListRow, ok bool, err error) {
	row, err = q.AccessGet(ctx, pipeline)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, nil, false, nil
	}
	if err == nil {
		passwords, err = q.AccessPasswordList(ctx, pipeline)
	}
	if err != nil {
		return row, nil, false, fmt.Errorf("read who may see the site of pipeline %s: %w", pipeline, err)
	}
	return row, passwords, true, nil
}
