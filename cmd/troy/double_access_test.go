package main

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

func (d *double) showAccess(_ *http.Request, p *doublePipeline) (answer, error) {
	if p.applies > 0 {
		p.applies--
	}
	return d.accessOf(p, 200)
}

func (d *double) accessOf(p *doublePipeline, status int) (answer, error) {
	now := p.access
	now.Scope, now.InForce = cmp.Or(now.Scope, "site"), p.applies == 0
	switch bare := len(now.Passwords) == 0 && len(now.Networks) == 0; {
	case now.Previews == "signed-in":
	case bare:
		now.Previews = "public"
	default:
		now.Previews = "password"
	}
	now.Protected = now.Previews != "public"
	now.Passwords, now.Networks = append([]client.AccessPassword{}, now.Passwords...), append([]string{}, now.Networks...)
	return answer{status, now}, nil
}

// accessChanged holds at the second look, or with a slug "stuck" never.
func (d *double) accessChanged(p *doublePipeline) (answer, error) {
	p.applies = 2
	if p.Slug == "stuck" {
		p.applies, p.access.Problem = 1<<30, "the disk is read-only"
	}
	return d.accessOf(p, 202)
}

func (d *double) setAccessPassword(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Password  string `json:"password"`
		Generated bool   `json:"generated"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if len(body.Password) < 8 {
		return answer{}, troy.Errorf(troy.Invalid, "the password has %d characters; expected at least 8", len(body.Password)).At("password")
	}
	if body.Generated && len(body.Password) < site.MinGenerated {
		return answer{}, troy.Errorf(troy.Invalid, "the password has %d characters; expected at least %d of a generated one", len(body.Password), site.MinGenerated).At("password")
	}
	d.typed, d.generated = body.Password, body.Generated
	name := r.PathValue("name")
	p.access.Passwords = append(slices.DeleteFunc(p.access.Passwords, func(w client.AccessPassword) bool { return w.Name == name }), client.AccessPassword{Name: name, ChangedAt: time.Now()})
	return d.accessChanged(p)
}

func (d *double) removeAccessPassword(r *http.Request, p *doublePipeline) (answer, error) {
	at := slices.IndexFunc(p.access.Passwords, func(w client.AccessPassword) bool { return w.Name == r.PathValue("name") })
	switch {
	case at < 0:
		return fail(troy.NotFound, "the site has no password %q", r.PathValue("name"))
	case len(p.access.Passwords)+len(p.access.Networks) == 1:
		return fail(troy.Conflict, "nothing else protects the site, so everyone could see it")
	}
	p.access.Passwords = slices.Delete(p.access.Passwords, at, at+1)
	return d.accessChanged(p)
}

func (d *double) allow(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Network string `json:"network"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	network, err := site.ParseNetwork(body.Network)
	if err != nil {
		return answer{}, troy.Errorf(troy.Invalid, "%w", err).At("network")
	}
	p.access.Networks = append(p.access.Networks, network.String())
	return d.accessChanged(p)
}

func (d *double) disallow(r *http.Request, p *doublePipeline) (answer, error) {
	at := slices.Index(p.access.Networks, r.URL.Query().Get("network"))
	if at < 0 {
		return fail(troy.NotFound, "the site does not list the network")
	}
	p.access.Networks = slices.Delete(p.access.Networks, at, at+1)
	return d.accessChanged(p)
}

func (d *double) protect(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Scope string `json:"scope"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Scope != "site" && body.Scope != "previews" {
		return answer{}, troy.Errorf(troy.Invalid, "%q is not a scope; expected site or previews", body.Scope).At("scope")
	}
	p.access.Scope = body.Scope
	return d.accessChanged(p)
}

func (d *double) setPreviews(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Previews string `json:"previews"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	bare := len(p.access.Passwords) == 0 && len(p.access.Networks) == 0
	switch {
	case body.Previews == "signed-in" && bare:
		p.access.Scope = "previews"
	case body.Previews == "public" && bare:
		p.access.Scope = "site"
	case body.Previews == "public":
		return fail(troy.Conflict, "passwords or networks protect the previews too; to make the site and its previews public, turn the protection off")
	case body.Previews != "signed-in" && body.Previews != "password":
		return answer{}, troy.Errorf(troy.Invalid, "%q does not say who may see previews; expected public, password or signed-in", body.Previews).At("previews")
	}
	p.access.Previews = body.Previews
	return d.accessChanged(p)
}

func (d *double) unprotect(_ *http.Request, p *doublePipeline) (answer, error) {
	p.access.Passwords, p.access.Networks, p.access.Previews = nil, nil, ""
	return d.accessChanged(p)
}
