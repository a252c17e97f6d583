package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"

	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"

	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/web"
)

// apiValidator holds requests and answers to the document. It is strict: what
// the document does not declare is an error too.
var apiValidator = sync.OnceValues(func() (validator.Validator, error) {
	text, err := web.OpenAPI()
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document, config.WithStrictMode(), config.WithFormatAssertions(), config.WithoutSecurityValidation(),
		config.WithStrictIgnorePaths("$.headers.**", "$.cookies.**"))
	if len(errs) > 0 {
		return nil, fmt.Errorf("%v", errs)
	}
	return v, nil
})

func validation(t *testing.T) validator.Validator {
	t.Helper()
	v, err := apiValidator()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// documented fails the test if an answer of the API, or a request that it
// accepted, is not as in the document.
func (w *world) documented(sent *http.Request, body any, a answer) {
	w.t.Helper()
	operation, ok := operationOf(w.t, sent)
	if !ok {
		if strings.HasPrefix(sent.URL.Path, "/v1") && a.status != 404 && a.status != 405 && a.status != 421 && a.status != 403 {
			w.t.Errorf("%s %s answers %d, and is not in the document", sent.Method, sent.URL.Path, a.status)
		}
		return
	}
	if operation == "/v1/activity/export" && a.status == http.StatusOK {
		return // the validator can't read JSON lines
	}
	req := sent.Clone(w.t.Context())
	req.Body = http.NoBody
	resp := &http.Response{StatusCode: a.status, Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body)), Request: req}
	if _, errs := validation(w.t).ValidateHttpResponse(req, resp); len(errs) > 0 {
		w.t.Errorf("%s %s: the answer %d %s is not as in the document: %s", sent.Method, sent.URL.Path, a.status, clipped(a.body), said(errs))
	}
	if a.status > 299 || !strings.HasPrefix(operation, "/v1/") || sent.Method == http.MethodGet || strings.Contains(operation, "{sha256}") || strings.HasSuffix(operation, "/archive") {
		return
	}
	text, ok := replay(w.t, body)
	if !ok || len(text) == 0 {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.ContentLength, req.Body = int64(len(text)), io.NopCloser(bytes.NewReader(text))
	if _, errs := validation(w.t).ValidateHttpRequest(req); len(errs) > 0 {
		w.t.Errorf("%s %s: the request %s was accepted and is not as in the document: %s", sent.Method, sent.URL.Path, clipped(text), said(errs))
	}
}

// replay returns the body of a request that was sent, if it is known.
func replay(t *testing.T, body any) ([]byte, bool) {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return nil, true
	case string:
		return []byte(b), true
	case io.Reader:
		return nil, false
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return text, true
}

func clipped(b []byte) string { return fmt.Sprintf("%.600s", b) }

func said(errs []*errors.ValidationError) string {
	var lines []string
	for _, e := range errs {
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}

// documentedOperations maps each path of the document to its methods.
var documentedOperations = sync.OnceValues(func() (map[string][]string, error) {
	text, err := web.OpenAPI()
	if err != nil {
		return nil, err
	}
	var d struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for path, item := range d.Paths {
		for member := range item {
			if member != "parameters" {
				out[path] = append(out[path], strings.ToUpper(member))
			}
		}
	}
	return out, nil
})

func operations(t *testing.T) map[string][]string {
	t.Helper()
	all, err := documentedOperations()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// operationOf finds the document's path of a request.
func operationOf(t *testing.T, r *http.Request) (string, bool) {
	t.Helper()
	sent := strings.Split(r.URL.EscapedPath(), "/")
	for path, methods := range operations(t) {
		parts := strings.Split(path, "/")
		if !slices.Contains(methods, r.Method) || len(parts) != len(sent) {
			continue
		}
		same := true
		for i, part := range parts {
			same = same && (part == sent[i] || strings.HasPrefix(part, "{") && sent[i] != "")
		}
		if same {
			return path, true
		}
	}
	return "", false
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	if _, errs := validation(t).ValidateDocument(); len(errs) > 0 {
		t.Error(said(errs))
	}
}

var ginParameter = regexp.MustCompile(`:([a-z0-9]+)`)

// Each route of the API is in the document, and each operation of the document
// is a route.
func TestDocumentHasTheRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.deps.Metrics = metrics.New() })
	routes := map[string]bool{}
	for _, r := range web.Routes(w.cfg, w.deps) {
		path := ginParameter.ReplaceAllString(r.Path, "{$1}")
		if !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/events/") && !strings.HasPrefix(path, "/hooks/") && !strings.HasPrefix(path, "/badges/") {
			continue
		}
		routes[r.Method+" "+path] = true
		if !slices.Contains(operations(t)[path], r.Method) {
			t.Errorf("the route %s %s is not in the document", r.Method, path)
		}
	}
	if len(routes) == 0 {
		t.Error("there are no routes")
	}
	for path, methods := range operations(t) {
		for _, method := range methods {
			if routes[method+" "+path] {
				continue
			}
			if !slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, path) {
				t.Errorf("the document has %s %s, which is not a route", method, path)
				continue
			}
			w.send(method, path, nil).into(t, 200, nil)
		}
	}
}

func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, contentType := range map[string]string{
		"/openapi.json": "application/json; charset=utf-8", "/docs": "text/html; charset=utf-8", "/troy.d.ts": "text/plain; charset=utf-8",
	} {
		a := w.send("GET", path, nil, header("Authorization", ""))
		a.into(t, 200, nil)
		if got := a.header.Get("Content-Type"); got != contentType {
			t.Errorf("%s is %s", path, got)
		}
		if got := a.header.Get("Cache-Control"); got != "public, max-age=300" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		again := w.send("GET", path, nil, header("If-None-Match", a.header.Get("ETag")))
		if again.status != 304 || len(again.body) > 0 {
			t.Errorf("%s again: %d with %d bytes", path, again.status, len(again.body))
		}
		w.send("GET", path, nil, header("If-None-Match", `"other"`)).into(t, 200, nil)
		w.send("HEAD", path, nil).into(t, 200, nil)
		w.send("POST", path, nil).refused(t, 405, "invalid", "", "GET")
	}
	var d struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	decodeLoose(t, w.send("GET", "/openapi.json", nil).body, &d)
	if d.OpenAPI != "3.1.0" || len(d.Paths) == 0 {
		t.Errorf("OpenAPI %s with %d paths", d.OpenAPI, len(d.Paths))
	}
}

// The page of the document shows each operation and object, loads nothing and
// has no script.
func TestDocsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.send("GET", "/docs", nil, header("Authorization", ""))
	a.into(t, 200, nil)
	page := string(a.body)
	policy := a.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "script") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	for _, bad := range []string{"<script", " src=", "style=", "https://"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	shown := 0
	for path, methods := range operations(t) {
		for _, method := range methods {
			shown++
			if !strings.Contains(page, `<span class="method `+method+`">`+method+`</span> <code class="path">`+path+`</code>`) {
				t.Errorf("the page does not show %s %s", method, path)
			}
		}
	}
	if n := strings.Count(page, `<details class="operation">`); n != shown {
		t.Errorf("the page shows %d operations, the document has %d", n, shown)
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("two elements have the id %s", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("a link leads to #%s, which is not there; there are %v", m[1], slices.Sorted(maps.Keys(ids)))
		}
	}
	if problem := w.send("GET", "/v1/none", nil); !ids["error-not_found"] || !strings.Contains(string(problem.body), `"type":"/docs#error-not_found"`) {
		t.Errorf("the type of %s does not lead to the page", problem.body)
	}
}
