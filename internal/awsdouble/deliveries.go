package awsdouble

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// deliveries is the part of CloudWatch Logs that delivers CloudFront's access
// logs to buckets (docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference).
type deliveries struct {
	d *Double

	mu           sync.Mutex
	destinations map[string]logDestination
	sources      map[string]string // ARNs of distributions by the source's name
	connections  map[string]connection
	made         int
	lines        []logLine
	written      int
}

type logDestination struct{ Resource, Format string }

type connection struct {
	Source, Destination, Suffix string
	Fields                      []string
}

// logLine is a request that a distribution served.
type logLine struct {
	distribution string
	at           time.Time
	values       map[string]string
}

func newLogDeliveries(d *Double) *deliveries {
	return &deliveries{d: d, destinations: map[string]logDestination{}, sources: map[string]string{}, connections: map[string]connection{}}
}

// logFields are the fields of standard logs that the double knows.
var logFields = []string{"date", "time", "c-ip", "cs-method", "cs(Host)", "cs-uri-stem", "cs-uri-query", "sc-status", "sc-bytes", "cs(Referer)", "cs(User-Agent)"}

// DeliverySources returns the names of the delivery sources, in order.
func (d *Double) DeliverySources() []string {
	d.deliveries.mu.Lock()
	defer d.deliveries.mu.Unlock()
	return slices.Sorted(maps.Keys(d.deliveries.sources))
}

// Deliveries returns the number of deliveries.
func (d *Double) Deliveries() int {
	d.deliveries.mu.Lock()
	defer d.deliveries.mu.Unlock()
	return len(d.deliveries.connections)
}

func (l *deliveries) destinationARN(name string) string {
	return "arn:aws:logs:us-east-1:" + l.d.cfg.Account + ":delivery-destination:" + name
}

// serve serves an action about deliveries.
func (l *deliveries) serve(w http.ResponseWriter, action string, body []byte) {
	status, answer := l.answer(action, body)
	answerJSON(w, status, answer)
}

func (l *deliveries) answer(action string, body []byte) (status int, answer any) {
	var in struct {
		Name, ID, LogType, ResourceARN, OutputFormat string
		Source                                       string   `json:"deliverySourceName"`
		Destination                                  string   `json:"deliveryDestinationArn"`
		Fields                                       []string `json:"recordFields"`
		S3                                           struct {
			Suffix string `json:"suffixPath"`
		} `json:"s3DeliveryConfiguration"`
		Configuration struct {
			Resource string `json:"destinationResourceArn"`
		} `json:"deliveryDestinationConfiguration"`
		Token string `json:"nextToken"`
		Limit int
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return refuse("SerializationException", err.Error())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch action {
	case "GetDeliveryDestination":
		one, ok := l.destinations[in.Name]
		if !ok {
			return refuse("ResourceNotFoundException", "The delivery destination does not exist.")
		}
		return http.StatusOK, map[string]any{"deliveryDestination": l.describeDestination(in.Name, one)}
	case "PutDeliveryDestination":
		if !strings.HasPrefix(in.Configuration.Resource, "arn:aws:s3:::") {
			return refuse("ValidationException", "The destination resource is not valid.")
		}
		one := logDestination{in.Configuration.Resource, in.OutputFormat}
		l.destinations[in.Name] = one
		return http.StatusOK, map[string]any{"deliveryDestination": l.describeDestination(in.Name, one)}
	case "PutDeliverySource":
		return l.putSource(in.Name, in.LogType, in.ResourceARN)
	case "DescribeDeliverySources":
		return l.page(slices.Sorted(maps.Keys(l.sources)), in.Token, in.Limit, "deliverySources", func(name string) any {
			return map[string]any{"name": name, "logType": "ACCESS_LOGS", "service": "cloudfront", "resourceArns": []string{l.sources[name]}}
		})
	case "DeleteDeliverySource":
		for _, c := range l.connections {
			if c.Source == in.Name {
				return refuse("ConflictException", "The delivery source has deliveries.")
			}
		}
		if _, ok := l.sources[in.Name]; !ok {
			return refuse("ResourceNotFoundException", "The delivery source does not exist.")
		}
		delete(l.sources, in.Name)
		return http.StatusOK, map[string]any{}
	case "CreateDelivery":
		return l.connect(connection{in.Source, in.Destination, in.S3.Suffix, in.Fields})
	case "DescribeDeliveries":
		return l.page(slices.Sorted(maps.Keys(l.connections)), in.Token, in.Limit, "deliveries", func(id string) any {
			return l.describe(id)
		})
	case "DeleteDelivery":
		if _, ok := l.connections[in.ID]; !ok {
			return refuse("ResourceNotFoundException", "The delivery does not exist.")
		}
		delete(l.connections, in.ID)
		return http.StatusOK, map[string]any{}
	}
	return refuse("UnknownOperationException", action)
}

func refuse(code, message string) (int, any) {
	return http.StatusBadRequest, map[string]string{"__type": code, "message": message}
}

func (l *deliveries) describeDestination(name string, one logDestination) map[string]any {
	return map[string]any{
		"name": name, "arn": l.destinationARN(name), "outputFormat": one.Format, "deliveryDestinationType": "S3",
		"deliveryDestinationConfiguration": map[string]string{"destinationResourceArn": one.Resource},
	}
}

func (l *deliveries) describe(id string) map[string]any {
	c := l.connections[id]
	return map[string]any{"id": id, "deliverySourceName": c.Source, "deliveryDestinationArn": c.Destination, "deliveryDestinationType": "S3", "recordFields": c.Fields}
}

// putSource makes a distribution a source. A distribution can be only one.
func (l *deliveries) putSource(name, logType, arn string) (int, any) {
	_, id, ok := strings.Cut(arn, "arn:aws:cloudfront::"+l.d.cfg.Account+":distribution/")
	switch {
	case logType != "ACCESS_LOGS" || len(name) == 0 || len(name) > 60:
		return refuse("ValidationException", "The log type or the name is not valid.")
	case !ok || !slices.ContainsFunc(l.d.Distributions(), func(d Distribution) bool { return d.ID == id }):
		return refuse("ResourceNotFoundException", "The resource does not exist.")
	}
	for other, resource := range l.sources {
		if resource == arn && other != name {
			return refuse("ConflictException", "This ResourceId has already been used in another Delivery Source in this account.")
		}
	}
	l.sources[name] = arn
	return http.StatusOK, map[string]any{"deliverySource": map[string]any{"name": name, "resourceArns": []string{arn}}}
}

func (l *deliveries) connect(c connection) (int, any) {
	_, name, _ := strings.Cut(c.Destination, ":delivery-destination:")
	to, destined := l.destinations[name]
	if _, ok := l.sources[c.Source]; !ok || !destined || c.Destination != l.destinationARN(name) {
		return refuse("ResourceNotFoundException", "The delivery source or the delivery destination does not exist.")
	}
	for _, f := range c.Fields {
		if !slices.Contains(logFields, f) {
			return refuse("ValidationException", "The record field is not valid: "+f)
		}
	}
	for _, other := range l.connections {
		if other.Source == c.Source && other.Destination == c.Destination {
			return refuse("ConflictException", "The delivery exists already.")
		}
	}
	if bucket, _, _ := strings.Cut(strings.TrimPrefix(to.Resource, "arn:aws:s3:::"), "/"); !l.d.takesLogs(bucket) {
		return refuse("AccessDeniedException", "The bucket's policy does not allow the delivery.")
	}
	l.made++
	id := fmt.Sprintf("delivery%06d", l.made)
	l.connections[id] = c
	return http.StatusOK, map[string]any{"delivery": l.describe(id)}
}

// takesLogs reports whether a bucket's policy lets the deliveries write to it.
func (d *Double) takesLogs(bucket string) bool {
	return d.cfg.LogBuckets == nil || slices.Contains(d.cfg.LogBuckets, bucket)
}

// page answers with a part of a list, at most 50 entries.
func (l *deliveries) page(all []string, token string, limit int, name string, describe func(string) any) (int, any) {
	from, _ := strconv.Atoi(token)
	to := min(from+min(cmp.Or(limit, 50), 50), len(all))
	items := []any{}
	for _, one := range all[min(from, len(all)):to] {
		items = append(items, describe(one))
	}
	answer := map[string]any{name: items}
	if to < len(all) {
		answer["nextToken"] = strconv.Itoa(to)
	}
	return http.StatusOK, answer
}

// note records a request that a distribution served, if a delivery wants it.
func (l *deliveries) note(distribution string, at time.Time, r *http.Request, status int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, logLine{distribution, at.UTC(), map[string]string{
		"date": at.UTC().Format(time.DateOnly), "time": at.UTC().Format(time.TimeOnly), "c-ip": "192.0.2.1", "cs-method": r.Method, "cs(Host)": r.Host,
		"cs-uri-stem": r.URL.EscapedPath(), "cs-uri-query": cmp.Or(r.URL.RawQuery, "-"), "sc-status": fmt.Sprintf("%03d", status), "sc-bytes": strconv.FormatInt(size, 10),
		"cs(Referer)": cmp.Or(r.Referer(), "-"), "cs(User-Agent)": cmp.Or(r.UserAgent(), "-"),
	}})
}

// WriteLogs writes a log file for each delivery and hour with requests since the
// last call, and returns the number of files. CloudFront does so within an hour.
func (d *Double) WriteLogs(ctx context.Context) (int, error) {
	l := d.deliveries
	l.mu.Lock()
	defer l.mu.Unlock()
	type file struct{ bucket, key string }
	files := map[file]*bytes.Buffer{}
	for _, c := range l.connections {
		_, id, _ := strings.Cut(l.sources[c.Source], ":distribution/")
		_, name, _ := strings.Cut(c.Destination, ":delivery-destination:")
		bucket, prefix, _ := strings.Cut(strings.TrimPrefix(l.destinations[name].Resource, "arn:aws:s3:::"), "/")
		if prefix == "" {
			prefix = "AWSLogs/" + d.cfg.Account + "/CloudFront"
		}
		for _, line := range l.lines {
			if line.distribution != id {
				continue
			}
			folder := prefix + "/" + strings.ReplaceAll(c.Suffix, "{DistributionId}", id)
			to := file{bucket, fmt.Sprintf("%s/%s.%s.%08x.gz", folder, id, line.at.Format("2006-01-02-15"), l.written)}
			if files[to] == nil {
				files[to] = &bytes.Buffer{}
			}
			files[to].WriteString(line.json(c.Fields))
		}
	}
	l.lines, l.written = nil, l.written+1
	client := d.newS3()
	for to, text := range files {
		var stored bytes.Buffer
		z := gzip.NewWriter(&stored)
		_, _ = z.Write(text.Bytes())
		_ = z.Close()
		if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &to.bucket, Key: &to.key, Body: bytes.NewReader(stored.Bytes())}); err != nil {
			return 0, err
		}
	}
	return len(files), nil
}

// json returns a line with the delivery's fields. All values are texts.
func (l logLine) json(fields []string) string {
	parts := make([]string, 0, len(fields))
	for _, f := range fields {
		name, _ := json.Marshal(f)
		value, _ := json.Marshal(l.values[f])
		parts = append(parts, string(name)+":"+string(value))
	}
	return "{" + strings.Join(parts, ",") + "}\n"
}

// logged is a response whose size and status are logged.
type logged struct {
	http.ResponseWriter
	status int
	size   int64
}

func (l *logged) WriteHeader(status int) {
	if l.status == 0 {
		var head bytes.Buffer
		_ = l.Header().Write(&head)
		l.status, l.size = status, int64(head.Len())
	}
	l.ResponseWriter.WriteHeader(status)
}

func (l *logged) Write(p []byte) (int, error) {
	if l.status == 0 {
		l.WriteHeader(http.StatusOK)
	}
	n, err := l.ResponseWriter.Write(p)
	l.size += int64(n)
	return n, err
}
