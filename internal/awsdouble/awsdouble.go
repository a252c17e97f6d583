// Package awsdouble stands in for AWS at the level of the wire, so that the
// real SDK runs against it unchanged. It keeps the rules that AWS really has:
// ETags, distributions that take their time, throttling, events that are
// signed. Tests start it in their own process and point TROY_AWS_ENDPOINT at
// it; nothing else uses it.
//
// One address serves all services. Which one a request is for stands in the
// scope of its signature, as every AWS SDK writes it. S3 is passed on to a
// real S3 server.
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

// Config is what differs between tests.
type Config struct {
	// Account and Region are those of the ARNs; empty means 123456789012 and
	// us-east-1.
	Account, Region string
	// Settle is how long a distribution is InProgress after each change, and
	// half of it how long DistributionNotDisabled still comes after that.
	Settle time.Duration
	// Zone and ZoneName are the hosted zone's; empty means Z0123456789 and
	// sites.test.
	Zone, ZoneName string
	// Skew is how far AWS's clock is ahead of this machine's.
	Skew time.Duration
	// MaxDistributions is the account's quota, 0 for none.
	MaxDistributions int
	// Covers is what the hosts end in that the certificate covers; empty means
	// all.
	Covers string
	// LogBuckets are the buckets that take CloudFront's access logs; nil means
	// any.
	LogBuckets []string
	// S3 is the server that S3 calls are passed on to; nil refuses them.
	S3 *url.URL
	// S3Key and S3Secret are the server's credentials. CodeBuild's machines and
	// CloudFront's origin requests use them.
	S3Key, S3Secret string
	// MaxBuilds is how many builds may run at a time, 0 for any number.
	MaxBuilds int
	// Event, if not nil, gets each event of CodeBuild, as EventBridge has it.
	// It may not call the double.
	Event func(event []byte)
	// Fault, if not nil, is asked about each call. The SDK's own retries of a
	// call meet the same fault as its first attempt.
	Fault func(Call) Fault
	Log   *slog.Logger
}

// Call is one request as it arrives.
type Call struct {
	Service string // as the signature's scope has it: "cloudfront", "s3"
	Action  string // "CreateDistribution", "PutObject"
	// Number counts the calls from 1. The SDK's retries of a call have its
	// number.
	Number int
}

// String is "cloudfront.CreateDistribution".
func (c Call) String() string { return c.Service + "." + c.Action }

// Fault is what goes wrong with a call.
type Fault int

const (
	// None lets the call through.
	None Fault = iota
	// Throttled answers that the rate is exceeded, without effect.
	Throttled
	// Failed answers 500, without effect.
	Failed
	// LostBefore breaks the connection, without effect.
	LostBefore
	// LostAfter breaks the connection once the effect is there.
	LostAfter
	// Denied answers that the role may not do it.
	Denied
)

// service is one AWS service.
type service interface {
	// action names what a request asks for, in the service's own words.
	action(r *http.Request, body []byte) string
	// serve answers it.
	serve(w http.ResponseWriter, r *http.Request, body []byte)
	// fail answers with an error of the service's protocol.
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

	mu      sync.Mutex
	topics  []*Topic
	calls   []Call
	numbers map[string]int // by the SDK's id of the invocation
}

// maxBody is more than any call but S3's has.
const maxBody = 4 << 20

// Start serves until Close.
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
	d.services = map[string]service{
		"sqs": d.queues, "cloudfront": d.cloudfront, "cloudfront-keyvaluestore": d.keyvalue, "route53": d.route53,
		"codebuild": d.codebuild, "logs": logs{d.codebuild}, "sns": topics{d},
		"sts": identity{d}, "acm": certificates{d}, "servicequotas": quotas{d},
	}
	d.server = httptest.NewServer(http.HandlerFunc(d.handle))
	return d
}

// URL is the endpoint of all services.
func (d *Double) URL() string { return d.server.URL }

// Close ends it, and the builds that run.
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

// Calls lists the calls so far, without the SDK's retries.
func (d *Double) Calls() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Call(nil), d.calls...)
}

// handle finds the service, asks for the fault and serves.
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

// meet serves a call, or what its fault makes of it.
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

// count numbers the call, its retries as itself.
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

// scope is the service in a signature's scope, in the header or in a
// presigned address. Version 4A's scope has no region.
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
