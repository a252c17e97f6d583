package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/reply"
)

// newView is the page of a new site.
type newView struct {
	frame
	MayCreate bool
	URL       string
	Drop      dropView
	repositoriesView
}

// dropView is where a folder or a zip is dropped: for a pipeline, or for a new
// one if Slug is empty.
type dropView struct {
	Slug   string
	Limits site.Limits
	// Secrets are the patterns of the names of files with secrets, as JSON.
	Secrets string
}

func (d *Dashboard) drop(slug string) (dropView, error) {
	secrets, err := json.Marshal(site.NamedLeaks())
	if err != nil {
		return dropView{}, fmt.Errorf("encode the names of secrets: %w", err)
	}
	return dropView{Slug: slug, Limits: d.cfg.Limits, Secrets: string(secrets)}, nil
}

// mustCreate returns an error if a visitor may not create pipelines.
func mustCreate(who credentials.Holder) error {
	return mustOperate(who, "only an admin of all pipelines can create a site")
}

func (d *Dashboard) newSite(v *visit) error {
	drop, err := d.drop("")
	if err != nil {
		return err
	}
	return d.show(v, http.StatusOK, "new.html", newView{frame: d.frame(v, "New site"), MayCreate: operator(v.who), URL: d.cfg.URL, Drop: drop})
}

// slugsTried is how many slugs are tried for a name before it is left to the
// visitor.
const slugsTried = 20

// slugSuggest answers with a free slug for a name, or with what is wrong with a
// slug. It is advice: a slug is taken when the pipeline is made.
func (d *Dashboard) slugSuggest(v *visit) error {
	if err := mustCreate(v.who); err != nil {
		return err
	}
	var answer struct {
		Slug    string `json:"slug"`
		Problem string `json:"problem,omitempty"`
	}
	q := v.r.URL.Query()
	if answer.Slug = q.Get("slug"); answer.Slug != "" {
		if err := troy.CheckSlug(answer.Slug); err != nil {
			answer.Problem = sentence(public(err).Message)
		} else if free, err := d.isFree(v, answer.Slug); err != nil {
			return err
		} else if !free {
			answer.Problem = "This address is taken; choose another."
		}
		reply.JSON(v.w, http.StatusOK, answer)
		return nil
	}
	first := troy.SlugFrom(clipName(q.Get("name")))
	for n := 1; ; n++ {
		if answer.Slug = first; n > 1 {
			answer.Slug = troy.SlugVariant(first, n)
		}
		free, err := d.isFree(v, answer.Slug)
		if err != nil {
			return err
		}
		if free || n == slugsTried {
			reply.JSON(v.w, http.StatusOK, answer)
			return nil
		}
	}
}

// clipName bounds the name that a slug is made from.
func clipName(name string) string { return name[:min(len(name), 200)] }

func (d *Dashboard) isFree(v *visit, slug string) (bool, error) {
	_, err := d.q.PipelineGetBySlug(v.ctx(), slug)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, fmt.Errorf("look up the slug %s: %w", slug, err)
	}
	return err != nil, nil
}
