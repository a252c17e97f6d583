// Package updates reads CodeBuild's updates of builds: EventBridge's events, as
// SNS posts them. web receives them.
package updates

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // signature version 1 is SHA-1, and still SNS's default
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
)

// MaxMessage is the maximum size of an SNS message in bytes. Its payload has at
// most 256 KiB; the envelope adds a little
// (docs.aws.amazon.com/general/latest/gr/sns.html).
const MaxMessage = 288 << 10

// The types of SNS messages.
const (
	Notification = "Notification"
	Subscribe    = "SubscriptionConfirmation"
	Unsubscribe  = "UnsubscribeConfirmation"
)

// Message is a message that SNS posts
// (docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html).
type Message struct {
	Type             string
	MessageID        string `json:"MessageId"`
	TopicARN         string `json:"TopicArn"`
	Subject          *string
	Message          string
	Timestamp        string
	Token            string
	SubscribeURL     string
	SignatureVersion string
	Signature        string
	SigningCertURL   string

	// Sent is the parsed Timestamp.
	Sent time.Time `json:"-"`
}

var (
	topicForm = regexp.MustCompile(`^arn:aws(-cn|-us-gov)?:sns:([a-z0-9-]{5,30}):[0-9]{12}:[A-Za-z0-9_.-]{1,256}$`)
	certPath  = regexp.MustCompile(`^/[A-Za-z0-9._-]{1,200}\.pem$`)
)

// Parse reads a message and checks its form: a known type and signature
// version, and a certificate from SNS itself in the topic's region. It fetches
// nothing and does not verify the signature.
func Parse(body []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(body, &m); err != nil {
		return m, troy.Errorf(troy.Invalid, "the body is not an SNS message: %w", err)
	}
	switch m.Type {
	case Notification, Subscribe, Unsubscribe:
	default:
		return m, troy.Errorf(troy.Invalid, "%.64q is not a type of SNS message", m.Type).At("Type")
	}
	if m.MessageID == "" || len(m.MessageID) > 100 {
		return m, troy.Errorf(troy.Invalid, "expected 1 to 100 characters").At("MessageId")
	}
	topic := topicForm.FindStringSubmatch(m.TopicARN)
	if topic == nil {
		return m, troy.Errorf(troy.Invalid, "%.300q is not the ARN of a topic", m.TopicARN).At("TopicArn")
	}
	if m.SignatureVersion != "1" && m.SignatureVersion != "2" {
		return m, troy.Errorf(troy.Invalid, "%.16q is neither 1 nor 2", m.SignatureVersion).At("SignatureVersion")
	}
	var err error
	if m.Sent, err = time.Parse(time.RFC3339, m.Timestamp); err != nil {
		return m, troy.Errorf(troy.Invalid, "%.64q is not a time (RFC 3339)", m.Timestamp).At("Timestamp")
	}
	return m, checkCertURL(m.SigningCertURL, topic[2])
}

// checkCertURL accepts https addresses of SNS in one region.
func checkCertURL(text, region string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Port() != "" ||
		u.Host != "sns."+region+".amazonaws.com" && u.Host != "sns."+region+".amazonaws.com.cn" || !certPath.MatchString(u.Path) {
		return troy.Errorf(troy.Forbidden, "%.200q is not an SNS certificate of the topic's region", text).At("SigningCertURL")
	}
	return nil
}

// toSign returns the signed text: names and values, one per line
// (docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html).
func (m Message) toSign() []byte {
	var b strings.Builder
	add := func(name, value string) { b.WriteString(name + "\n" + value + "\n") }
	add("Message", m.Message)
	add("MessageId", m.MessageID)
	if m.Type == Notification {
		if m.Subject != nil {
			add("Subject", *m.Subject)
		}
	} else {
		add("SubscribeURL", m.SubscribeURL)
	}
	add("Timestamp", m.Timestamp)
	if m.Type != Notification {
		add("Token", m.Token)
	}
	add("TopicArn", m.TopicARN)
	add("Type", m.Type)
	return []byte(b.String())
}

// Verify checks the message's signature with the certificate at its
// SigningCertURL. The certificate must be SNS's, and valid when the message was
// sent. It is trusted because of its source, as its issuer is in no root store.
// If it comes with a chain, the chain must be valid.
func (m Message) Verify(certificate []byte) error {
	wrong := func(format string, args ...any) error { return troy.Errorf(troy.Forbidden, format, args...) }
	leaf, err := snsCertificate(certificate, m.Sent)
	if err != nil {
		return wrong("the certificate of the message: %w", err)
	}
	key, ok := leaf.PublicKey.(*rsa.PublicKey)
	if !ok {
		return wrong("the certificate of the message has no RSA key")
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil {
		return wrong("the signature is not in Base64")
	}
	hash := crypto.SHA256
	sum := sha256.Sum256(m.toSign())
	digest := sum[:]
	if m.SignatureVersion == "1" {
		hash = crypto.SHA1
		sum := sha1.Sum(m.toSign()) //nolint:gosec // as above
		digest = sum[:]
	}
	if err := rsa.VerifyPKCS1v15(key, hash, digest, signature); err != nil {
		return wrong("the signature of the message is wrong")
	}
	return nil
}

// snsName is the certificate's expected host name.
const snsName = "sns.amazonaws.com"

func snsCertificate(data []byte, at time.Time) (*x509.Certificate, error) {
	var chain []*x509.Certificate
	for len(chain) < 5 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, troy.Errorf(troy.Forbidden, "it can't be parsed: %w", err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, troy.Errorf(troy.Forbidden, "it is not PEM")
	}
	leaf := chain[0]
	if err := leaf.VerifyHostname(snsName); err != nil {
		return nil, troy.Errorf(troy.Forbidden, "it is not for %s", snsName)
	}
	for i, c := range chain {
		if at.Before(c.NotBefore) || at.After(c.NotAfter) {
			return nil, troy.Errorf(troy.Forbidden, "it was not valid at %s", at.Format(time.RFC3339))
		}
		if i > 0 {
			if err := chain[i-1].CheckSignatureFrom(c); err != nil {
				return nil, troy.Errorf(troy.Forbidden, "its chain is not valid: %w", err)
			}
		}
	}
	return leaf, nil
}
