package awsdouble

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// identity is STS, in the query protocol.
type identity struct{ d *Double }

func (i identity) action(_ *http.Request, body []byte) string { return topics(i).action(nil, body) }

func (i identity) fail(w http.ResponseWriter, status int, code, message string) {
	topics(i).fail(w, status, code, message)
}

func (i identity) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if i.action(r, body) != "GetCallerIdentity" {
		i.fail(w, http.StatusBadRequest, "InvalidAction", i.action(r, body))
		return
	}
	answerXML(w, http.StatusOK, 0, fmt.Sprintf("<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::%[1]s:assumed-role/troy/work</Arn><UserId>A:work</UserId><Account>%[1]s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>", i.d.cfg.Account))
}

// certificates is ACM with one certificate.
type certificates struct{ d *Double }

func (c certificates) action(r *http.Request, _ []byte) string {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return action
}

func (c certificates) fail(w http.ResponseWriter, status int, code, message string) {
	answerJSON(w, status, map[string]string{"__type": code, "message": message})
}

func (c certificates) serve(w http.ResponseWriter, _ *http.Request, _ []byte) {
	name := c.d.cfg.Covers
	if name == "" {
		name = "." + c.d.cfg.ZoneName
	}
	answerJSON(w, http.StatusOK, map[string]any{"Certificate": map[string]any{
		"CertificateArn": "arn:aws:acm:us-east-1:" + c.d.cfg.Account + ":certificate/1", "DomainName": "*" + name,
		"SubjectAlternativeNames": []string{"*" + name}, "Status": "ISSUED", "NotAfter": time.Now().Add(200 * 24 * time.Hour).Unix(),
	}})
}

// quotas is Service Quotas with the quota of distributions.
type quotas struct{ d *Double }

func (q quotas) action(r *http.Request, body []byte) string { return certificates(q).action(r, body) }

func (q quotas) fail(w http.ResponseWriter, status int, code, message string) {
	certificates(q).fail(w, status, code, message)
}

func (q quotas) serve(w http.ResponseWriter, _ *http.Request, _ []byte) {
	quota := q.d.cfg.MaxDistributions
	if quota == 0 {
		quota = 500
	}
	answerJSON(w, http.StatusOK, map[string]any{"Quota": map[string]any{"QuotaCode": "L-24B04930", "Value": float64(quota)}})
}
