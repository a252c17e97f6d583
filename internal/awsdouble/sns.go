package awsdouble

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Topic is an SNS topic. It signs messages with its own key and posts them to
// the confirmed endpoints, with retries after 5xx responses.
type Topic struct {
	ARN         string
	Certificate []byte // PEM

	region string
	key    *rsa.PrivateKey

	mu        sync.Mutex
	tokens    map[string]string // token → endpoint
	endpoints []string
	posts     sync.WaitGroup
	ctx       context.Context
	cancel    context.CancelFunc
}

// MakeTopic creates a topic that receives CodeBuild's events.
func (d *Double) MakeTopic(name string) *Topic {
	t, err := NewTopic("arn:aws:sns:" + d.cfg.Region + ":" + d.cfg.Account + ":" + name)
	if err != nil {
		panic(err) // no random numbers
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.topics = append(d.topics, t)
	return t
}

// NewTopic returns a topic without a Double.
func NewTopic(arn string) (*Topic, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sns.amazonaws.com"}, DNSNames: []string{"sns.amazonaws.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	t := &Topic{
		ARN: arn, Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), region: strings.Split(arn, ":")[3],
		key: key, tokens: map[string]string{},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// Message returns the body of a signed message. changes replaces members before
// signing. The token of a subscription is in Token.
func (t *Topic) Message(kind, message string, changes map[string]string) []byte {
	m := map[string]string{
		"Type": kind, "MessageId": uuid.NewString(), "TopicArn": t.ARN, "Message": message, "SignatureVersion": "2",
		"Timestamp":      time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		"SigningCertURL": "https://sns." + t.region + ".amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
	}
	if kind != "Notification" {
		m["Token"], m["SubscribeURL"] = uuid.NewString(), "https://sns."+t.region+".amazonaws.com/?Action=ConfirmSubscription"
	}
	for name, value := range changes {
		m[name] = value
	}
	var text strings.Builder
	for _, name := range []string{"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"} {
		if value, ok := m[name]; ok {
			text.WriteString(name + "\n" + value + "\n")
		}
	}
	hash, digest := crypto.SHA256, sha256.Sum256([]byte(text.String()))
	sum := digest[:]
	if m["SignatureVersion"] == "1" {
		digest := sha1.Sum([]byte(text.String()))
		hash, sum = crypto.SHA1, digest[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, t.key, hash, sum)
	if err != nil {
		panic(err) // the key is valid
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	body, _ := json.Marshal(m)
	return body
}

// Subscribe asks an endpoint to confirm, until it does.
func (t *Topic) Subscribe(endpoint string) {
	token := uuid.NewString()
	t.mu.Lock()
	t.tokens[token] = endpoint
	t.mu.Unlock()
	t.post(endpoint, t.Message("SubscriptionConfirmation", "You have chosen to subscribe to the topic.", map[string]string{"Token": token}))
}

// Confirmed returns the endpoints with a confirmed subscription.
func (t *Topic) Confirmed() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.endpoints...)
}

// publish posts an event to all confirmed endpoints.
func (t *Topic) publish(event []byte) {
	for _, endpoint := range t.Confirmed() {
		t.post(endpoint, t.Message("Notification", string(event), nil))
	}
}

// post posts a message, with a few retries.
func (t *Topic) post(endpoint string, body []byte) {
	t.posts.Go(func() {
		for try := range 5 {
			req, err := http.NewRequestWithContext(t.ctx, http.MethodPost, endpoint, bytes.NewReader(body))
			if err != nil {
				return
			}
			req.Header.Set("Content-Type", "text/plain; charset=UTF-8")
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode < 500 {
					return
				}
			}
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
			}
		}
	})
}

func (t *Topic) close() {
	t.cancel()
	t.posts.Wait()
}

// topics is SNS's API, in the query protocol.
type topics struct{ d *Double }

func (s topics) action(_ *http.Request, body []byte) string {
	in, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return in.Get("Action")
}

func (s topics) fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, escape(message))
}

func (s topics) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	in, err := url.ParseQuery(string(body))
	if err != nil {
		s.fail(w, http.StatusBadRequest, "InvalidParameter", err.Error())
		return
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, t := range s.d.topics {
		if t.ARN == in.Get("TopicArn") {
			s.topic(w, t, in)
			return
		}
	}
	s.fail(w, http.StatusNotFound, "NotFound", "Topic does not exist")
}

func (s topics) topic(w http.ResponseWriter, t *Topic, in url.Values) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch in.Get("Action") {
	case "ConfirmSubscription":
		endpoint, ok := t.tokens[in.Get("Token")]
		if !ok {
			s.fail(w, http.StatusBadRequest, "InvalidParameter", "Invalid parameter: Token")
			return
		}
		t.endpoints = append(t.endpoints, endpoint)
		answerXML(w, http.StatusOK, 0, "<ConfirmSubscriptionResponse><ConfirmSubscriptionResult><SubscriptionArn>"+t.ARN+":1</SubscriptionArn></ConfirmSubscriptionResult></ConfirmSubscriptionResponse>")
	case "ListSubscriptionsByTopic":
		var members strings.Builder
		for i, endpoint := range t.endpoints {
			fmt.Fprintf(&members, "<member><TopicArn>%[1]s</TopicArn><SubscriptionArn>%[1]s:%d</SubscriptionArn><Protocol>https</Protocol><Endpoint>%s</Endpoint></member>", t.ARN, i, escape(endpoint))
		}
		answerXML(w, http.StatusOK, 0, "<ListSubscriptionsByTopicResponse><ListSubscriptionsByTopicResult><Subscriptions>"+members.String()+"</Subscriptions></ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>")
	default:
		s.fail(w, http.StatusBadRequest, "InvalidAction", in.Get("Action"))
	}
}
