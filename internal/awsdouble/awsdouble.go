// Package awsdouble is a stand-in for AWS at the level of HTTP, so the real SDK
// runs against it unchanged. It follows AWS's rules: ETags, distributions that
// take time to change, throttling, signed events. Tests run it in their own
// process and point TROY_AWS_ENDPOINT at it; nothing else uses it.
//
// One address serves all services. The scope of a request's signature names its
// service, as in every AWS SDK. The double passes S3 requests on to a real S3
// server.
package awsdouble

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Config configures a Double.
type Config struct {
	// Account and Region appear in ARNs; empty means 123456789012 and
	// us-east-1.
	Account, Region string
	// Settle is how long a distribution is InProgress after each change.
	// DistributionNotDisabled persists for half as long after that.
	Settle time.Duration
	// Zone and ZoneName identify the hosted zone; empty means Z0123456789 and
	// sites.test.
	Zone, ZoneName string
	// Skew is how far AWS's clock is ahead of this machine's.
	Skew time.Duration
	// MaxDistributions is the account's quota; 0 means none.
	MaxDistributions int
	// MaxTenants is the account's quota of distribution tenants; 0 means none.
	MaxTenants int
	// Points, if not nil, reports whether the DNS records of a name outside the
	// zone lead to a target: a domain of CloudFront, or the value of a record
	// of ACM. If it is nil, all do.
	Points func(name, target string) bool
	// Forbids, if not nil, reports whether a CAA record forbids a certificate
	// for a name.
	Forbids func(name string) bool
	// Covers is the suffix of the hosts that the certificate covers; empty
	// means all hosts.
	Covers string
	// LogBuckets are the buckets whose policy lets CloudFront write access
	// logs; nil means all.
	LogBuckets []string
	// S3 is the server that receives S3 calls; nil refuses them.
	S3 *url.URL
	// S3Key and S3Secret are the server's credentials, for CodeBuild's machines
	// and CloudFront's origin requests.
	S3Key, S3Secret string
	// MaxBuilds is the maximum number of concurrent builds; 0 means no limit.
	MaxBuilds int
	// Event, if not nil, is called with each event of CodeBuild in
	// EventBridge's form. It must not call the double.
	Event func(event []byte)
	// Fault, if not nil, returns the fault of each call. The SDK's retries of a
	// call get the same fault as its first attempt.
	Fault func(Call) Fault
	// Ran, if not nil, is called with each run of a function.
	Ran func(Run)
	Log *slog.Logger
}

// Call is a request.
type Call struct {
	Service string // as in the signature's scope: "cloudfront", "s3"
	Action  string // "CreateDistribution", "PutObject"
	// Number counts the calls from 1. The SDK's retries of a call have the same
	// number.
	Number int
}

// String returns the service and the action: "cloudfront.CreateDistribution".
func (c Call) String() string { return c.Service + "." + c.Action }

// Fault is a fault of a call.
type Fault int

const (
	// None lets the call through.
	None Fault = iota
	// Throttled answers that the rate is exceeded; the call has no effect.
	Throttled
	// Failed answers 500; the call has no effect.
	Failed
	// LostBefore closes the connection; the call has no effect.
	LostBefore
	// LostAfter closes the connection after the call's effect.
	LostAfter
	// Denied answers that the role lacks the permission.
	Denied
)

// service is one AWS service.
type service interface {
	// action returns the service's name for the requested action.
	action(r *http.Request, body []byte) string
	// serve serves the request.
	serve(w http.ResponseWriter, r *http.Request, body []byte)
	// fail writes an error in the service's protocol.
	fail(w http.ResponseWriter, status int, code, message string)
}

// Double is a running double.
type Double struct {
	cfg      Config
	server   *httptest.Server
	services map[string]service

	queues     *queues
	cloudfront *cloudfront
	edge       *edge
	keyvalue   *keyValueStore
	route53    *route53
	codebuild  *codebuild
	deliveries *deliveries

	mu      sync.Mutex
	topics  []*Topic
	calls   []Call
	numbers map[string]int // by the SDK's invocation id
}

// maxBody exceeds the body of every call except S3's.
const maxBody = 4 << 20

// Start starts a Double that runs until Close.
func Start(cfg Config) *Double {
	if cfg.Account == "" {
		cfg.Account = "123456789012"
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Zone == "" {
		cfg.Zone, cfg.ZoneName = "Z0123456789", "sites.test"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Double{cfg: cfg, numbers: map[string]int{}}
	d.queues, d.cloudfront, d.codebuild = newQueues(d), newCloudFront(d), newCodeBuild(d)
	d.keyvalue, d.route53, d.edge = &keyValueStore{stores: map[string]*pairs{}}, &route53{d: d, records: map[string]record{}}, newEdge(d)
	d.deliveries = newLogDeliveries(d)
	d.services = map[string]service{
		"sqs": d.queues, "cloudfront": d.cloudfront, "cloudfront-keyvaluestore": d.keyvalue, "route53": d.route53,
		"codebuild": d.codebuild, "logs": logs{d.codebuild}, "sns": topics{d},
		"sts": identity{d}, "acm": certificates{d}, "servicequotas": quotas{d},
	}
	d.server = httptest.NewServer(http.HandlerFunc(d.handle))
	return d
}

// URL returns the endpoint of all services.
func (d *Double) URL() string { return d.server.URL }

// Close stops the double and its running builds.
func (d *Double) Close() {
	d.BreakBuilds()
	d.codebuild.running.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.topics {
		t.close()
	}
	d.server.Close()
}

// Calls returns the calls so far, without the SDK's retries.
func (d *Double) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Call(nil), d.calls...)
}

// handle finds the request's service and fault, and serves it.
func (d *Double) handle(w http.ResponseWriter, r *http.Request) {
	name := scope(r)
	if d.cfg.Skew != 0 {
		w.Header().Set("Date", time.Now().Add(d.cfg.Skew).UTC().Format(http.TimeFormat))
	}
	if name == "s3" {
		d.meet(w, r, nil, storage{d})
		return
	}
	svc, ok := d.services[name]
	if !ok {
		http.Error(w, fmt.Sprintf("the double has no service %q", name), http.StatusNotImplemented)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		svc.fail(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error())
		return
	}
	d.meet(w, r, body, svc)
}

// meet serves a call with its fault.
func (d *Double) meet(w http.ResponseWriter, r *http.Request, body []byte, svc service) {
	call := d.count(r, Call{Service: scope(r), Action: svc.action(r, body)})
	fault := None
	if d.cfg.Fault != nil {
		fault = d.cfg.Fault(call)
	}
	d.cfg.Log.Debug("call", "call", call.String(), "number", call.Number, "fault", int(fault))
	switch fault {
	case None:
		svc.serve(w, r, body)
	case Throttled:
		svc.fail(w, http.StatusBadRequest, "Throttling", "Rate exceeded")
	case Failed:
		svc.fail(w, http.StatusInternalServerError, "InternalError", "An internal error occurred")
	case Denied:
		code := "AccessDenied"
		if call.Service != "s3" && call.Service != "cloudfront" && call.Service != "route53" {
			code = "AccessDeniedException"
		}
		svc.fail(w, http.StatusForbidden, code, "User is not authorized to perform: "+call.Service+":"+call.Action)
	case LostBefore:
		panic(http.ErrAbortHandler)
	case LostAfter:
		svc.serve(httptest.NewRecorder(), r, body)
		panic(http.ErrAbortHandler)
	}
}

// count returns the call's number, which its retries share.
func (d *Double) count(r *http.Request, call Call) Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	invocation := r.Header.Get("Amz-Sdk-Invocation-Id")
	if n, again := d.numbers[invocation]; again && invocation != "" {
		call.Number = n
		return call
	}
	call.Number = len(d.calls) + 1
	d.numbers[invocation] = call.Number
	d.calls = append(d.calls, call)
	return call
}

// scope returns the service in a signature's scope, from the header or from a
// presigned address. The scope of version 4A has no region. See
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
func scope(r *http.Request) string {
	credential := r.URL.Query().Get("X-Amz-Credential")
	if _, after, found := strings.Cut(r.Header.Get("Authorization"), "Credential="); found {
		credential, _, _ = strings.Cut(after, ",")
	}
	parts := strings.Split(credential, "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-2]
}
