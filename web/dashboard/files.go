package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// filesPerPage is how many entries of a folder, or changes, are shown at first.
const filesPerPage = 100

// filesView is a folder of a deployment's files, as a page or as a part of one.
type filesView struct {
	frame
	Slug   string
	Number int64
	Page   string // the address of the deployment
	Above  []crumb
	Folder string // empty for the root
	listingView
}

// listingView is a part of a folder's content.
type listingView struct {
	Entries []entryView
	More    string // the address of the rest
	Missing string // why there are no files
}

// crumb is a folder above the one that is shown.
type crumb struct{ Name, Path string }

// entryView is a file, or a folder and the address of its content.
type entryView struct {
	Name  string
	Files int
	Size  int64
	Open  string
}

// filesShow shows a folder of a deployment's files: to htmx only the list.
func (d *Dashboard) filesShow(v *visit) error {
	r, p, err := d.findDeployment(v)
	if err != nil {
		return err
	}
	folder, after := v.r.URL.Query().Get("folder"), v.r.URL.Query().Get("after")
	if folder != "" && !strings.HasSuffix(folder, "/") {
		folder += "/"
	}
	view := filesView{Slug: p.Slug, Number: r.Number, Page: pageOf(p, r), Folder: folder}
	address := func(folder, after string) string {
		q := url.Values{}
		for name, value := range map[string]string{"folder": folder, "after": after} {
			if value != "" {
				q.Set(name, value)
			}
		}
		if len(q) == 0 {
			return view.Page + "/files"
		}
		return view.Page + "/files?" + q.Encode()
	}
	files, err := d.deps.Files(v.ctx(), r)
	if troy.KindOf(err) == troy.NotFound {
		view.Missing, err = sentence(public(err).Message), nil
	}
	if err != nil {
		return err
	}
	entries, more := site.ListFolder(files, folder, after, filesPerPage)
	for _, e := range entries {
		w := entryView{Name: e.Path[len(folder):], Files: e.Files, Size: e.Size}
		if e.IsFolder() {
			w.Open = address(e.Path, "")
		}
		view.Entries = append(view.Entries, w)
	}
	if more {
		view.More = address(folder, entries[len(entries)-1].Path)
	}
	if folder != "" && len(entries) == 0 && view.Missing == "" && after == "" {
		return troy.Errorf(troy.NotFound, "deployment %d has no folder %q", r.Number, troy.Clip(folder))
	}
	if isPart(v.r) {
		return d.show(v, http.StatusOK, "files_list", view.listingView)
	}
	for at := 0; at < len(folder); {
		end := at + strings.IndexByte(folder[at:], '/') + 1
		view.Above = append(view.Above, crumb{folder[at:end], address(folder[:end], "")})
		at = end
	}
	view.frame = d.frame(v, fmt.Sprintf("Files of #%d of %s", r.Number, p.Name))
	return d.show(v, http.StatusOK, "files.html", view)
}

// isPart reports whether htmx asks for a part of a page.
func isPart(r *http.Request) bool { return r.Header.Get("HX-Request") != "" }

// changesView is what a deployment changed, as a page or as a part of one.
type changesView struct {
	frame
	Slug   string
	Number int64
	Page   string // the address of the deployment
	With   *int64 // the number of the deployment that it is compared with
	site.Difference
	Changes []site.Change
	More    string // the address of the rest
	Rest    bool   // this is the rest of a list
	Missing string // why they can't be compared
	Others  []otherView
}

// otherView is a deployment that can be compared with.
type otherView struct {
	Number   int64
	Title    string
	Selected bool
}

// othersShown is how many deployments are offered to compare with.
const othersShown = 20

// changesShow shows what a deployment changed: to htmx only the list.
func (d *Dashboard) changesShow(v *visit) error {
	r, p, err := d.findDeployment(v)
	if err != nil {
		return err
	}
	view := changesView{Slug: p.Slug, Number: r.Number, Page: pageOf(p, r)}
	after := v.r.URL.Query().Get("after")
	view.Rest = after != ""
	if err := d.compare(v, r, p, after, &view); err != nil {
		return err
	}
	if isPart(v.r) && view.Rest {
		return d.show(v, http.StatusOK, "changes_rest", view)
	}
	if view.Others, err = d.others(v, r, p, view.With); err != nil {
		return err
	}
	if isPart(v.r) {
		return d.show(v, http.StatusOK, "changes_list", view)
	}
	view.frame = d.frame(v, fmt.Sprintf("Changes of #%d of %s", r.Number, p.Name))
	return d.show(v, http.StatusOK, "changes.html", view)
}

// compare compares a deployment with the chosen one, or with what the site had
// before.
func (d *Dashboard) compare(v *visit, r queries.Deployment, p queries.Pipeline, after string, view *changesView) error {
	var other *queries.Deployment
	found, err := d.q.DeploymentBefore(v.ctx(), p.ID, r.Number)
	if ref := v.r.URL.Query().Get("with"); ref != "" {
		found, err = d.deploymentOf(v, p, ref)
	}
	switch {
	case err == nil:
		other, view.With = &found, &found.Number
	case !errors.Is(err, pgx.ErrNoRows):
		return err
	}
	var before []site.File
	now, err := d.deps.Files(v.ctx(), r)
	if err == nil && other != nil {
		before, err = d.deps.Files(v.ctx(), *other)
	}
	if troy.KindOf(err) == troy.NotFound {
		view.Missing = sentence(public(err).Message)
		return nil
	}
	if err != nil {
		return err
	}
	var more bool
	view.Difference, view.Changes, more = site.Compare(before, now, after, filesPerPage)
	if more {
		q := url.Values{"after": {view.Changes[len(view.Changes)-1].Path}}
		if other != nil {
			q.Set("with", fmt.Sprint(other.Number))
		}
		view.More = view.Page + "/changes?" + q.Encode()
	}
	return nil
}

// others lists the newest deployments that can be compared with.
func (d *Dashboard) others(v *visit, r queries.Deployment, p queries.Pipeline, with *int64) (list []otherView, err error) {
	rows, err := d.q.DeploymentList(v.ctx(), queries.DeploymentListParams{PipelineID: p.ID, PageLimit: othersShown})
	if err != nil {
		return nil, fmt.Errorf("list deployments of %s: %w", p.ID, err)
	}
	chosen := with == nil
	for _, o := range rows {
		if o.ID == r.ID || o.State != troy.Succeeded || o.PrunedAt != nil {
			continue
		}
		w := otherView{o.Number, d.view(o, p).Title, with != nil && *with == o.Number}
		chosen = chosen || w.Selected
		list = append(list, w)
	}
	if !chosen {
		list = append(list, otherView{*with, "", true})
	}
	return list, nil
}
