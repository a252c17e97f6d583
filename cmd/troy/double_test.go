package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// double is a server that follows docs/api.md, in memory. A deployment advances
// one state with each read. Its message selects the outcome: "fail" fails,
// "stuck" never ends, "cancel" is cancelled.
type double struct {
	*http.ServeMux
	mu        sync.Mutex
	pipelines []*doublePipeline
	tokens    []client.Token
	notifiers []client.Notifier
	sent      []client.Delivery
	pause     *client.Lock // of the queue builds
	signedOut bool         // the session was revoked
	forgotten uuid.UUID    // the user who was signed out
	// busy is the number of requests that still get a 503.
	busy int
	puts int
	// begins counts requests that begin a release.
	begins int
	// outage is how long uploads are refused from the first one on, and until
	// one was refused after that time.
	outage  time.Duration
	outFrom time.Time
	// breaks is the number of logs that still break off in the middle.
	breaks int
	// queued is the number of reads of a waiting deployment before it begins,
	// and its place in the queue until then.
	queued int64
	// typed is the last password that was set, generated what was said of it.
	typed     string
	generated bool
	// silent makes builds print nothing.
	silent bool
	// stuck receives a value when a deployment that never ends is read.
	stuck chan struct{}
}

type doublePipeline struct {
	was troy.Status // before its deletion
	client.Pipeline
	deployments []*client.Deployment // oldest first
	variables   []client.Variable
	domains     []client.Domain
	previews    []client.Preview
	trusts      []client.Trust
	hooks       []client.DeployHook
	cleared     bool // whether its caches were
	checks      int  // looks at a domain until its check ends
	access      client.Access
	quota       client.OwnQuota
	pruned      bool
	applies     int // looks at access until its change holds
	publish     map[uuid.UUID]bool
	wasLive     []uuid.UUID
	events      []client.Event
	releases    map[uuid.UUID]*doubleRelease
	blobs       map[site.Digest]bool
	contents    map[site.Digest][]byte
}

type doubleRelease struct {
	client.Release
	key     string
	message string
	files   []site.File
	config  []rules.ConfigFile
	strict  bool
}

type answer struct {
	status int
	body   any
}

func fail(kind troy.ErrorKind, format string, args ...any) (answer, error) {
	return answer{}, troy.Errorf(kind, format, args...)
}

func newDouble() *double {
	d := &double{ServeMux: http.NewServeMux(), stuck: make(chan struct{}, 1)}
	routes := map[string]func(*http.Request) (answer, error){
		"GET /v1/pipelines":                                 d.list,
		"POST /v1/pipelines":                                d.create,
		"GET /v1/pipelines/{p}":                             d.on(d.show),
		"POST /v1/pipelines/{p}/provision":                  d.on(d.provision),
		"DELETE /v1/pipelines/{p}":                          d.on(d.delete),
		"POST /v1/pipelines/{p}/restore":                    d.on(d.restore),
		"PATCH /v1/pipelines/{p}":                           d.on(d.configure),
		"POST /v1/pipelines/{p}/deployments":                d.on(d.deployCommit),
		"POST /v1/pipelines/{p}/deployments/{d}/retry":      d.on(d.retry),
		"GET /v1/pipelines/{p}/variables":                   d.on(d.listVariables),
		"PUT /v1/pipelines/{p}/variables/{name}":            d.on(d.setVariable),
		"DELETE /v1/pipelines/{p}/variables/{name}":         d.on(d.removeVariable),
		"GET /v1/pipelines/{p}/access":                      d.on(d.showAccess),
		"GET /v1/pipelines/{p}/domains":                     d.on(d.listDomains),
		"GET /v1/pipelines/{p}/previews":                    d.on(d.listPreviews),
		"POST /v1/pipelines/{p}/previews":                   d.on(d.createPreview),
		"GET /v1/pipelines/{p}/previews/{label}":            d.on(d.onPreview(200, unchanged)),
		"DELETE /v1/pipelines/{p}/previews/{label}":         d.on(d.onPreview(202, deleted)),
		"POST /v1/pipelines/{p}/previews/{label}/pin":       d.on(d.onPreview(200, pinned(true))),
		"POST /v1/pipelines/{p}/previews/{label}/unpin":     d.on(d.onPreview(200, pinned(false))),
		"POST /v1/pipelines/{p}/previews/{label}/approve":   d.on(d.approvePreview),
		"POST /v1/pipelines/{p}/previews/{label}/promote":   d.on(d.promotePreview),
		"POST /v1/pipelines/{p}/domains":                    d.on(d.addDomain),
		"GET /v1/pipelines/{p}/domains/{host}":              d.on(d.showDomain),
		"DELETE /v1/pipelines/{p}/domains/{host}":           d.on(d.removeDomain),
		"POST /v1/pipelines/{p}/domains/{host}/verify":      d.on(d.verifyDomain),
		"POST /v1/pipelines/{p}/domains/{host}/primary":     d.on(d.primaryDomain),
		"DELETE /v1/pipelines/{p}/access":                   d.on(d.unprotect),
		"PUT /v1/pipelines/{p}/access/passwords/{name}":     d.on(d.setAccessPassword),
		"DELETE /v1/pipelines/{p}/access/passwords/{name}":  d.on(d.removeAccessPassword),
		"POST /v1/pipelines/{p}/access/networks":            d.on(d.allow),
		"DELETE /v1/pipelines/{p}/access/networks":          d.on(d.disallow),
		"PUT /v1/pipelines/{p}/access/scope":                d.on(d.protect),
		"PUT /v1/pipelines/{p}/access/previews":             d.on(d.setPreviews),
		"GET /v1/pipelines/{p}/schedule":                    d.on(d.getSchedule),
		"PUT /v1/pipelines/{p}/schedule":                    d.on(d.setSchedule),
		"DELETE /v1/pipelines/{p}/schedule":                 d.on(d.removeSchedule),
		"GET /v1/pipelines/{p}/cache":                       d.on(d.listCaches),
		"DELETE /v1/pipelines/{p}/cache":                    d.on(d.clearCaches),
		"GET /v1/pipelines/{p}/hooks":                       d.on(d.listHooks),
		"POST /v1/pipelines/{p}/hooks":                      d.on(d.createHook),
		"DELETE /v1/pipelines/{p}/hooks/{hook}":             d.on(d.deleteHook),
		"GET /v1/notifiers":                                 d.listNotifiers,
		"POST /v1/notifiers":                                d.addNotifier,
		"GET /v1/notifiers/{n}":                             d.onNotifier(200, func(n *client.Notifier) any { return n }),
		"DELETE /v1/notifiers/{n}":                          d.removeNotifier,
		"POST /v1/notifiers/{n}/enable":                     d.onNotifier(200, func(n *client.Notifier) any { n.DisabledAt = nil; return n }),
		"POST /v1/notifiers/{n}/rotate":                     d.onNotifier(200, rotated),
		"POST /v1/notifiers/{n}/test":                       d.onNotifier(202, d.testNotifier),
		"GET /v1/notifiers/{n}/deliveries":                  d.onNotifier(200, func(*client.Notifier) any { return map[string]any{"deliveries": d.sent} }),
		"POST /v1/notifiers/{n}/deliveries/{d}/redeliver":   d.onNotifier(202, func(*client.Notifier) any { return d.sent[0] }),
		"GET /v1/pipelines/{p}/trusts":                      d.on(d.listTrusts),
		"POST /v1/pipelines/{p}/trusts":                     d.on(d.addTrust),
		"DELETE /v1/pipelines/{p}/trusts/{trust}":           d.on(d.removeTrust),
		"GET /v1/pipelines/{p}/events":                      d.on(d.listEvents),
		"GET /v1/pipelines/{p}/deployments":                 d.on(d.listDeployments),
		"GET /v1/pipelines/{p}/deployments/{d}":             d.on(d.showDeployment),
		"GET /v1/pipelines/{p}/deployments/{d}/files":       d.on(d.listFiles),
		"GET /v1/pipelines/{p}/deployments/{d}/compare":     d.on(d.compare),
		"GET /v1/pipelines/{p}/deployments/{d}/rules":       d.on(d.showRules),
		"POST /v1/pipelines/{p}/deployments/{d}/cancel":     d.on(d.cancel),
		"POST /v1/pipelines/{p}/rollback":                   d.on(d.rollback),
		"POST /v1/pipelines/{p}/promote":                    d.on(d.promote),
		"POST /v1/pipelines/{p}/lock":                       d.on(d.lock),
		"DELETE /v1/pipelines/{p}/lock":                     d.on(d.unlock),
		"POST /v1/pipelines/{p}/purge":                      d.on(d.purge),
		"POST /v1/pipelines/{p}/releases":                   d.on(d.begin),
		"GET /v1/pipelines/{p}/releases/{r}":                d.on(d.showRelease),
		"PUT /v1/pipelines/{p}/releases/{r}/files/{sha256}": d.on(d.put),
		"POST /v1/pipelines/{p}/releases/{r}/finalize":      d.on(d.finalize),
	}
	maps.Copy(routes, d.more())
	for pattern, h := range routes {
		d.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			d.mu.Lock()
			defer d.mu.Unlock()
			a, err := d.guard(r, h)
			respond(w, a, err)
		})
	}
	d.HandleFunc("GET /v1/pipelines/{p}/deployments/{d}/log", d.log)
	d.HandleFunc("GET /idtoken", d.idToken)
	d.HandleFunc("POST /v1/token", func(w http.ResponseWriter, r *http.Request) {
		a, err := d.exchange(r)
		respond(w, a, err)
	})
	return d
}

func (d *double) guard(r *http.Request, h func(*http.Request) (answer, error)) (answer, error) {
	if d.busy > 0 {
		d.busy--
		return fail(troy.Unavailable, "the database is away")
	}
	if d.outage > 0 && r.Method == http.MethodPut {
		switch {
		case d.outFrom.IsZero():
			d.outFrom = time.Now()
		case time.Since(d.outFrom) > d.outage:
			d.outage = 0
		}
		return fail(troy.Unavailable, "the server restarts")
	}
	switch r.Header.Get("Authorization") {
	case "Bearer admin":
	case "Bearer viewer":
		if r.Method != http.MethodGet {
			return fail(troy.Forbidden, "a viewer may read only")
		}
	default:
		return fail(troy.Unauthenticated, "the token is unknown or has expired")
	}
	return h(r)
}

func respond(w http.ResponseWriter, a answer, err error) {
	if err != nil {
		e, ok := errors.AsType[*troy.Error](err)
		if !ok {
			e = troy.Errorf(troy.Internal, "%w", err)
		}
		a.status = map[troy.ErrorKind]int{
			troy.Invalid: 400, troy.Unauthenticated: 401, troy.Forbidden: 403, troy.NotFound: 404, troy.Conflict: 409,
			troy.Moved: 412, troy.TooLarge: 413, troy.Internal: 500, troy.Unavailable: 503, troy.OverQuota: 507,
		}[e.Kind]
		inner := map[string]any{"code": e.Kind, "message": e.Message}
		if e.Field != "" {
			inner["field"] = e.Field
		}
		if len(e.Details) > 0 {
			inner["details"] = e.Details
		}
		a.body = map[string]any{"error": inner}
	}
	w.Header().Set("Content-Type", "application/json")
	if p, ok := a.body.(client.Pipeline); ok {
		w.Header().Set("ETag", tagOf(p))
	}
	w.WriteHeader(a.status)
	if a.body != nil {
		_ = json.NewEncoder(w).Encode(a.body)
	}
}

func (d *double) on(h func(*http.Request, *doublePipeline) (answer, error)) func(*http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		for _, p := range d.pipelines {
			if p.Slug == r.PathValue("p") || p.ID.String() == r.PathValue("p") {
				return h(r, p)
			}
		}
		return fail(troy.NotFound, "pipeline not found: %q", r.PathValue("p"))
	}
}

func decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return troy.Errorf(troy.Invalid, "the body is invalid: %v", err)
	}
	return nil
}

// page returns three items at a time, so that lists have several pages.
func page[T any](name string, items []T, r *http.Request) (answer, error) {
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err != nil || n < 1 || n > 200 {
		return fail(troy.Invalid, "limit is not from 1 to 200")
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("after"))
	to := min(from+3, len(items))
	body := map[string]any{name: slices.Clone(items[from:to])}
	if to < len(items) {
		body["next"] = fmt.Sprint(to)
	}
	return answer{200, body}, nil
}

func (d *double) list(r *http.Request) (answer, error) {
	items := []client.Pipeline{}
	for _, p := range slices.Backward(d.pipelines) {
		if s := r.URL.Query().Get("status"); s == "" || s == string(p.Status) {
			items = append(items, p.Pipeline)
		}
	}
	return page("pipelines", items, r)
}

func (d *double) create(r *http.Request) (answer, error) {
	var n client.NewPipeline
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	if n.Name == "" {
		return answer{}, troy.Errorf(troy.Invalid, "is empty").At("name")
	}
	if n.Slug == "" {
		n.Slug = troy.SlugFrom(n.Name)
	}
	for _, p := range d.pipelines {
		if p.Slug == n.Slug {
			return fail(troy.Conflict, "the slug %q is taken", n.Slug)
		}
	}
	p := d.add(n.Name, n.Slug, n.AppID, troy.PreProvisioned)
	if n.Provision == nil || *n.Provision {
		p.become(troy.ProvisionRequest, "", uuid.Nil)
	}
	return answer{201, p.Pipeline}, nil
}

// add creates a pipeline that is three minutes old.
func (d *double) add(name, slug, app string, s troy.Status) *doublePipeline {
	host := slug + ".localhost"
	at := time.Now().Add(-3*time.Minute - 10*time.Second)
	p := &doublePipeline{
		Pipeline: client.Pipeline{
			ID: uuid.New(), AppID: app, Name: name, Slug: slug, Status: s, StatusName: s.String(),
			URL: "http://" + host + ":8081", Host: host, CreatedAt: at, UpdatedAt: at,
		},
		publish: map[uuid.UUID]bool{}, releases: map[uuid.UUID]*doubleRelease{}, blobs: map[site.Digest]bool{}, contents: map[site.Digest][]byte{},
	}
	d.pipelines = append(d.pipelines, p)
	p.events = append(p.events, client.Event{PipelineID: p.ID, Version: 1, To: s, ToName: s.String(), Actor: "token ci", Time: at})
	return p
}

func (p *doublePipeline) become(s troy.Status, cause string, deployment uuid.UUID) {
	e := client.Event{PipelineID: p.ID, Version: int64(len(p.events) + 1), From: p.Status, To: s, ToName: s.String(), Cause: cause, Actor: "token ci", Time: time.Now()}
	if deployment != uuid.Nil {
		e.DeploymentID = &deployment
	}
	p.events = append(p.events, e)
	p.Status, p.StatusName, p.Cause = s, s.String(), cause
}

func (d *double) show(_ *http.Request, p *doublePipeline) (answer, error) {
	return answer{200, p.Pipeline}, nil
}

func (d *double) provision(_ *http.Request, p *doublePipeline) (answer, error) {
	if !p.Status.CanBecome(troy.ProvisionRequest) {
		return fail(troy.Conflict, "the pipeline is %s; it can be provisioned from Pre Provisioned or Failed to Provision", p.Status)
	}
	p.become(troy.ProvisionRequest, "", uuid.Nil)
	return answer{202, p.Pipeline}, nil
}

func (d *double) delete(r *http.Request, p *doublePipeline) (answer, error) {
	now := r.URL.Query().Get("now") == "true"
	if now && p.Deletion != nil {
		p.Deletion.DueAt = nil
		return answer{202, p.Pipeline}, nil
	}
	if !p.Status.CanBecome(troy.ScheduledForDeletion) {
		return fail(troy.Conflict, "the pipeline is %s", p.Status)
	}
	p.Deletion = &client.Deletion{By: "token mona", At: time.Now()}
	if p.Status != troy.FailedToDelete && !now {
		p.Deletion.DueAt = new(time.Now().Add(10*time.Minute + time.Second))
	}
	p.was = p.Status
	p.become(troy.ScheduledForDeletion, "", uuid.Nil)
	return answer{202, p.Pipeline}, nil
}

func (d *double) restore(_ *http.Request, p *doublePipeline) (answer, error) {
	if p.Deletion == nil || p.Deletion.DueAt == nil {
		return fail(troy.Conflict, "the pipeline is %s", p.Status)
	}
	p.Deletion = nil
	p.become(p.was, "", uuid.Nil)
	return answer{202, p.Pipeline}, nil
}

func (d *double) listEvents(r *http.Request, p *doublePipeline) (answer, error) {
	return page("events", p.events, r)
}

func (d *double) listDeployments(r *http.Request, p *doublePipeline) (answer, error) {
	items := []client.Deployment{}
	for _, x := range slices.Backward(p.deployments) {
		items = append(items, *x)
	}
	return page("deployments", items, r)
}

func (p *doublePipeline) deployment(id string) (*client.Deployment, error) {
	for _, x := range p.deployments {
		if x.ID.String() == id || strconv.FormatInt(x.Number, 10) == id {
			return x, nil
		}
	}
	return nil, troy.Errorf(troy.NotFound, "the pipeline %s has no deployment %s", p.Slug, id)
}

func (d *double) showDeployment(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.deployment(r.PathValue("d"))
	if err != nil {
		return answer{}, err
	}
	now := time.Now()
	switch {
	case x.State == troy.Waiting && d.queued > 0:
		p.QueuePosition = new(d.queued)
		d.queued--
	case x.State == troy.Waiting:
		p.QueuePosition = nil
		x.State, x.StartedAt = troy.Publishing, &now
		p.become(troy.Deploying, "", x.ID)
	case x.State == troy.Publishing && x.Message == "fail":
		x.State, x.Cause, x.FinishedAt = troy.Failed, "the store refused \x1b[31mindex.html\x1b[0m", &now
		p.become(troy.FailedToDeploy, x.Cause, x.ID)
	case x.State == troy.Publishing && x.Message == "cancel":
		x.State, x.FinishedAt = troy.Cancelled, &now
	case x.State == troy.Publishing && x.Message == "stuck":
		select {
		case d.stuck <- struct{}{}:
		default:
		}
	case x.State == troy.Publishing:
		x.State, x.FinishedAt = troy.Succeeded, &now
		if p.publish[x.ID] {
			p.golive(x)
		}
	}
	return answer{200, *x}, nil
}

func (d *double) cancel(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := p.deployment(r.PathValue("d"))
	if err != nil {
		return answer{}, err
	}
	if x.State.Ended() {
		return fail(troy.Conflict, "deployment %d is %s", x.Number, x.State)
	}
	x.State = troy.Cancelled
	return answer{202, *x}, nil
}

func (p *doublePipeline) deploy(id uuid.UUID, kind troy.DeploymentKind, message string, publish bool) *client.Deployment {
	x := &client.Deployment{
		ID: id, PipelineID: p.ID, Number: int64(len(p.deployments) + 1), Kind: kind, State: troy.Waiting,
		Message: message, Actor: "token ci", CreatedAt: time.Now(),
	}
	p.deployments = append(p.deployments, x)
	p.publish[id] = publish
	if publish && !p.Status.CanBecome(troy.ProvisionRequest) {
		p.become(troy.Queued, "", id)
	}
	return x
}
