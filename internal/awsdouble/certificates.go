package awsdouble

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// certificate is a certificate of ACM that Troy or CloudFront requested.
type certificate struct {
	arn, token string
	names      []string
	tags       map[string]string
	// endpoint is where the names must lead for CloudFront to validate them; ""
	// means that DNS validates the certificate.
	endpoint  string
	requested time.Time
	issued    bool
}

// Certificate is what tests check of a certificate of ACM.
type Certificate struct {
	ARN, Status string
	Names       []string
	Managed     bool // CloudFront requested it
}

// Certificates returns the certificates that Troy or CloudFront requested.
func (d *Double) Certificates() []Certificate {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	var all []Certificate
	for _, one := range d.cloudfront.certificates {
		all = append(all, Certificate{one.arn, d.cloudfront.certificateStatus(one), one.names, one.endpoint != ""})
	}
	slices.SortFunc(all, func(a, b Certificate) int { return strings.Compare(a.ARN, b.ARN) })
	return all
}

// request requests a certificate. A token that was used before returns the same
// one.
func (c *cloudfront) request(names []string, token string, tags map[string]string, endpoint string) *certificate {
	for _, one := range c.certificates {
		if token != "" && one.token == token && slices.Equal(one.names, names) {
			return one
		}
	}
	c.requested++
	made := &certificate{
		arn:   fmt.Sprintf("arn:aws:acm:us-east-1:%s:certificate/r%04d", c.d.cfg.Account, c.requested),
		token: token, names: names, tags: tags, endpoint: endpoint, requested: time.Now(),
	}
	c.certificates[made.arn] = made
	return made
}

// validation returns the record that validates a name, which is the same for
// all certificates of the account.
func validation(name string) (record, value string) {
	base := strings.TrimPrefix(name, "*.")
	return "_" + digest(base) + "." + base + ".", "_" + digest("value "+base) + ".acm-validations.aws."
}

// certificateStatus returns the status of a certificate, in ACM's words.
func (c *cloudfront) certificateStatus(one *certificate) string {
	if one.issued {
		return "ISSUED"
	}
	if c.settling(one.requested) {
		return "PENDING_VALIDATION"
	}
	for _, name := range one.names {
		if c.d.cfg.Forbids != nil && c.d.cfg.Forbids(name) {
			return "FAILED"
		}
		if one.endpoint != "" && !c.d.points(name, one.endpoint) || one.endpoint == "" && !c.validated(name) {
			return "PENDING_VALIDATION"
		}
	}
	one.issued = true
	return "ISSUED"
}

// validated reports whether a name's validation record is there.
func (c *cloudfront) validated(name string) bool {
	record, value := validation(name)
	if strings.TrimPrefix(name, "*.") == c.d.cfg.ZoneName {
		return true // by the record of the installation's certificate
	}
	return c.d.points(strings.TrimSuffix(record, "."), strings.TrimSuffix(value, "."))
}

// covers reports whether an issued certificate covers a host.
func (c *cloudfront) covers(arn, host string) bool {
	one := c.certificates[arn]
	return one != nil && c.certificateStatus(one) == "ISSUED" && (slices.Contains(one.names, host) || slices.Contains(one.names, wildcardOf(host)))
}

// users returns the resources that use a certificate.
func (c *cloudfront) users(arn string) []string {
	users := []string{}
	for _, t := range c.tenants {
		if t.Certificate == arn {
			users = append(users, t.ID)
		}
	}
	for _, d := range c.distributions {
		if d.Certificate == arn {
			users = append(users, d.ID)
		}
	}
	return users
}

// certificates is ACM: the installation's certificate, and those that Troy and
// CloudFront request.
type certificates struct{ d *Double }

func (c certificates) action(r *http.Request, _ []byte) string {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return action
}

func (c certificates) fail(w http.ResponseWriter, status int, code, message string) {
	answerJSON(w, status, map[string]string{"__type": code, "message": message})
}

// maxNames is the number of names of a certificate
// (docs.aws.amazon.com/acm/latest/userguide/acm-limits.html).
const maxNames = 10

func (c certificates) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		CertificateArn          string
		DomainName              string
		SubjectAlternativeNames []string
		IdempotencyToken        string
		ValidationMethod        string
		Tags                    []struct{ Key, Value string }
		NextToken               string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		c.fail(w, http.StatusBadRequest, "ValidationException", err.Error())
		return
	}
	cf := c.d.cloudfront
	cf.mu.Lock()
	defer cf.mu.Unlock()
	one := cf.certificates[in.CertificateArn]
	action := c.action(r, body)
	switch {
	case action == "DescribeCertificate" && strings.HasSuffix(in.CertificateArn, ":certificate/1"):
		c.own(w)
	case action == "ListCertificates":
		c.list(w, in.NextToken)
	case action == "RequestCertificate":
		names := append([]string{in.DomainName}, slices.DeleteFunc(in.SubjectAlternativeNames, func(n string) bool { return n == in.DomainName })...)
		if in.ValidationMethod != "DNS" || len(names) > maxNames {
			c.fail(w, http.StatusBadRequest, "LimitExceededException", "The certificate has too many names.")
			return
		}
		tags := map[string]string{}
		for _, t := range in.Tags {
			tags[t.Key] = t.Value
		}
		answerJSON(w, http.StatusOK, map[string]any{"CertificateArn": cf.request(names, in.IdempotencyToken, tags, "").arn})
	case one == nil:
		c.fail(w, http.StatusBadRequest, "ResourceNotFoundException", "The certificate does not exist.")
	case action == "DescribeCertificate":
		answerJSON(w, http.StatusOK, map[string]any{"Certificate": c.describe(one)})
	case action == "ListTagsForCertificate":
		tags := []map[string]string{}
		for key, value := range one.tags {
			tags = append(tags, map[string]string{"Key": key, "Value": value})
		}
		answerJSON(w, http.StatusOK, map[string]any{"Tags": tags})
	case action == "DeleteCertificate":
		if len(cf.users(one.arn)) > 0 {
			c.fail(w, http.StatusBadRequest, "ResourceInUseException", "The certificate is in use.")
			return
		}
		delete(cf.certificates, one.arn)
		answerJSON(w, http.StatusOK, map[string]any{})
	default:
		c.fail(w, http.StatusBadRequest, "InvalidAction", action)
	}
}

// own describes the installation's certificate.
func (c certificates) own(w http.ResponseWriter) {
	name := c.d.cfg.Covers
	if name == "" {
		name = "." + c.d.cfg.ZoneName
	}
	answerJSON(w, http.StatusOK, map[string]any{"Certificate": map[string]any{
		"CertificateArn": "arn:aws:acm:us-east-1:" + c.d.cfg.Account + ":certificate/1", "DomainName": "*" + name,
		"SubjectAlternativeNames": []string{"*" + name}, "Status": "ISSUED", "NotAfter": time.Now().Add(200 * 24 * time.Hour).Unix(),
	}})
}

func (c certificates) describe(one *certificate) map[string]any {
	cf := c.d.cloudfront
	status := cf.certificateStatus(one)
	said := map[string]any{
		"CertificateArn": one.arn, "DomainName": one.names[0], "SubjectAlternativeNames": one.names, "Status": status,
		"CreatedAt": one.requested.Unix(), "InUseBy": cf.users(one.arn), "Type": "AMAZON_ISSUED",
	}
	if one.endpoint != "" {
		said["ManagedBy"] = "CLOUDFRONT"
	}
	switch status {
	case "ISSUED":
		said["NotAfter"] = one.requested.Add(198 * 24 * time.Hour).Unix()
	case "FAILED":
		said["FailureReason"] = "CAA_ERROR"
	}
	options := []map[string]any{}
	for _, name := range one.names {
		option := map[string]any{"DomainName": name, "ValidationMethod": "HTTP"}
		if one.endpoint == "" {
			record, value := validation(name)
			option["ValidationMethod"], option["ResourceRecord"] = "DNS", map[string]string{"Name": record, "Type": "CNAME", "Value": value}
			option["ValidationStatus"] = "PENDING_VALIDATION"
			if cf.validated(name) {
				option["ValidationStatus"] = "SUCCESS"
			}
		}
		options = append(options, option)
	}
	said["DomainValidationOptions"] = options
	return said
}

// list lists the certificates in pages, without the names except the first.
func (c certificates) list(w http.ResponseWriter, after string) {
	cf := c.d.cloudfront
	var arns []string
	for arn := range cf.certificates {
		if arn > after {
			arns = append(arns, arn)
		}
	}
	slices.Sort(arns)
	out := map[string]any{}
	if len(arns) > pageSize {
		arns = arns[:pageSize]
		out["NextToken"] = arns[pageSize-1]
	}
	list := []map[string]any{}
	for _, arn := range arns {
		one := cf.certificates[arn]
		said := map[string]any{
			"CertificateArn": arn, "Type": "AMAZON_ISSUED", "DomainName": one.names[0], "Status": cf.certificateStatus(one), "InUse": len(cf.users(arn)) > 0,
			"CreatedAt": one.requested.Unix(), "SubjectAlternativeNameSummaries": one.names,
		}
		if one.endpoint != "" {
			said["ManagedBy"] = "CLOUDFRONT"
		}
		list = append(list, said)
	}
	out["CertificateSummaryList"] = list
	answerJSON(w, http.StatusOK, out)
}
