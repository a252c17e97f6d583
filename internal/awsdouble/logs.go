package awsdouble

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// logs is CloudWatch Logs with the logs of builds and the deliveries of access
// logs
// (docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference).
type logs struct{ c *codebuild }

func (l logs) action(r *http.Request, _ []byte) string {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return action
}

func (l logs) fail(w http.ResponseWriter, status int, code, message string) {
	l.c.fail(w, status, code, message)
}

// region returns the region in a signature's scope.
func region(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	parts := strings.Split(after, "/")
	if len(parts) < 4 {
		return ""
	}
	return parts[2]
}

// maxPage is the maximum size of a page of events in bytes.
const maxPage = 1 << 20

func (l logs) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if action := l.action(r, body); strings.Contains(action, "Deliver") {
		if region(r) != "us-east-1" {
			l.fail(w, http.StatusBadRequest, "ValidationException", "The access logs of CloudFront are in us-east-1.")
			return
		}
		l.c.d.deliveries.serve(w, action, body)
		return
	}
	var in struct {
		Group string `json:"logGroupName"`
		Name  string `json:"logStreamName"`
		Token string `json:"nextToken"`
		Limit int    `json:"limit"`
	}
	if err := json.Unmarshal(body, &in); err != nil || l.action(r, body) != "GetLogEvents" {
		l.fail(w, http.StatusBadRequest, "InvalidParameterException", l.action(r, body))
		return
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for _, b := range l.c.builds {
		if b.logGroup() == in.Group && b.streamName() == in.Name && len(b.lines) > 0 {
			l.answer(w, b, in.Token, in.Limit)
			return
		}
	}
	l.fail(w, http.StatusBadRequest, "ResourceNotFoundException", "The specified log stream does not exist.")
}

func (l logs) answer(w http.ResponseWriter, b *build, token string, limit int) {
	if token == "" {
		// A page may be empty although more follow.
		answerJSON(w, http.StatusOK, map[string]any{"events": []any{}, "nextForwardToken": fmt.Sprintf("f/%020d", 0), "nextBackwardToken": fmt.Sprintf("b/%020d", 0)})
		return
	}
	from := 0
	if token != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(token, "f/"))
		if err != nil || n < 0 || n > len(b.lines) {
			l.fail(w, http.StatusBadRequest, "InvalidParameterException", "The specified nextToken is invalid.")
			return
		}
		from = n
	}
	if limit == 0 {
		limit = 10_000
	}
	events, size, to := []any{}, 0, from
	for to < len(b.lines) && len(events) < limit {
		e := b.lines[to]
		if size += len(e.message); size > maxPage && len(events) > 0 {
			break
		}
		events = append(events, map[string]any{"timestamp": e.at.UnixMilli(), "ingestionTime": e.at.UnixMilli(), "message": e.message})
		to++
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"events": events, "nextForwardToken": fmt.Sprintf("f/%020d", to), "nextBackwardToken": fmt.Sprintf("b/%020d", from),
	})
}
