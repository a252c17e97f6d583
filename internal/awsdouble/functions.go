package awsdouble

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// function is a CloudFront function in its development and live stages.
type function struct {
	dev, live stage
	published bool
	etag      int
}

type stage struct{ code, config string }

// response is a response as functions return and see it.
type response struct {
	Status  int
	Headers http.Header
	Body    string
}

// request is the result of a viewer-request function: a changed request or a
// response.
type request struct {
	response
	URI    string
	fields map[string]field // the request's headers after the function
}

const (
	maxFunction = 10 << 10
	// perStore is the maximum number of functions per KeyValueStore
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
	perStore = 10
)

// crowded reports whether a configuration's store has the maximum number of
// other functions.
func (c *cloudfront) crowded(name, config string) bool {
	store := func(config string) string {
		var in struct {
			Store string `xml:"KeyValueStoreAssociations>Items>KeyValueStoreAssociation>KeyValueStoreARN"`
		}
		_ = parseConfig(config, &in)
		return in.Store
	}
	at, others := store(config), 0
	for other, f := range c.functions {
		if other != name && (store(f.dev.config) == at || f.published && store(f.live.config) == at) {
			others++
		}
	}
	return at != "" && others >= perStore
}

func (c *cloudfront) serveFunction(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	var in struct {
		Name         string
		FunctionCode string
		Config       struct {
			Inner string `xml:",innerxml"`
		} `xml:"FunctionConfig"`
	}
	action := c.action(r, body)
	if action == "CreateFunction" || action == "UpdateFunction" {
		_ = xml.Unmarshal(body, &in)
		code, err := base64.StdEncoding.DecodeString(in.FunctionCode)
		if err != nil || len(code) > maxFunction {
			c.fail(w, http.StatusRequestEntityTooLarge, "FunctionSizeLimitExceeded", "The function is too large.")
			return
		}
		in.FunctionCode = string(code)
		if in.Name == "" {
			in.Name = name
		}
		if c.crowded(in.Name, in.Config.Inner) {
			// AWS does not document the error code.
			c.fail(w, http.StatusBadRequest, "InvalidArgument", "The key value store is associated with too many functions.")
			return
		}
	}
	if action == "CreateFunction" {
		if c.functions[in.Name] != nil {
			c.fail(w, http.StatusConflict, "FunctionAlreadyExists", in.Name)
			return
		}
		c.functions[in.Name] = &function{dev: stage{in.FunctionCode, in.Config.Inner}, etag: 1}
		answerXML(w, http.StatusCreated, 1, c.describeFunction(in.Name, "DEVELOPMENT"))
		return
	}
	if action == "ListFunctions" {
		var items strings.Builder
		for name, f := range c.functions {
			if stage := r.URL.Query().Get("Stage"); stage != "LIVE" || f.published {
				items.WriteString(c.describeFunction(name, stage))
			}
		}
		answerXML(w, http.StatusOK, 0, "<FunctionList><Items>"+items.String()+"</Items></FunctionList>")
		return
	}
	f := c.functions[name]
	which := r.URL.Query().Get("Stage")
	if f == nil || which == "LIVE" && !f.published {
		c.fail(w, http.StatusNotFound, "NoSuchFunctionExists", "The specified function does not exist.")
		return
	}
	switch action {
	case "GetFunction":
		code := f.dev.code
		if which == "LIVE" {
			code = f.live.code
		}
		w.Header().Set("Etag", tagOf(f.etag))
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(code))
		return
	case "DeleteFunction":
		c.deleteFunction(w, r, name, f)
		return
	case "UpdateFunction":
		if !c.matches(w, r, f.etag) {
			return
		}
		f.dev = stage{in.FunctionCode, in.Config.Inner}
		f.etag++
	case "PublishFunction":
		if !c.matches(w, r, f.etag) {
			return
		}
		f.live, f.published, which = f.dev, true, "LIVE"
	}
	answerXML(w, http.StatusOK, f.etag, c.describeFunction(name, which))
}

func (c *cloudfront) deleteFunction(w http.ResponseWriter, r *http.Request, name string, f *function) {
	if !c.matches(w, r, f.etag) {
		return
	}
	for _, d := range c.distributions {
		if strings.Contains(d.config, ":function/"+name+"<") {
			c.fail(w, http.StatusConflict, "FunctionInUse", "The function is in use by a distribution.")
			return
		}
	}
	delete(c.functions, name)
	w.WriteHeader(http.StatusNoContent)
}

func (c *cloudfront) functionARN(name string) string {
	return "arn:aws:cloudfront::" + c.d.cfg.Account + ":function/" + name
}

func (c *cloudfront) describeFunction(name, which string) string {
	f := c.functions[name]
	config := f.dev.config
	if which == "LIVE" {
		config = f.live.config
	}
	return fmt.Sprintf("<FunctionSummary><Name>%s</Name><FunctionConfig>%s</FunctionConfig><FunctionMetadata><FunctionARN>%s</FunctionARN><Stage>%s</Stage></FunctionMetadata></FunctionSummary>",
		name, config, c.functionARN(name), which)
}

// Functions returns the live code of the published functions, keyed by name.
func (d *Double) Functions() map[string]string {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	all := map[string]string{}
	for name, f := range d.cloudfront.functions {
		if f.published {
			all[name] = f.live.code
		}
	}
	return all
}

// SetFunction replaces the code and the comment of a function in both stages.
func (d *Double) SetFunction(name, comment, code string) {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	f := d.cloudfront.functions[name]
	config := f.dev.config
	if begin, end := strings.Index(config, "<Comment>"), strings.Index(config, "</Comment>"); begin >= 0 {
		config = config[:begin] + "<Comment>" + escape(comment) + config[end:]
	}
	f.dev = stage{code, config}
	f.live = f.dev
	f.etag++
}

// field is CloudFront's form of a header, a cookie or a query parameter.
type field struct {
	Value      string  `json:"value"`
	Attributes string  `json:"attributes,omitempty"`
	Multi      []field `json:"multiValue,omitempty"`
}

// event is the argument of a function
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html).
type event struct {
	Context struct {
		DistributionID string `json:"distributionId"`
		RequestID      string `json:"requestId"`
	} `json:"context"`
	Viewer struct {
		IP string `json:"ip"`
	} `json:"viewer"`
	Request struct {
		Method      string           `json:"method"`
		URI         string           `json:"uri"`
		Querystring map[string]field `json:"querystring"`
		Headers     map[string]field `json:"headers"`
		Cookies     map[string]field `json:"cookies"`
	} `json:"request"`
	Response *eventResponse `json:"response,omitempty"`
}

type eventResponse struct {
	StatusCode int              `json:"statusCode"`
	Headers    map[string]field `json:"headers"`
	Cookies    map[string]field `json:"cookies,omitempty"`
	Body       *eventBody       `json:"body,omitempty"`
}

type eventBody struct {
	Encoding string `json:"encoding"`
	Data     string `json:"data"`
}

// view returns a client's request in the functions' form.
type view struct {
	method, uri, query, host, ip string
	header                       http.Header
}

func newEvent(distribution string, v view) event {
	var e event
	e.Context.DistributionID = distribution
	e.Request.Method, e.Request.URI, e.Request.Headers, e.Request.Querystring = v.method, v.uri, map[string]field{}, map[string]field{}
	e.Context.RequestID, e.Viewer.IP, e.Request.Cookies = rand.Text(), v.ip, map[string]field{}
	for name := range v.header {
		if name != "Cookie" {
			e.Request.Headers[strings.ToLower(name)] = field{Value: v.header.Get(name)}
		}
	}
	for _, c := range (&http.Request{Header: v.header}).Cookies() {
		add(e.Request.Cookies, c.Name, c.Value)
	}
	if v.host != "" {
		e.Request.Headers["host"] = field{Value: v.host}
	}
	for pair := range strings.SplitSeq(v.query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name != "" {
			add(e.Request.Querystring, name, value)
		}
	}
	return e
}

// add adds a value of a cookie or a parameter.
func add(to map[string]field, name, value string) {
	before, again := to[name]
	if !again {
		to[name] = field{Value: value}
		return
	}
	if before.Multi == nil {
		before.Multi = []field{{Value: before.Value}}
	}
	before.Value, before.Multi = value, append(before.Multi, field{Value: value})
	to[name] = before
}

// runRequest runs a viewer-request function.
func (d *Double) runRequest(arn string, at place, v view) (request, error) {
	var out struct {
		eventResponse
		URI string `json:"uri"`
	}
	err := d.call(arn, at.tenant, newEvent(at.ID, v), &out)
	return request{out.response(), out.URI, out.Headers}, err
}

// runResponse runs a viewer-response function. It sees the request as changed
// by the viewer-request function.
func (d *Double) runResponse(arn string, at place, asked request, v view, in response) (response, error) {
	v.uri = asked.URI
	e := newEvent(at.ID, v)
	if asked.fields != nil {
		e.Request.Headers = asked.fields
	}
	e.Response = &eventResponse{StatusCode: in.Status, Headers: map[string]field{}}
	for name := range in.Headers {
		e.Response.Headers[strings.ToLower(name)] = field{Value: in.Headers.Get(name)}
	}
	var out eventResponse
	err := d.call(arn, at.tenant, e, &out)
	return out.response(), err
}

func (e eventResponse) response() response {
	r := response{Status: e.StatusCode, Headers: http.Header{}}
	for name, f := range e.Headers {
		r.Headers.Set(name, f.Value)
	}
	for name, f := range e.Cookies {
		r.Headers.Add("Set-Cookie", name+"="+f.Value+"; "+f.Attributes)
	}
	if e.Body != nil {
		r.Body = e.Body.Data
	}
	return r
}

// Run is a run of a function.
type Run struct {
	Code   string            `json:"code"`   // without the import of CloudFront's module
	Values map[string]string `json:"values"` // that it read from its KeyValueStore
	Event  json.RawMessage   `json:"event"`
	Tenant map[string]string `json:"tenant,omitempty"` // the tenant's parameters
	Now    int64             `json:"now"`              // its time in milliseconds since 1970
	Result json.RawMessage   `json:"result"`
}

// imported is the import of CloudFront's module, which goja does not know.
var imported = regexp.MustCompile(`import ([\w$]+) from ?["']cloudfront["'];`)

// call runs the live code of a function with its KeyValueStore.
func (d *Double) call(arn string, tenant *Tenant, e event, out any) error {
	_, name, _ := strings.Cut(arn, ":function/")
	d.cloudfront.mu.Lock()
	f := d.cloudfront.functions[name]
	if f == nil || !f.published {
		d.cloudfront.mu.Unlock()
		return errors.New("no function " + name)
	}
	live := f.live
	d.cloudfront.mu.Unlock()
	var config struct {
		Store string `xml:"KeyValueStoreAssociations>Items>KeyValueStoreAssociation>KeyValueStoreARN"`
	}
	_ = parseConfig(live.config, &config)
	run := Run{Code: imported.ReplaceAllString(live.code, "const $1 = cloudfront;"), Values: map[string]string{}}
	d.edge.mu.Lock()
	now := d.edge.now()
	d.edge.mu.Unlock()
	run.Now = now.UnixMilli()
	vm := goja.New()
	vm.SetTimeSource(func() time.Time { return now })
	if err := provide(vm); err != nil {
		return err
	}
	module := map[string]any{}
	if tenant != nil {
		run.Tenant = tenant.Parameters
		module["distributionTenant"] = map[string]any{"id": tenant.ID, "parameters": map[string]any{"get": func(name string) string { return tenant.Parameters[name] }}}
	}
	module["kvs"] = func() any {
		read := func(key string, answer func(value string, ok bool, resolve, reject func(any) error)) *goja.Promise {
			promise, resolve, reject := vm.NewPromise()
			value, ok := d.keyvalue.value(config.Store, key)
			if ok {
				run.Values[key] = value
			}
			if config.Store == "" || d.keyvalue.broken.Load() {
				_ = reject(errors.New("the store can't be read"))
			} else {
				answer(value, ok, resolve, reject)
			}
			return promise
		}
		return map[string]any{
			"get": func(key string) *goja.Promise {
				return read(key, func(value string, ok bool, resolve, reject func(any) error) {
					if ok {
						_ = resolve(value)
					} else {
						_ = reject(errors.New("KeyNotFound"))
					}
				})
			},
			"exists": func(key string) *goja.Promise {
				return read(key, func(_ string, ok bool, resolve, _ func(any) error) { _ = resolve(ok) })
			},
		}
	}
	if err := vm.Set("cloudfront", module); err != nil {
		return err
	}
	var err error
	if run.Event, err = json.Marshal(e); err != nil {
		return err
	}
	value, err := vm.RunString(run.Code + "\n;(async () => JSON.stringify(await handler(" + string(run.Event) + ")))()")
	if err != nil {
		return err
	}
	promise, ok := value.Export().(*goja.Promise)
	if !ok || promise.State() != goja.PromiseStateFulfilled {
		return fmt.Errorf("the handler did not return: %v", promise.Result())
	}
	run.Result = []byte(promise.Result().String())
	if d.cfg.Ran != nil {
		d.cfg.Ran(run)
	}
	return json.Unmarshal(run.Result, out)
}
