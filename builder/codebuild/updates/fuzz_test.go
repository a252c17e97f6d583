package updates_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/troy-iaas/troy/builder/codebuild/updates"
)

// Whatever a message contains, the certificate is fetched only from SNS.
func FuzzParse(f *testing.F) {
	for _, at := range []string{
		"https://sns.us-west-2.amazonaws.com/x.pem", "https://sns.us-west-2.amazonaws.com.evil/x.pem", "https://sns.us-west-2.amazonaws.com@evil/x.pem",
		"http://sns.us-west-2.amazonaws.com/x.pem", "//sns.us-west-2.amazonaws.com/x.pem", "https://sns.us-west-2.amazonaws.com/%2e%2e/x.pem", "https://SNS.us-west-2.amazonaws.com/x.pem",
	} {
		f.Add("arn:aws:sns:us-west-2:123456789012:builds", at, "2")
	}
	f.Add("arn:aws-cn:sns:cn-north-1:123456789012:builds", "https://sns.cn-north-1.amazonaws.com.cn/x.pem", "1")
	f.Fuzz(func(t *testing.T, topic, at, version string) {
		body, err := json.Marshal(map[string]string{
			"Type": "Notification", "MessageId": "1", "TopicArn": topic, "Timestamp": "2026-03-06T19:53:21.424Z", "SignatureVersion": version, "SigningCertURL": at, "Message": topic,
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := updates.Parse(body)
		if err != nil {
			return
		}
		u, err := url.Parse(m.SigningCertURL)
		if err != nil || u.Scheme != "https" || u.User != nil || !strings.HasPrefix(u.Host, "sns.") ||
			!strings.HasSuffix(u.Host, ".amazonaws.com") && !strings.HasSuffix(u.Host, ".amazonaws.com.cn") || strings.Count(u.Host, ".") > 4 {
			t.Errorf("the certificate would be fetched from %q", m.SigningCertURL)
		}
		if m.Verify([]byte(at)) == nil {
			t.Error("it is verified without a certificate")
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add(`{"source":"aws.codebuild","detail-type":"CodeBuild Build State Change","detail":{"build-id":"arn:aws:codebuild:us-west-2:1:build/p:1","build-status":"FAILED","additional-information":{"environment":{"environment-variables":[{"name":"TROY_DEPLOYMENT","value":"x\n"}]}}}}`)
	f.Add(`{"source":"aws.codebuild","detail":{"completed-phase":"BUILD","completed-phase-status":"\u0000\ud800"}}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, message string) {
		e := updates.ParseEvent(message)
		if !utf8.ValidString(e.Words+e.Deployment) || strings.ContainsFunc(e.Words+e.Deployment, unicode.IsControl) || len(e.Words) > 3000 || len(e.Deployment) > 300 {
			t.Errorf("%q is shown as %+q", message, e)
		}
	})
}
