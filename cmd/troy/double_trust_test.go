package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func (d *double) listTrusts(_ *http.Request, p *doublePipeline) (answer, error) {
	return answer{200, map[string]any{"trusts": append([]client.Trust{}, p.trusts...)}}, nil
}

func (d *double) addTrust(r *http.Request, p *doublePipeline) (answer, error) {
	var n client.NewTrust
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	if n.Provider == "jenkins" {
		return answer{}, troy.Errorf(troy.Invalid, `it is "jenkins"; expected github, gitlab or bitbucket`).At("provider")
	}
	t := client.Trust{
		ID: uuid.New(), Provider: n.Provider, Issuer: "https://token.actions.githubusercontent.com", RepositoryID: n.RepositoryID, OwnerID: n.OwnerID, Ref: n.Ref,
		Environment: n.Environment, Workflow: n.Workflow, PreviewsOnly: n.PreviewsOnly, CreatedAt: time.Now(), CreatedBy: "token ada",
	}
	p.trusts = append(p.trusts, t)
	return answer{201, t}, nil
}

func (d *double) removeTrust(r *http.Request, p *doublePipeline) (answer, error) {
	before := len(p.trusts)
	p.trusts = slices.DeleteFunc(p.trusts, func(t client.Trust) bool { return t.ID.String() == r.PathValue("trust") })
	if len(p.trusts) == before {
		return fail(troy.NotFound, "the pipeline has no such trust rule")
	}
	return answer{204, nil}, nil
}

// exchange accepts the ID token that idToken gives for the server's address.
func (d *double) exchange(r *http.Request) (answer, error) {
	var body struct{ Pipeline, Token string }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Token != "an-id-token-for-http://"+r.Host || body.Pipeline != "blog" || r.Header.Get("Authorization") != "" {
		return fail(troy.Forbidden, `the token's repository_id is "42"; expected "41"`)
	}
	return answer{201, client.Exchanged{Token: "admin", Pipeline: "blog", ExpiresAt: time.Date(2026, 11, 29, 12, 15, 0, 0, time.UTC)}}, nil
}

// idToken is what a runner of GitHub does.
func (d *double) idToken(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer of-the-runner" || r.URL.Query().Get("api-version") != "2.0" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	respond(w, answer{200, map[string]string{"value": "an-id-token-for-" + r.URL.Query().Get("audience")}}, nil)
}
