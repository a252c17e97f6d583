package main

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

// filesOf returns the files of a deployment that was released.
func (p *doublePipeline) filesOf(x *client.Deployment) ([]site.File, error) {
	id := x.ID
	if x.SourceDeploymentID != nil {
		id = *x.SourceDeploymentID
	}
	r, ok := p.releases[id]
	if !ok {
		return nil, troy.Errorf(troy.NotFound, "deployment %d has no files", x.Number)
	}
	files := slices.Clone(r.files)
	slices.SortFunc(files, func(a, b site.File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

// doublePage is how many entries the double lists at a time.
const doublePage = 2

func (d *double) listFiles(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.deployment(r.PathValue("d"))
	if err != nil {
		return answer{}, err
	}
	files, err := p.filesOf(x)
	if err != nil {
		return answer{}, err
	}
	q := r.URL.Query()
	entries, more := site.List(files, q.Get("prefix"), q.Get("after"), doublePage)
	if folder := q.Get("folder"); q.Has("folder") {
		if folder != "" && !strings.HasSuffix(folder, "/") {
			folder += "/"
		}
		entries, more = site.ListFolder(files, folder, q.Get("after"), doublePage)
	}
	list := []client.File{}
	for _, e := range entries {
		f := client.File{Path: e.Path, Size: e.Size, SHA256: &e.SHA256}
		if e.IsFolder() {
			f.Files, f.SHA256 = e.Files, nil
		}
		list = append(list, f)
	}
	body := map[string]any{"files": list}
	if more {
		body["next"] = list[len(list)-1].Path
	}
	return answer{200, body}, nil
}

func (d *double) compare(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.deployment(r.PathValue("d"))
	if err != nil {
		return answer{}, err
	}
	now, err := p.filesOf(x)
	if err != nil {
		return answer{}, err
	}
	q := r.URL.Query()
	var with *client.Deployment
	if q.Get("with") != "" {
		if with, err = p.deployment(q.Get("with")); err != nil {
			return answer{}, err
		}
	} else if i := slices.Index(p.wasLive, x.ID); i > 0 {
		with, _ = p.deployment(p.wasLive[i-1].String())
	}
	c := struct {
		client.Comparison
		Next string `json:"next,omitempty"`
	}{Comparison: client.Comparison{Deployment: x.Number, Changes: []site.Change{}}}
	var before []site.File
	if with != nil && with.ID != uuid.Nil {
		c.With = &with.Number
		if before, err = p.filesOf(with); err != nil {
			return answer{}, err
		}
	}
	var more bool
	c.Difference, c.Changes, more = site.Compare(before, now, q.Get("after"), doublePage)
	if more {
		c.Next = c.Changes[len(c.Changes)-1].Path
	}
	return answer{200, c}, nil
}

func (d *double) repositories(r *http.Request) (answer, error) {
	all := []client.AppRepository{{Provider: troy.GitHub, FullName: "team/blog", DefaultBranch: "main"}, {Provider: troy.Bitbucket, FullName: "team/shop", DefaultBranch: "trunk\x1b[31m", Private: true}}
	found := client.AppRepositories{Repositories: []client.AppRepository{}, Complete: true, Problems: []string{"github: slow \x1b]0;evil\x07"}, Apps: 2}
	for _, a := range all {
		if strings.Contains(a.FullName, r.URL.Query().Get("search")) {
			found.Repositories = append(found.Repositories, a)
		}
	}
	return answer{200, found}, nil
}

func (d *double) inspect(r *http.Request) (answer, error) {
	i := client.Inspection{AppRepository: client.AppRepository{Provider: troy.Provider(r.PathValue("provider")), FullName: r.PathValue("owner") + "/" + r.PathValue("name")}, Branch: "main", Commit: strings.Repeat("a", 40)}
	if b := r.URL.Query().Get("branch"); b != "" {
		i.Branch = b
	}
	switch i.FullName {
	case "team/blog":
		i.Detected = &client.Detected{Generator: "Astro", Root: ".", Install: "npm ci", Build: "npm run build", Outputs: []string{"dist", "public"}}
	case "team/empty":
		i.Problem = "found nothing to build"
	default:
		return fail(troy.NotFound, "the repository does not exist, or Troy has lost access to it")
	}
	return answer{200, i}, nil
}
