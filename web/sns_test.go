package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

const topicARN = "arn:aws:sns:us-west-2:123456789012:builds"

// snsWorld is a server that accepts a topic's messages.
type snsWorld struct {
	*world
	topic     *awsdouble.Topic
	fetched   atomic.Int32
	away      atomic.Bool // SNS's certificates can't be fetched
	confirmed []string
}

func newSNSWorld(t *testing.T, certificate []byte, topics []string, now time.Time) *snsWorld {
	t.Helper()
	topic, err := awsdouble.NewTopic(topicARN)
	if err != nil {
		t.Fatal(err)
	}
	s := &snsWorld{topic: topic}
	if certificate == nil {
		certificate = topic.Certificate
	}
	s.world = newWorld(t, func(w *world) {
		w.cfg.SNSTopics = topics
		w.deps.SNSCertificate = func(context.Context, string) ([]byte, error) {
			s.fetched.Add(1)
			if s.away.Load() {
				return nil, errors.New("no route")
			}
			return certificate, nil
		}
		if !now.IsZero() {
			w.deps.Now = func() time.Time { return now }
		}
		w.deps.ConfirmTopic = func(_ context.Context, topic, token string) error {
			if token == "broken" {
				return errors.New("throttled")
			}
			s.confirmed = append(s.confirmed, topic+" "+token)
			return nil
		}
	})
	return s
}

func (s *snsWorld) post(body []byte) answer {
	s.t.Helper()
	return s.send("POST", "/events/sns", string(body), header("Authorization", ""), header("Content-Type", "text/plain; charset=UTF-8"))
}

// Each kind of SNS message, signed by the tests' own topic, and each CodeBuild
// event in testdata.
func TestSNSMessages(t *testing.T) {
	t.Parallel()
	s := newSNSWorld(t, nil, []string{topicARN}, time.Time{})
	for _, version := range []string{"1", "2"} {
		messages := map[string][]byte{}
		for kind, want := range map[string]string{
			"Notification": "ignored: not an event of CodeBuild", "SubscriptionConfirmation": "ignored: the subscription to " + topicARN + " is confirmed",
			"UnsubscribeConfirmation": "ignored: the subscription to " + topicARN + " was removed",
		} {
			messages[want] = s.topic.Message(kind, "a line for people", map[string]string{"SignatureVersion": version, "Token": "token-" + version})
		}
		messages["ignored: not an event of CodeBuild"] = s.topic.Message("Notification", "a line for people", map[string]string{"SignatureVersion": version, "Subject": "News"})
		for want, body := range messages {
			s.tampered(want, body)
			s.expect(want, body)
		}
	}
	buildEvents(t, filepath.Join("..", "builder", "codebuild", "updates", "testdata"), map[string]string{
		"BuildPhaseChange.COMPLETED.SUCCEEDED.json": "COMPLETED",
		"BuildPhaseChange.PRE_BUILD.SUCCEEDED.json": "PRE_BUILD SUCCEEDED",
		"BuildStateChange.SUCCEEDED.json":           "CodeBuild Build State Change of troy-builds:4f1c9f0e-77aa-4b21-9a0c-1d2e3f405162: SUCCEEDED",
	})
}

// tampered sends a message once for each signed member with that member
// changed.
func (s *snsWorld) tampered(name string, body []byte) {
	s.t.Helper()
	var m map[string]string
	if err := json.Unmarshal(body, &m); err != nil {
		s.t.Fatal(err)
	}
	for _, member := range []string{"Message", "MessageId", "Timestamp", "TopicArn", "Subject", "Token", "Signature"} {
		if m[member] == "" {
			continue
		}
		changed := maps.Clone(m)
		changed[member] = m[member][:len(m[member])-1] + string(m[member][len(m[member])-1]^1)
		text, _ := json.Marshal(changed)
		if a := s.post(text); a.status != 403 && a.status != 400 {
			s.t.Errorf("%s with %s changed: %d %s", name, member, a.status, a.body)
		}
	}
}

// expect sends a message twice: the second time it is a duplicate.
func (s *snsWorld) expect(want string, body []byte) {
	s.t.Helper()
	var out outcome
	s.post(body).into(s.t, 200, &out)
	if got := out.Outcome + ": " + out.Detail; got != want {
		s.t.Errorf("got %s, want %s", got, want)
	}
	s.post(body).into(s.t, 200, &out)
	if out.Outcome != "duplicate" {
		s.t.Errorf("%s again: %+v", want, out)
	}
}

// buildEvents sends the CodeBuild events in a folder, wrapped and signed.
func buildEvents(t *testing.T, dir string, wants map[string]string) {
	t.Helper()
	own := newSNSWorld(t, nil, []string{topicARN}, time.Time{})
	for name, want := range wants {
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var out outcome
		own.post(own.topic.Message("Notification", string(body), map[string]string{"SignatureVersion": "1"})).into(t, 200, &out)
		if out.Outcome != "ignored" || !strings.Contains(out.Detail, want) {
			t.Errorf("%s: %+v, want %s", name, out, want)
		}
	}
}

// Each recorded SNS message, unchanged, and each recorded event of CodeBuild.
func TestRecordedSNSMessages(t *testing.T) {
	t.Parallel()
	const recorded = "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic"
	certificate, err := os.ReadFile(filepath.Join(fixtures, "aws/sns/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped the recorded messages; those of testdata were tested: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := newSNSWorld(t, certificate, []string{recorded}, time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC))
	for name, want := range map[string]string{
		"Notification.v1.subject.json":     "ignored: not an event of CodeBuild",
		"Notification.v2.json":             "ignored: not an event of CodeBuild",
		"SubscriptionConfirmation.v1.json": "ignored: the subscription to " + recorded + " is confirmed",
		"UnsubscribeConfirmation.v2.json":  "ignored: the subscription to " + recorded + " was removed",
	} {
		body, err := os.ReadFile(filepath.Join(fixtures, "aws/sns", name))
		if err != nil {
			t.Fatal(err)
		}
		s.tampered(name, body)
		s.expect(want, body)
	}
	if len(s.confirmed) != 2 || !strings.HasPrefix(s.confirmed[0], recorded+" 2336412f37") {
		// The message was sent twice; confirming is repeatable.
		t.Errorf("confirmed: %q", s.confirmed)
	}

	buildEvents(t, filepath.Join(fixtures, "aws/codebuild"), map[string]string{
		"BuildPhaseChange.COMPLETED.SUCCEEDED.json": "COMPLETED",
		"BuildPhaseChange.PRE_BUILD.SUCCEEDED.json": "PRE_BUILD SUCCEEDED",
		"BuildStateChange.SUCCEEDED.json":           "CodeBuild Build State Change of my-sample-project:8745a7a9-c340-456a-9166-edf953571bEX: SUCCEEDED",
	})
}

// A message that is not SNS's own, from an expected topic, changes nothing; and
// no certificate is fetched for it unless everything but the signature is
// right.
func TestSNSRefuses(t *testing.T) {
	t.Parallel()
	s := newSNSWorld(t, nil, []string{topicARN}, time.Time{})
	other, err := awsdouble.NewTopic(topicARN)
	if err != nil {
		t.Fatal(err)
	}
	message := func(changes map[string]string) []byte { return s.topic.Message("Notification", "{}", changes) }
	url := func(u string) []byte { return message(map[string]string{"SigningCertURL": u}) }
	for name, test := range map[string]struct {
		body   []byte
		status int
	}{
		"another domain":         {url("https://sns.evil.com/x.pem"), 403},
		"a longer domain":        {url("https://sns.us-west-2.amazonaws.com.evil/x.pem"), 403},
		"another region":         {url("https://sns.eu-west-1.amazonaws.com/x.pem"), 403},
		"http":                   {url("http://sns.us-west-2.amazonaws.com/x.pem"), 403},
		"a file":                 {url("file:///etc/x.pem"), 403},
		"a port":                 {url("https://sns.us-west-2.amazonaws.com:8443/x.pem"), 403},
		"a user":                 {url("https://sns.us-west-2.amazonaws.com@evil.com/x.pem"), 403},
		"a query":                {url("https://sns.us-west-2.amazonaws.com/x.pem?to=evil"), 403},
		"another service":        {url("https://s3.us-west-2.amazonaws.com/x.pem"), 403},
		"no PEM":                 {url("https://sns.us-west-2.amazonaws.com/x"), 403},
		"a folder up":            {url("https://sns.us-west-2.amazonaws.com/../x.pem"), 403},
		"another topic":          {message(map[string]string{"TopicArn": topicARN + "2"}), 403},
		"no topic":               {message(map[string]string{"TopicArn": "builds"}), 400},
		"version 3":              {message(map[string]string{"SignatureVersion": "3"}), 400},
		"no version":             {message(map[string]string{"SignatureVersion": ""}), 400},
		"another type":           {message(map[string]string{"Type": "Other"}), 400},
		"no id":                  {message(map[string]string{"MessageId": ""}), 400},
		"no time":                {message(map[string]string{"Timestamp": "yesterday"}), 400},
		"too old":                {message(map[string]string{"Timestamp": time.Now().Add(-31 * 24 * time.Hour).UTC().Format(time.RFC3339)}), 403},
		"ahead of the clock":     {message(map[string]string{"Timestamp": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}), 403},
		"no JSON":                {[]byte("Type=Notification"), 400},
		"nothing":                {nil, 400},
		"more than 288 KiB":      {message(map[string]string{"Message": strings.Repeat("x", 300_000)}), 413},
		"members of other kinds": {[]byte(`{"Type":["Notification"],"MessageId":{}}`), 400},
	} {
		if a := s.post(test.body); a.status != test.status {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, test.status)
		}
	}
	if n := s.fetched.Load(); n != 0 {
		t.Errorf("%d certificates were fetched", n)
	}
	for name, body := range map[string][]byte{
		"another's signature":  other.Message("Notification", "{}", nil),
		"the other version":    []byte(strings.Replace(string(message(nil)), `"SignatureVersion":"2"`, `"SignatureVersion":"1"`, 1)),
		"no signature":         []byte(strings.Replace(string(message(nil)), `"Signature":"`, `"Signature":"!`, 1)),
		"a subject put in":     []byte(strings.Replace(string(message(nil)), `"Type":`, `"Subject":"x","Type":`, 1)),
		"before its validity":  message(map[string]string{"Timestamp": time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)}),
		"a confirmation of it": []byte(strings.Replace(string(message(nil)), `"Notification"`, `"SubscriptionConfirmation"`, 1)),
	} {
		if a := s.post(body); a.status != 403 {
			t.Errorf("%s: %d %s, want 403", name, a.status, a.body)
		}
	}
	if n := s.fetched.Load(); n != 1 {
		t.Errorf("the certificate was fetched %d times", n)
	}
	if n := s.count("SELECT count(*) FROM deliveries"); n != 0 || len(s.confirmed) != 0 {
		t.Errorf("%d deliveries were recorded, confirmed %q", n, s.confirmed)
	}
}

// A fault of Troy's own is 503, so that SNS sends the message again.
func TestSNSFaultsOfOurOwn(t *testing.T) {
	t.Parallel()
	s := newSNSWorld(t, nil, []string{topicARN}, time.Time{})
	s.away.Store(true)
	body := s.topic.Message("Notification", "{}", nil)
	if a := s.post(body); a.status != http.StatusServiceUnavailable {
		t.Errorf("without the certificate: %d %s", a.status, a.body)
	}
	s.away.Store(false)
	if a := s.post(body); a.status != 200 {
		t.Errorf("with it: %d %s", a.status, a.body)
	}
	if a := s.post(s.topic.Message("SubscriptionConfirmation", "", map[string]string{"Token": "broken"})); a.status != http.StatusServiceUnavailable {
		t.Errorf("a confirmation that fails: %d %s", a.status, a.body)
	}
	if a := newSNSWorld(t, nil, nil, time.Time{}).post(body); a.status != http.StatusServiceUnavailable {
		t.Errorf("without TROY_SNS_TOPICS: %d %s", a.status, a.body)
	}
}

// An update makes the poll of its build due; late updates, and those of ended
// or unknown builds, change nothing.
func TestBuildUpdates(t *testing.T) {
	t.Parallel()
	s := newSNSWorld(t, nil, []string{topicARN}, time.Time{})
	event := func(status, deployment string) []byte {
		return s.topic.Message("Notification", `{"source":"aws.codebuild","detail-type":"CodeBuild Build State Change","detail":{"build-id":"arn:aws:codebuild:us-west-2:123456789012:build/troy:1","build-status":"`+
			status+`","additional-information":{"environment":{"environment-variables":[{"name":"TROY_DEPLOYMENT","value":"`+deployment+`"}]}}}}`, nil)
	}
	p := s.bind("blog", "github", "team/blog", "main")
	id := uuid.Must(uuid.NewV7())
	ctx := t.Context()
	q := queries.New(s.deps.DB)
	commit := strings.Repeat("a", 40)
	if _, err := q.DeploymentCreate(ctx, queries.DeploymentCreateParams{ID: id, TreeID: id, PipelineID: p.ID, Kind: troy.Automated, CommitSha: &commit, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, body []byte, result, detail string) {
		t.Helper()
		var out outcome
		s.post(body).into(t, 200, &out)
		if out.Outcome != result || !strings.Contains(out.Detail, detail) {
			t.Errorf("%s: %+v, want %s, %q", what, out, result, detail)
		}
	}
	expect("before the build", event("IN_PROGRESS", id.String()), "ignored", "is Waiting")
	if _, err := s.deps.DB.Exec(ctx, "UPDATE deployments SET state = 'building', started_at = now() WHERE id = $1", id); err != nil {
		t.Fatal(err)
	}
	expect("while it is started", event("IN_PROGRESS", id.String()), "ignored", "is not polled yet")
	if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypePollBuild, SubjectID: id, DelaySeconds: 3600}); err != nil {
		t.Fatal(err)
	}
	succeeded := event("SUCCEEDED", id.String())
	expect("its end", succeeded, "accepted", "is polled now")
	if n := s.count("SELECT count(*) FROM work WHERE kind = 'deployment:poll-build' AND due_at <= now()"); n != 1 {
		t.Error("the poll is not due")
	}
	expect("its end again", succeeded, "duplicate", "")
	expect("IN_PROGRESS after SUCCEEDED", event("IN_PROGRESS", id.String()), "accepted", "is polled now")
	if _, err := s.deps.DB.Exec(ctx, "UPDATE deployments SET state = 'superseded', finished_at = now() WHERE id = $1", id); err != nil {
		t.Fatal(err)
	}
	expect("of a superseded one", event("SUCCEEDED", id.String()), "ignored", "is Superseded")
	expect("of an unknown build", event("FAILED", uuid.NewString()), "ignored", "deployment not found")
	expect("of another's build", event("FAILED", ""), "ignored", "FAILED")
	expect("with no id", event("FAILED", "'; --"), "ignored", "not a deployment id")
}
