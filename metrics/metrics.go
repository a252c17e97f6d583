// Package metrics exports counts and times for Prometheus. docs/operations.md
// lists the names. A nil *Metrics counts nothing.
package metrics

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// Metrics are the metrics of one process.
type Metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	requestTime *prometheus.HistogramVec
	tasks       *prometheus.CounterVec
	taskTime    *prometheus.HistogramVec
	claimsLost  *prometheus.CounterVec
	outside     *prometheus.CounterVec
	outsideTime *prometheus.HistogramVec
	transitions *prometheus.CounterVec
	refused     *prometheus.CounterVec
	reconciled  *prometheus.CounterVec
}

// New returns the metrics of a process.
func New() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: []float64{.005, .025, .1, .5, 2, 10, 60, 300, 1800},
		}, labels)
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		requests:    counter("troy_http_requests_total", "Requests answered, by route and status.", "method", "route", "status"),
		requestTime: seconds("troy_http_request_seconds", "How long requests took, in seconds.", "route"),
		tasks:       counter("troy_tasks_total", "Claims that ended, by kind of work and outcome: done, waits, again, given_up, handed_back.", "kind", "outcome"),
		taskTime:    seconds("troy_task_seconds", "How long claims were held, in seconds.", "kind"),
		claimsLost:  counter("troy_claims_lost_total", "Claims whose lease ran out or was taken away while they were held.", "kind"),
		outside:     counter("troy_outside_calls_total", "Calls of the cloud, the builder and the forges, by call and outcome: ok, expected (not found and the like), failed.", "call", "outcome"),
		outsideTime: seconds("troy_outside_call_seconds", "How long calls of the cloud, the builder and the forges took, in seconds.", "call"),
		transitions: counter("troy_transitions_total", "Transitions of pipelines and deployments, by the statement that made them.", "transition"),
		refused:     counter("troy_messages_refused_total", "Messages of an SQS queue that were left for its dead-letter queue.", "queue"),
		reconciled:  counter("troy_reconciled_total", "Stuck rows that were repaired, by problem: missing work, or values that contradict each other.", "what"),
	}
	m.registry.MustRegister(m.requests, m.requestTime, m.tasks, m.taskTime, m.claimsLost, m.outside, m.outsideTime, m.transitions, m.refused, m.reconciled,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves all metrics in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Request counts an answered request. route is a pattern, not a path.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if m == nil {
		return
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		method = "other" // clients choose the method
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.requestTime.WithLabelValues(route).Observe(took.Seconds())
}

// Task counts a claim that ended.
func (m *Metrics) Task(kind, outcome string, held time.Duration) {
	if m == nil {
		return
	}
	m.tasks.WithLabelValues(kind, outcome).Inc()
	m.taskTime.WithLabelValues(kind).Observe(held.Seconds())
}

// ClaimLost counts a claim that was taken away.
func (m *Metrics) ClaimLost(kind string) {
	if m != nil {
		m.claimsLost.WithLabelValues(kind).Inc()
	}
}

// Refused counts a message that goes to the dead-letter queue.
func (m *Metrics) Refused(queue string) {
	if m != nil {
		m.refused.WithLabelValues(queue).Inc()
	}
}

// Reconciled counts a repaired row.
func (m *Metrics) Reconciled(what string) {
	if m != nil {
		m.reconciled.WithLabelValues(what).Inc()
	}
}

// Work adds metrics about the rows in db, which are read at each scrape.
func (m *Metrics) Work(db *pgxpool.Pool) {
	m.registry.MustRegister(&work{
		q:      queries.New(db),
		due:    prometheus.NewDesc("troy_work_due", "Rows of work that are due and that no worker holds, by queue and kind.", []string{"queue", "kind"}, nil),
		oldest: prometheus.NewDesc("troy_work_oldest_due_seconds", "How long the oldest of them has been due, in seconds.", []string{"queue", "kind"}, nil),
		held:   prometheus.NewDesc("troy_work_held", "Rows of work that a worker holds, by queue and kind.", []string{"queue", "kind"}, nil),
		status: prometheus.NewDesc("troy_pipelines", "Pipelines by status.", []string{"status"}, nil),
		bytes:  prometheus.NewDesc("troy_storage_bytes", "Bytes that all pipelines store, each file once per pipeline.", nil, nil),
		files:  prometheus.NewDesc("troy_storage_files", "Files that all pipelines store, each once per pipeline.", nil, nil),
		up:     prometheus.NewDesc("troy_database_up", "Whether Postgres answered this scrape: 1 or 0.", nil, nil),
		swept:  prometheus.NewDesc("troy_swept_seconds_ago", "Time since the last sweep of any process, in seconds.", nil, nil),
	})
}

type work struct {
	q                                                  *queries.Queries
	due, oldest, held, status, bytes, files, up, swept *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (w *work) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{w.due, w.oldest, w.held, w.status, w.bytes, w.files, w.up, w.swept} {
		ch <- d
	}
}

// scrapeTime bounds the queries of a scrape.
const scrapeTime = 5 * time.Second

// Collect implements prometheus.Collector. Without Postgres it only reports
// that.
func (w *work) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	rows, err := w.q.MetricsWork(ctx)
	if err != nil {
		gauge(w.up, 0)
		return
	}
	statuses, err := w.q.MetricsPipelines(ctx)
	if err != nil {
		gauge(w.up, 0)
		return
	}
	bell, err := w.q.BellGet(ctx)
	if err != nil {
		gauge(w.up, 0)
		return
	}
	stored, err := w.q.StorageTotals(ctx)
	if err != nil {
		gauge(w.up, 0)
		return
	}
	gauge(w.up, 1)
	gauge(w.bytes, float64(stored.Bytes))
	gauge(w.files, float64(stored.Files))
	gauge(w.swept, bell.SweptSecondsAgo)
	for _, r := range rows {
		queue := tasks.QueueOf(r.Kind)
		gauge(w.due, float64(r.Due), queue, r.Kind)
		gauge(w.oldest, r.OldestSeconds, queue, r.Kind)
		gauge(w.held, float64(r.Held), queue, r.Kind)
	}
	for _, s := range statuses {
		gauge(w.status, float64(s.Pipelines), string(s.Status))
	}
}

// statementName matches the name that sqlc writes above each statement.
var statementName = regexp.MustCompile(`^-- name: (\w+)`)

// moves are the statements that make a transition of a pipeline or a
// deployment.
var moves = map[string]bool{
	"PipelineCreate": true, "PipelineRequestProvision": true, "PipelineMarkProvisioning": true, "PipelineMarkReady": true,
	"PipelineFailProvision": true, "PipelineScheduleDeletion": true, "PipelineMarkDeleting": true, "PipelineFailDelete": true,
	"PipelineMarkDeleted": true, "DeploymentCreates": true, "DeploymentStart": true, "DeploymentSucceed": true, "DeploymentFail": true,
	"DeploymentCancel": true, "DeploymentSupersede": true, "BuildStart": true, "BuildPublish": true, "PipelineMend": true,
}

// Tracer returns a tracer that counts transitions by their statements.
func (m *Metrics) Tracer() pgx.QueryTracer { return tracer{m} }

type tracer struct{ m *Metrics }

type moveKey struct{}

// TraceQueryStart implements pgx.QueryTracer.
func (t tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if name := statementName.FindStringSubmatch(data.SQL); name != nil && moves[name[1]] {
		return context.WithValue(ctx, moveKey{}, name[1])
	}
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if name, ok := ctx.Value(moveKey{}).(string); ok && data.Err == nil && data.CommandTag.RowsAffected() > 0 {
		t.m.transitions.WithLabelValues(name).Inc()
	}
}

// TraceBatchStart implements pgx.BatchTracer.
func (t tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (t tracer) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if name := statementName.FindStringSubmatch(data.SQL); name != nil && moves[name[1]] && data.Err == nil && data.CommandTag.RowsAffected() > 0 {
		t.m.transitions.WithLabelValues(name[1]).Inc()
	}
}

// TraceBatchEnd implements pgx.BatchTracer.
func (t tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
