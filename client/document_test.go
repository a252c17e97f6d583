package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/uuid"
	"github.com/pb33f/libopenapi"

	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// unused are the operations of the API's document that the client does not
// call, with the reason.
var unused = map[string]string{
	"callDeployHook":        "those who know a hook's address send it",
	"exportActivity":        "Activity reads page by page, and repeats a page that breaks off",
	"getBadge":              "pages show it",
	"getThumbnail":          "it is for pages",
	"getVariable":           "Variables has all of them",
	"releaseArchive":        "BeginRelease sends only the files that the pipeline lacks",
	"sendAppEvent":          "platforms send it, with a signature",
	"sendSNSMessage":        "Amazon SNS sends it",
	"sendGitHubDelivery":    "GitHub sends it",
	"sendBitbucketDelivery": "Bitbucket sends it",
	"healthz":               "load balancers send it",
	"readyz":                "load balancers send it",
	"metrics":               "Prometheus sends it",
}

// document checks the requests of a client.
type document struct {
	t          *testing.T
	validator  validator.Validator
	operations map[string]string // method and path to id

	mu   sync.Mutex
	used map[string]bool
}

func openDocument(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("../web/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed, config.WithStrictMode(), config.WithFormatAssertions(), config.WithoutSecurityValidation(),
		config.WithStrictIgnorePaths("$.headers.**"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var paths struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(text, &paths); err != nil {
		t.Fatal(err)
	}
	d := &document{t: t, validator: v, operations: map[string]string{}, used: map[string]bool{}}
	for path, item := range paths.Paths {
		for method, operation := range item {
			if o, ok := operation.(map[string]any); ok {
				d.operations[strings.ToUpper(method)+" "+path], _ = o["operationId"].(string)
			}
		}
	}
	return d
}

// operation returns the id of a request's operation, or an empty text.
func (d *document) operation(r *http.Request) string {
	sent := strings.Split(r.Method+" "+r.URL.EscapedPath(), "/")
	for route, id := range d.operations {
		parts := strings.Split(route, "/")
		same := len(parts) == len(sent)
		for i := 0; same && i < len(parts); i++ {
			same = parts[i] == sent[i] || strings.HasPrefix(parts[i], "{")
		}
		if same {
			return id
		}
	}
	return ""
}

// ServeHTTP checks a request and answers it.
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Error(err)
	}
	id := d.operation(r)
	d.mu.Lock()
	d.used[id] = true
	d.mu.Unlock()
	if id == "" {
		d.t.Errorf("%s %s is not in the document", r.Method, r.URL)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if id != "uploadFile" && id != "uploadBatch" { // their bodies have no schema
		if ok, errs := d.validator.ValidateHttpRequest(r); !ok {
			for _, e := range errs {
				d.t.Errorf("%s %s %s: %v", r.Method, r.URL, body, e)
			}
		}
	}
	switch {
	case id == "getLog" && strings.Contains(r.Header.Get("Accept"), "event-stream"):
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: end\nid: 0\ndata: succeeded\n\n")
	case id == "getLog":
		w.Header().Set("Content-Type", "text/plain")
	case id == "removeVariable", id == "revokeToken", id == "revokeSession", id == "uploadFile":
		w.WriteHeader(http.StatusNoContent)
	case id == "uploadBatch":
		w.WriteHeader(http.StatusBadGateway) // the client asks what is missing
	default:
		_, _ = io.WriteString(w, `{"state":"succeeded"}`)
	}
}

// drain reads a list to its end.
func drain[T any](list iter.Seq2[T, error]) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

func second[T any](_ T, err error) error { return err }

// calls has a call of each of the client's methods, with each option that
// changes the request.
func calls(c *Client, id uuid.UUID) map[string]func(context.Context) error {
	content := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
	files := []site.File{{Path: "index.html", SHA256: sha256.Sum256([]byte("x")), Size: 1}}
	text, yes, provider, folder := "main", true, troy.GitHub, "assets/"
	all := func(calls ...error) error {
		for _, err := range calls {
			if err != nil {
				return err
			}
		}
		return nil
	}
	return map[string]func(context.Context) error{
		"Activity": func(ctx context.Context) error {
			return all(drain(c.Activity(ctx, ActivityFilter{})), drain(c.Activity(ctx, ActivityFilter{"blog", "token ci", "token", "x", "30d", "2026-01-31"})))
		},
		"Queue": func(ctx context.Context) error {
			return all(drain(c.Queue(ctx, WorkFilter{})), drain(c.Queue(ctx, WorkFilter{"blog", "builds", "deployment:build", "failing"})))
		},
		"RingWork": func(ctx context.Context) error {
			return all(second(c.RingWork(ctx, Work{Kind: "retention", SubjectID: id}, false)), second(c.RingWork(ctx, Work{Kind: "retention", SubjectID: id}, true)))
		},
		"Queues":      func(ctx context.Context) error { return second(c.Queues(ctx)) },
		"PauseQueue":  func(ctx context.Context) error { return second(c.PauseQueue(ctx, "builds", "an incident")) },
		"ResumeQueue": func(ctx context.Context) error { return second(c.ResumeQueue(ctx, "builds")) },
		"Stats":       func(ctx context.Context) error { return all(second(c.Stats(ctx, "")), second(c.Stats(ctx, "blog"))) },
		"ConfigurePipeline": func(ctx context.Context) error {
			return all(second(c.ConfigurePipeline(ctx, "blog", PipelineChange{NoRepository: true})), second(c.ConfigurePipeline(ctx, "blog", PipelineChange{
				Repository: &RepositoryChange{Provider: &provider, FullName: &text, Branch: &text, Root: &text}, WatchPaths: &[]string{"docs"},
				CancelRunning: &yes, Build: map[string]any{"install": nil, "build": "make", "drop_assets": true}, IfMatch: `"x"`,
			})))
		},
		"Deploy": func(ctx context.Context) error {
			return all(second(c.Deploy(ctx, "blog", "")), second(c.Deploy(ctx, "blog", strings.Repeat("a", 40))))
		},
		"RetryDeployment": func(ctx context.Context) error { return second(c.RetryDeployment(ctx, "blog", id)) },
		"Traffic":         func(ctx context.Context) error { return second(c.Traffic(ctx, "blog", 30)) },
		"Variables":       func(ctx context.Context) error { return second(c.Variables(ctx, "blog")) },
		"SetVariable": func(ctx context.Context) error {
			return second(c.SetVariable(ctx, "blog", "NAME", VariableValue{Value: "value", Secret: true, Context: "preview"}))
		},
		"RemoveVariable":     func(ctx context.Context) error { return c.RemoveVariable(ctx, "blog", "NAME", "preview") },
		"Deployments":        func(ctx context.Context) error { return drain(c.Deployments(ctx, "blog")) },
		"Deployment":         func(ctx context.Context) error { return second(c.Deployment(ctx, "blog", id)) },
		"DeploymentByNumber": func(ctx context.Context) error { return second(c.DeploymentByNumber(ctx, "blog", 7)) },
		"CancelDeployment":   func(ctx context.Context) error { return second(c.CancelDeployment(ctx, "blog", id)) },
		"Rollback": func(ctx context.Context) error {
			return all(second(c.Rollback(ctx, "blog", id)), second(c.Rollback(ctx, "blog", uuid.Nil)))
		},
		"Promote": func(ctx context.Context) error { return second(c.Promote(ctx, "blog", id)) },
		"Wait":    func(ctx context.Context) error { return second(c.Wait(ctx, "blog", id, nil)) },
		"Files": func(ctx context.Context) error {
			return all(drain(c.Files(ctx, "blog", id, nil)), drain(c.Files(ctx, "blog", id, &folder)))
		},
		"Compare":   func(ctx context.Context) error { return second(c.Compare(ctx, "blog", id, "6", 10)) },
		"Log":       func(ctx context.Context) error { return c.Log(ctx, "blog", id, 5, io.Discard) },
		"FollowLog": func(ctx context.Context) error { return second(c.FollowLog(ctx, "blog", id, io.Discard)) },
		"Pipelines": func(ctx context.Context) error {
			return all(drain(c.Pipelines(ctx, "")), drain(c.Pipelines(ctx, troy.Deployed)))
		},
		"Pipeline": func(ctx context.Context) error { return second(c.Pipeline(ctx, "blog")) },
		"CreatePipeline": func(ctx context.Context) error {
			return second(c.CreatePipeline(ctx, NewPipeline{Name: "Blog", Slug: "blog", AppID: "a", Provision: &yes}))
		},
		"ProvisionPipeline": func(ctx context.Context) error { return second(c.ProvisionPipeline(ctx, "blog")) },
		"DeletePipeline": func(ctx context.Context) error {
			return all(second(c.DeletePipeline(ctx, "blog", false)), second(c.DeletePipeline(ctx, "blog", true)))
		},
		"RestorePipeline": func(ctx context.Context) error { return second(c.RestorePipeline(ctx, "blog")) },
		"LockPipeline":    func(ctx context.Context) error { return second(c.LockPipeline(ctx, "blog", "an incident")) },
		"UnlockPipeline":  func(ctx context.Context) error { return second(c.UnlockPipeline(ctx, "blog")) },
		"Purge":           func(ctx context.Context) error { return second(c.Purge(ctx, "blog", "assets/")) },
		"Events":          func(ctx context.Context) error { return drain(c.Events(ctx, "blog")) },
		"RingTask": func(ctx context.Context) error {
			return all(second(c.RingTask(ctx, "sweep", "")), second(c.RingTask(ctx, "retention", id.String())))
		},
		"BeginRelease": func(ctx context.Context) error {
			return second(c.BeginRelease(ctx, "blog", "key", NewRelease{Files: files, Message: "New prices"}))
		},
		"Release": func(ctx context.Context) error { return second(c.Release(ctx, "blog", id)) },
		"FinalizeRelease": func(ctx context.Context) error {
			return all(second(c.FinalizeRelease(ctx, "blog", id, Finalize{NoPublish: true, ExpectLive: "none"})), second(c.FinalizeRelease(ctx, "blog", id, Finalize{Preview: "draft"})))
		},
		"Tokens":           func(ctx context.Context) error { return drain(c.Tokens(ctx)) },
		"Schedule":         func(ctx context.Context) error { return second(c.Schedule(ctx, "blog")) },
		"SetSchedule":      func(ctx context.Context) error { return second(c.SetSchedule(ctx, "blog", "@daily", "Europe/Berlin")) },
		"RemoveSchedule":   func(ctx context.Context) error { return c.RemoveSchedule(ctx, "blog") },
		"DeploySource":     func(ctx context.Context) error { return second(c.DeploySource(ctx, "blog", id)) },
		"Caches":           func(ctx context.Context) error { return second(c.Caches(ctx, "blog")) },
		"ClearCaches":      func(ctx context.Context) error { return c.ClearCaches(ctx, "blog") },
		"DeployHooks":      func(ctx context.Context) error { return second(c.DeployHooks(ctx, "blog")) },
		"CreateDeployHook": func(ctx context.Context) error { return second(c.CreateDeployHook(ctx, "blog", "cms", "main")) },
		"DeleteDeployHook": func(ctx context.Context) error { return c.DeleteDeployHook(ctx, "blog", uuid.New()) },
		"Trusts":           func(ctx context.Context) error { return second(c.Trusts(ctx, "blog")) },
		"AddTrust": func(ctx context.Context) error {
			return second(c.AddTrust(ctx, "blog", NewTrust{Provider: "github", Issuer: "https://ghe.example.com", RepositoryID: "1", OwnerID: "2", Ref: "main", Environment: "production", Workflow: "deploy.yml", PreviewsOnly: true}))
		},
		"RemoveTrust": func(ctx context.Context) error { return c.RemoveTrust(ctx, "blog", uuid.New()) },
		"ExchangeToken": func(ctx context.Context) error {
			return second(c.ExchangeToken(ctx, "blog", "header.claims.signature"))
		},
		"CreateToken": func(ctx context.Context) error {
			return second(c.CreateToken(ctx, NewToken{Name: "ci", Role: "viewer", Pipelines: []string{"blog"}, Expires: "30d"}))
		},
		"Notifiers": func(ctx context.Context) error {
			return all(drain(c.Notifiers(ctx, "")), drain(c.Notifiers(ctx, "blog")))
		},
		"Notifier": func(ctx context.Context) error { return second(c.Notifier(ctx, id)) },
		"AddNotifier": func(ctx context.Context) error {
			return all(second(c.AddNotifier(ctx, NewNotifier{Pipeline: "blog", Kind: "slack", URL: "https://example.com", Events: []string{"quota.near"}})),
				second(c.AddNotifier(ctx, NewNotifier{Kind: "email", To: []string{"ops@example.com"}})))
		},
		"RemoveNotifier": func(ctx context.Context) error { return c.RemoveNotifier(ctx, id) },
		"EnableNotifier": func(ctx context.Context) error { return second(c.EnableNotifier(ctx, id)) },
		"RotateNotifier": func(ctx context.Context) error { return second(c.RotateNotifier(ctx, id)) },
		"TestNotifier":   func(ctx context.Context) error { return second(c.TestNotifier(ctx, id)) },
		"Deliveries":     func(ctx context.Context) error { return drain(c.Deliveries(ctx, id)) },
		"Redeliver":      func(ctx context.Context) error { return second(c.Redeliver(ctx, id, id)) },
		"RevokeToken":    func(ctx context.Context) error { return c.RevokeToken(ctx, id) },
		"Upload": func(ctx context.Context) error {
			limits := site.DefaultBatchLimits()
			return all(c.Upload(ctx, "blog", Release{ID: id, Missing: files, Direct: true}, Upload{Open: content}),
				c.Upload(ctx, "blog", Release{ID: id, Missing: files, Batch: &limits}, Upload{Open: content}))
		},
		"Access": func(ctx context.Context) error { return second(c.Access(ctx, "blog")) },
		"SetAccessPassword": func(ctx context.Context) error {
			return second(c.SetAccessPassword(ctx, "blog", "press", "a long random password", true))
		},
		"RemoveAccessPassword": func(ctx context.Context) error { return second(c.RemoveAccessPassword(ctx, "blog", "press")) },
		"SetPreviewAccess":     func(ctx context.Context) error { return second(c.SetPreviewAccess(ctx, "blog", "signed-in")) },
		"SetAccessScope":       func(ctx context.Context) error { return second(c.SetAccessScope(ctx, "blog", "previews")) },
		"AllowNetwork":         func(ctx context.Context) error { return second(c.AllowNetwork(ctx, "blog", "192.0.2.0/24")) },
		"DisallowNetwork":      func(ctx context.Context) error { return second(c.DisallowNetwork(ctx, "blog", "192.0.2.0/24")) },
		"Domains":              func(ctx context.Context) error { return second(c.Domains(ctx, "blog")) },
		"Domain":               func(ctx context.Context) error { return second(c.Domain(ctx, "blog", "www.example.com")) },
		"AddDomain":            func(ctx context.Context) error { return second(c.AddDomain(ctx, "blog", "example.com", true)) },
		"RemoveDomain":         func(ctx context.Context) error { return second(c.RemoveDomain(ctx, "blog", "example.com", false)) },
		"VerifyDomain":         func(ctx context.Context) error { return second(c.VerifyDomain(ctx, "blog", "example.com")) },
		"MakeDomainPrimary":    func(ctx context.Context) error { return second(c.MakeDomainPrimary(ctx, "blog", "example.com")) },
		"Previews":             func(ctx context.Context) error { return drain(c.Previews(ctx, "blog")) },
		"Preview":              func(ctx context.Context) error { return second(c.Preview(ctx, "blog", "pr-1")) },
		"PreviewBranch":        func(ctx context.Context) error { return second(c.PreviewBranch(ctx, "blog", "topic")) },
		"DeletePreview":        func(ctx context.Context) error { return second(c.DeletePreview(ctx, "blog", "pr-1")) },
		"PinPreview":           func(ctx context.Context) error { return second(c.PinPreview(ctx, "blog", "pr-1")) },
		"UnpinPreview":         func(ctx context.Context) error { return second(c.UnpinPreview(ctx, "blog", "pr-1")) },
		"ApprovePreview":       func(ctx context.Context) error { return second(c.ApprovePreview(ctx, "blog", "pr-1", "abc")) },
		"PromotePreview":       func(ctx context.Context) error { return second(c.PromotePreview(ctx, "blog", "pr-1", 7)) },
		"Unprotect":            func(ctx context.Context) error { return second(c.Unprotect(ctx, "blog")) },
		"Repositories": func(ctx context.Context) error {
			return all(second(c.Repositories(ctx, "")), second(c.Repositories(ctx, "blog")))
		},
		"InspectRepository": func(ctx context.Context) error {
			return all(second(c.InspectRepository(ctx, provider, "team/blog", "", "")), second(c.InspectRepository(ctx, provider, "team/blog", text, "web")))
		},
		"Usage":    func(ctx context.Context) error { return second(c.Usage(ctx, "blog")) },
		"SetQuota": func(ctx context.Context) error { return second(c.SetQuota(ctx, "blog", OwnQuota{})) },
		"Prune": func(ctx context.Context) error {
			return all(second(c.Prune(ctx, "blog", 0, true)), second(c.Prune(ctx, "blog", 20, false)))
		},
		"System":          func(ctx context.Context) error { return second(c.System(ctx)) },
		"Users":           func(ctx context.Context) error { return drain(c.Users(ctx)) },
		"SignOutUser":     func(ctx context.Context) error { return c.SignOutUser(ctx, id) },
		"Sessions":        func(ctx context.Context) error { return drain(c.Sessions(ctx)) },
		"RevokeSession":   func(ctx context.Context) error { return c.RevokeSession(ctx, id.String()) },
		"Storage":         func(ctx context.Context) error { return drain(c.Storage(ctx)) },
		"DeploymentRules": func(ctx context.Context) error { return second(c.DeploymentRules(ctx, "blog", id)) },
		"Whoami":          func(ctx context.Context) error { return second(c.Whoami(ctx)) },
	}
}

// TestRequestsAreDocumented calls each method of the client, and holds the
// requests to the API's document.
func TestRequestsAreDocumented(t *testing.T) {
	t.Parallel()
	d := openDocument(t)
	c := serve(t, d.ServeHTTP)
	all := calls(c, uuid.New())
	withContext := reflect.TypeFor[context.Context]()
	methods := reflect.TypeFor[*Client]()
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		if m.Type.NumIn() < 2 || m.Type.In(1) != withContext {
			continue
		}
		call, ok := all[m.Name]
		if !ok {
			t.Errorf("calls does not have %s", m.Name)
			continue
		}
		if err := call(t.Context()); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	for route, id := range d.operations {
		reason, listed := unused[id]
		if d.used[id] && listed {
			t.Errorf("the client calls %s: remove its exception (%s)", id, reason)
		}
		if !d.used[id] && !listed {
			t.Errorf("no method of the client calls %s (%s): add one, or name it in unused", id, route)
		}
	}
}
