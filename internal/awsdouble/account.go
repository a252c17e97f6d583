package awsdouble

import (
	"fmt"
	"net/http"
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
