package dashboard

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/reply"
)

// Repository is a repository to which an app of Troy has access.
type Repository struct {
	Provider      troy.Provider `json:"provider"`
	FullName      string        `json:"full_name"`
	DefaultBranch string        `json:"default_branch"`
	Private       bool          `json:"private"`
}

// Repositories are those that a search found.
type Repositories struct {
	Repositories []Repository `json:"repositories"`
	// Complete is false if there are others.
	Complete bool `json:"complete"`
	// Problems say which forges could not list theirs, and why.
	Problems []string `json:"problems"`
	// Apps is the number of forges that are set up.
	Apps int `json:"apps"`
}

// Inspection is how the newest commit of a branch would be built.
type Inspection struct {
	Repository
	Branch   string    `json:"branch"`
	Commit   string    `json:"commit"`
	Detected *Detected `json:"detected"` // nil if there is a Problem
	Problem  string    `json:"problem,omitempty"`
}

// Detected is what the files of a repository say about its build.
type Detected struct {
	Generator string   `json:"generator,omitempty"`
	Root      string   `json:"root"`
	Install   string   `json:"install"`
	Build     string   `json:"build"`
	Test      string   `json:"test"`
	Outputs   []string `json:"outputs"`
	Why       string   `json:"why"`
	Notes     []string `json:"notes,omitempty"`
	// Files has the file that decides a field, for each that one decides.
	Files map[string]string `json:"-"` // Why says it, too
}

// repositoriesView is a search for a repository, as a page or a part of one.
type repositoriesView struct {
	frame
	Search string
	Found  bool // the list is there
	Repositories
}

func (d *Dashboard) repositoriesShow(v *visit) error {
	if err := mustCreate(v.who); err != nil {
		return err
	}
	view := repositoriesView{Found: true, Search: clipName(v.r.URL.Query().Get("q"))}
	var err error
	if view.Repositories, err = d.deps.Repositories(v.ctx(), view.Search); err != nil {
		return err
	}
	if isPart(v.r) {
		return d.show(v, http.StatusOK, "repositories_list", view)
	}
	view.frame = d.frame(v, "Import a repository")
	return d.show(v, http.StatusOK, "repositories.html", view)
}

// connectView is the page that makes a pipeline of a repository.
type connectView struct {
	frame
	Inspection
	Failure, Key             string
	Name, Slug, Root         string
	Install, Build, Test     string
	Output                   string
	FoundInstall, FoundBuild string
	FoundTest, FoundOutput   string
	Generator, Why           string
	Files                    map[string]string // the file that decides a field
}

// inspect looks into the repository that a query or a form names.
func (d *Dashboard) inspect(v *visit, form url.Values) (connectView, error) {
	if err := mustCreate(v.who); err != nil {
		return connectView{}, err
	}
	found, err := d.deps.Inspect(v.ctx(), troy.Provider(form.Get("provider")), form.Get("repository"), form.Get("branch"), form.Get("root"))
	if err != nil {
		return connectView{}, err
	}
	view := connectView{Inspection: found, Root: form.Get("root"), Key: rand.Text()}
	_, short, _ := strings.Cut(found.FullName, "/")
	view.Name, view.Slug = short, troy.SlugFrom(short)
	if p := found.Detected; p != nil {
		view.FoundInstall, view.FoundBuild, view.FoundTest = p.Install, p.Build, p.Test
		if len(p.Outputs) == 1 {
			view.FoundOutput = p.Outputs[0]
		}
		view.Generator, view.Why, view.Files = p.Generator, p.Why, p.Files
	}
	view.Install, view.Build, view.Test, view.Output = view.FoundInstall, view.FoundBuild, view.FoundTest, view.FoundOutput
	return view, nil
}

func (d *Dashboard) repositoryShow(v *visit) error {
	view, err := d.inspect(v, v.r.URL.Query())
	if err != nil {
		d.failWith(v, err, failureView{Back: "/new"})
		return nil
	}
	for n := 2; ; n++ {
		free, err := d.isFree(v, view.Slug)
		if err != nil {
			return err
		}
		if free || n > slugsTried {
			break
		}
		view.Slug = troy.SlugVariant(troy.SlugFrom(view.Name), n)
	}
	view.frame = d.frame(v, "Import "+view.FullName)
	return d.show(v, http.StatusOK, "repository.html", view)
}

// repositoryConnect makes the pipeline. Its first build begins when it is
// provisioned.
func (d *Dashboard) repositoryConnect(v *visit) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := v.r.PostForm
	if err := mustCreate(v.who); err != nil {
		return err
	}
	settings, err := changed(form)
	if err != nil {
		return d.connectFailed(v, form, err)
	}
	p, err := d.deps.Intake.CreatePipeline(onceOf(v, form), intake.NewPipeline{
		Name: form.Get("name"), Slug: form.Get("slug"), Provision: true, Build: settings, Repository: &intake.Repository{
			Provider: form.Get("provider"), FullName: form.Get("repository"), Branch: form.Get("branch"), Root: strings.Trim(form.Get("root"), "/"),
		},
	}, v.who.Actor())
	if again, ok := errors.AsType[*intake.Repeated](err); ok {
		p, err = d.q.PipelineGet(v.ctx(), again.Subject)
	}
	if err != nil {
		return d.connectFailed(v, form, err)
	}
	http.Redirect(v.w, v.r, "/pipelines/"+p.Slug, http.StatusSeeOther)
	return nil
}

// changed returns the settings of a form that differ from what was detected.
// Troy detects the others again for each commit. The error is Invalid if a
// detected field is empty, because an empty setting means to detect it.
func changed(form url.Values) ([]byte, error) {
	settings := map[string]string{}
	for _, name := range []string{"install", "build", "test", "output"} {
		value := strings.TrimSpace(form.Get(name))
		switch {
		case value == form.Get("found-"+name):
			continue
		case value == "" && name == "output":
			return nil, troy.Errorf(troy.Invalid, "the output folder is empty, so it would be detected again; to publish the root folder, enter a dot").At(name)
		case value == "":
			key := strings.Replace(name, "build", "command", 1)
			return nil, troy.Errorf(troy.Invalid, "the %s command is empty, so it would be detected again; to skip it, set %s = \"\" under [build] in troy.toml", name, key).At(name)
		}
		settings[name] = value
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("encode the build settings: %w", err)
	}
	return text, nil
}

// onceOf carries a form that is sent twice out once.
func onceOf(v *visit, form url.Values) context.Context {
	key := form.Get("key")
	if key == "" || len(key) > 64 {
		return v.ctx()
	}
	sum := sha256.Sum256([]byte("connect\n" + key))
	return intake.Once(v.ctx(), intake.Request{Token: v.who.ID, Key: "page-" + base64.RawURLEncoding.EncodeToString(sum[:]), Digest: sum[:]})
}

// connectFailed shows the form again, with what is wrong and what was entered.
func (d *Dashboard) connectFailed(v *visit, form url.Values, err error) error {
	e := public(err)
	if e.Kind != troy.Invalid && e.Kind != troy.Conflict {
		return err
	}
	view, inspectErr := d.inspect(v, form)
	if inspectErr != nil {
		return err
	}
	view.Failure = sentence(e.Message)
	view.Name, view.Slug = form.Get("name"), form.Get("slug")
	view.Install, view.Build, view.Test, view.Output = form.Get("install"), form.Get("build"), form.Get("test"), form.Get("output")
	view.frame = d.frame(v, "Import "+view.FullName)
	return d.show(v, reply.Status(e.Kind), "repository.html", view)
}
