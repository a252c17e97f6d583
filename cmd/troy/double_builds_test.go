package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// doubleLog is the log of all builds of the double.
const doubleLog = "$ npm ci\n" +
	"\x1b[32madded 3 packages\x1b[0m caf\u00e9\n" +
	"\x1b]0;evil\apacking  10%\rpacking 100%\r\n" +
	"\x1b[2J\x1b[1;1Hbuilt \u202eevil\n" +
	"last\n"

func (d *double) configure(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Repository    json.RawMessage `json:"repository"`
		WatchPaths    *[]string       `json:"watch_paths"`
		CancelRunning *bool           `json:"cancel_running"`
		Build         json.RawMessage `json:"build"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if wanted := r.Header.Get("If-Match"); wanted != "" && wanted != tagOf(p.Pipeline) {
		return fail(troy.Moved, "the settings are others by now")
	}
	if string(body.Repository) == "null" {
		p.Repository = nil
	} else if body.Repository != nil {
		var change client.RepositoryChange
		if err := json.Unmarshal(body.Repository, &change); err != nil {
			return answer{}, err
		}
		if p.Repository == nil {
			p.Repository = &client.Repository{}
		}
		set(&p.Repository.Provider, change.Provider)
		set(&p.Repository.FullName, change.FullName)
		set(&p.Repository.Branch, change.Branch)
		set(&p.Repository.Root, change.Root)
		if p.Repository.FullName == "" {
			p.Repository = nil
			return answer{}, troy.Errorf(troy.Invalid, "the value is missing or empty").At("repository.provider")
		}
	}
	set(&p.WatchPaths, body.WatchPaths)
	set(&p.CancelRunning, body.CancelRunning)
	if body.Build != nil {
		if err := json.Unmarshal(body.Build, &p.Build); err != nil {
			return answer{}, err
		}
	}
	return answer{200, p.Pipeline}, nil
}

// tagOf is the ETag of a pipeline's settings.
func tagOf(p client.Pipeline) string {
	text, err := json.Marshal([]any{p.Repository, p.WatchPaths, p.CancelRunning, p.Build})
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`"%x"`, sha256.Sum256(text))
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (d *double) deployCommit(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Commit string    `json:"commit"`
		Source uuid.UUID `json:"source"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	source, uploaded := p.releases[body.Source]
	if uploaded && len(p.missing(source.files)) > 0 {
		return fail(troy.Conflict, "the release has missing files")
	}
	if p.Repository == nil && !uploaded {
		return fail(troy.Conflict, "the pipeline %s has no repository; send a release, or a folder to build with troy deploy P --upload PATH", p.Slug)
	}
	if err := refuseLocked(p.Pipeline); err != nil {
		return answer{}, err
	}
	message := ""
	if uploaded {
		message = source.message
	}
	x := p.deploy(uuid.New(), troy.Automated, message, true)
	if d.queued > 0 {
		p.QueuePosition = new(d.queued)
	}
	x.Commit = cmp.Or(body.Commit, strings.Repeat("b", 40))
	code := 0
	x.Build = &client.Build{Attempt: 1, Rule: `Build plan: build with "npm run build" (package.json).`, LogBytes: int64(len(doubleLog)), Phases: []client.Phase{
		{Phase: "download_source", Started: x.CreatedAt, Ended: x.CreatedAt.Add(1500 * time.Millisecond), ExitCode: &code},
	}}
	if strings.HasPrefix(x.Commit, "f") {
		x.Message = "fail"
		bad := 127
		x.Build.Phases = append(x.Build.Phases, client.Phase{Phase: "build", Command: "npm run build", Started: x.CreatedAt, Ended: x.CreatedAt.Add(time.Minute), ExitCode: &bad})
	}
	if d.silent {
		x.Build.LogBytes = 0
	}
	return answer{202, *x}, nil
}

func (d *double) lock(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct{ Reason string }
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if err := refuseLocked(p.Pipeline); err != nil {
		return answer{}, err
	}
	p.Lock = &client.Lock{By: "token mona", Reason: body.Reason, At: time.Now()}
	return answer{200, p.Pipeline}, nil
}

func (d *double) unlock(_ *http.Request, p *doublePipeline) (answer, error) {
	p.Lock = nil
	return answer{200, p.Pipeline}, nil
}

func (d *double) retry(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.deployment(r.PathValue("d"))
	if err != nil {
		return answer{}, err
	}
	if !x.State.Ended() {
		return fail(troy.Conflict, "deployment %d is %s; it has not ended yet", x.Number, x.State)
	}
	again := p.deploy(uuid.New(), x.Kind, "", true)
	again.SourceDeploymentID, again.Commit = &x.ID, x.Commit
	return answer{202, *again}, nil
}

func (d *double) log(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	var kind troy.DeploymentKind
	_, err := d.guard(r, d.on(func(r *http.Request, p *doublePipeline) (answer, error) {
		x, err := p.deployment(r.PathValue("d"))
		if err == nil {
			kind = x.Kind
		}
		return answer{}, err
	}))
	broken := d.breaks > 0
	if broken {
		d.breaks--
	}
	d.mu.Unlock()
	if err == nil && kind != troy.Automated {
		_, err = fail(troy.NotFound, "it is a %s, which has no build", kind)
	}
	if err != nil {
		respond(w, answer{}, err)
		return
	}
	text := doubleLog
	if d.silent {
		text = ""
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	if r.Header.Get("Accept") == "text/plain" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rest := text[from:]
		if broken {
			_, _ = fmt.Fprint(w, rest[:len(rest)/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprint(w, rest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	_, _ = fmt.Fprint(w, "retry: 1000\n\n: still running\n\n")
	for n, line := range strings.SplitAfter(text[from:], "\n") {
		from += len(line)
		text, _ := json.Marshal(line)
		_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", from, text)
		_ = http.NewResponseController(w).Flush()
		if broken && n == 1 {
			panic(http.ErrAbortHandler)
		}
	}
	_, _ = fmt.Fprintf(w, "event: end\nid: %d\ndata: succeeded\n\n", from)
}

func (d *double) listVariables(_ *http.Request, p *doublePipeline) (answer, error) {
	return answer{200, map[string]any{"variables": append([]client.Variable{}, p.variables...)}}, nil
}

func (d *double) setVariable(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Value   string `json:"value"`
		Secret  bool   `json:"secret"`
		Context string `json:"context"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.Secret && len(body.Value) < 8 {
		e := troy.Errorf(troy.Invalid, "the secret has %d characters; at least 8 are needed", len(body.Value)).At("value")
		e.Details = []string{`use "secret": false for a value that is not secret`}
		return answer{}, e
	}
	if body.Context == "" {
		body.Context = troy.DefaultContext(body.Secret)
	}
	v := client.Variable{Name: r.PathValue("name"), Context: body.Context, Secret: body.Secret, ChangedAt: time.Now()}
	if !body.Secret {
		v.Value = &body.Value
	}
	p.variables = append(slices.DeleteFunc(p.variables, func(o client.Variable) bool { return o.Name == v.Name && o.Context == v.Context }), v)
	return answer{200, v}, nil
}

func (d *double) removeVariable(r *http.Request, p *doublePipeline) (answer, error) {
	before := len(p.variables)
	p.variables = slices.DeleteFunc(p.variables, func(o client.Variable) bool {
		of := r.URL.Query().Get("context")
		return o.Name == r.PathValue("name") && (of == "" || of == o.Context)
	})
	if len(p.variables) == before {
		return fail(troy.NotFound, "there is no variable %q", r.PathValue("name"))
	}
	return answer{status: 204}, nil
}
