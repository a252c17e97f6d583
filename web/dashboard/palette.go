package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// paletteFound is how many pipelines the palette shows.
	paletteFound = 8
	// paletteBack is how many deployments it offers to go back to.
	paletteBack = 5
)

// paletteItem is what the palette offers: a page to go to, the items of a
// pipeline, or a form to send.
type paletteItem struct {
	Title string `json:"title"`
	Hint  string `json:"hint,omitempty"`
	Tone  string `json:"tone,omitempty"`
	Go    string `json:"go,omitempty"`   // the address of a page
	More  string `json:"more,omitempty"` // the address of more items
	// Post is the address of a form, Fields are its values, and Confirm asks
	// before it is sent.
	Post    string            `json:"post,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
	Confirm string            `json:"confirm,omitempty"`
}

func (d *Dashboard) offer(v *visit, items []paletteItem) error {
	reply.JSON(v.w, http.StatusOK, map[string]any{"items": items})
	return nil
}

// palette finds pipelines as the overview does.
func (d *Dashboard) palette(v *visit) error {
	f, err := filterOf(v.r)
	if err != nil {
		return err
	}
	list, _, err := d.list(v, f)
	if err != nil {
		return fmt.Errorf("find pipelines: %w", err)
	}
	items := []paletteItem{}
	for _, p := range list[:min(len(list), paletteFound)] {
		items = append(items, paletteItem{Title: p.Name, Hint: p.Slug + " · " + p.Status.String(), Tone: tone(p.Status), More: "/palette/" + p.Slug})
	}
	return d.offer(v, items)
}

// palettePipeline offers what the visitor may do with a pipeline.
func (d *Dashboard) palettePipeline(v *visit) error {
	p, err := d.find(v)
	if err != nil {
		return err
	}
	latest, err := d.q.DeploymentsLatest(v.ctx(), sparkBars, []uuid.UUID{p.ID})
	if err != nil {
		return fmt.Errorf("read the latest deployments of %s: %w", p.ID, err)
	}
	host, err := d.q.PipelineAddress(v.ctx(), p.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
	}
	path := "/pipelines/" + p.Slug
	items := []paletteItem{{Title: "Open " + p.Name, Hint: "page", Go: path}}
	if host != "" {
		items = append(items, paletteItem{Title: "Open the site", Hint: host, Go: d.cfg.SiteURL(host)})
	}
	for _, r := range latest {
		if r.Kind == troy.Automated {
			items = append(items, paletteItem{Title: fmt.Sprintf("Open the log of #%d", r.Number), Hint: r.State.String(), Go: fmt.Sprintf("%s/deployments/%d#log", path, r.Number)})
			break
		}
	}
	items = append(items, d.paletteActions(v, p, latest)...)
	return d.offer(v, append(items, paletteItem{Title: "Show its work", Hint: "queue", Go: "/queue?pipeline=" + p.Slug}, paletteItem{Title: "Show its activity", Hint: "activity", Go: "/activity?pipeline=" + p.Slug}))
}

func (d *Dashboard) paletteActions(v *visit, p queries.Pipeline, latest []queries.Deployment) (items []paletteItem) {
	a := actionsOf(v.who, p)
	if !a.Deployer {
		return nil
	}
	fields := func(deployment string) map[string]string {
		return map[string]string{"seen": fmt.Sprint(a.Seen), "live": a.LiveID, "newest": fmt.Sprint(a.Newest), "key": a.Key, "deployment": deployment}
	}
	if a.Repository && a.Deploy {
		items = append(items, paletteItem{
			Title: "Deploy", Hint: "the newest commit of the branch", Post: a.Path + "deploy", Fields: fields(""), Confirm: fmt.Sprintf("Build and deploy %s", p.Slug),
		})
	}
	for _, r := range latest {
		w := d.view(r, p)
		if !w.GoBack || len(items) > paletteBack {
			continue
		}
		title := fmt.Sprintf("%s to #%d", w.Verb, r.Number)
		items = append(items, paletteItem{
			Title: title, Hint: strings.TrimSpace(w.Title + " · " + w.By), Post: a.Path + "rollback", Fields: fields(r.ID.String()), Confirm: fmt.Sprintf("%s of %s", title, p.Slug),
		})
	}
	return items
}
