package awsdouble

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const cloudfrontVersion = "/2020-05-31/"

// Distribution is what tests look at of one.
type Distribution struct {
	ID, Reference, Host, Function, Access, Certificate string
	Enabled                                            bool
	changed                                            time.Time
	etag                                               int
	config                                             string // the XML of its configuration
}

// Invalidation is one that was asked for.
type Invalidation struct {
	ID, Distribution, Reference string
	Paths                       []string
}

// cloudfront is CloudFront, in its REST-XML protocol
// (docs.aws.amazon.com/cloudfront/latest/APIReference).
type cloudfront struct {
	d *Double

	mu            sync.Mutex
	distributions map[string]*Distribution
	functions     map[string]*function
	access        []string // names; the id of the first is A1
	invalidations []Invalidation
	made          int
}

type function struct {
	code, config string
	published    bool
	etag         int
}

func newCloudFront(d *Double) *cloudfront {
	return &cloudfront{d: d, distributions: map[string]*Distribution{}, functions: map[string]*function{}}
}

// Distributions lists those that exist, by their ids.
func (d *Double) Distributions() []Distribution {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	var all []Distribution
	for _, one := range d.cloudfront.distributions {
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b Distribution) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Invalidations lists those that were asked for, in order.
func (d *Double) Invalidations() []Invalidation {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	return slices.Clone(d.cloudfront.invalidations)
}

func (c *cloudfront) action(r *http.Request, _ []byte) string {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, cloudfrontVersion), "/")
	last := parts[len(parts)-1]
	name := map[string]string{"distribution": "Distribution", "function": "Function", "origin-access-control": "OriginAccessControl"}[parts[0]]
	switch {
	case last == "invalidation":
		return "CreateInvalidation"
	case last == "publish":
		return "PublishFunction"
	case last == "describe":
		return "DescribeFunction"
	case r.URL.Query().Has("WithTags"):
		return "CreateDistributionWithTags"
	case r.Method == http.MethodPut:
		return "Update" + name
	case r.Method == http.MethodDelete:
		return "Delete" + name
	case r.Method == http.MethodPost:
		return "Create" + name
	case len(parts) == 1:
		return "List" + name + "s"
	case last == "config":
		return "Get" + name + "Config"
	}
	return "Get" + name
}

func (c *cloudfront) fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, escape(message))
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func answerXML(w http.ResponseWriter, status int, etag int, body string) {
	w.Header().Set("Content-Type", "text/xml")
	if etag > 0 {
		w.Header().Set("Etag", tagOf(etag))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, xml.Header+body)
}

func tagOf(n int) string { return "E" + strconv.Itoa(n) }

func (c *cloudfront) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, cloudfrontVersion), "/")
	id := ""
	if len(parts) > 1 {
		id = parts[1]
	}
	switch c.action(r, body) {
	case "CreateDistributionWithTags":
		c.create(w, body)
	case "ListDistributions":
		c.list(w, r)
	case "GetDistribution":
		if d := c.find(w, id); d != nil {
			answerXML(w, http.StatusOK, d.etag, c.describe(d))
		}
	case "UpdateDistribution":
		if d := c.find(w, id); d != nil && c.matches(w, r, d.etag) {
			c.update(w, d, body)
		}
	case "DeleteDistribution":
		if d := c.find(w, id); d != nil && c.matches(w, r, d.etag) {
			c.remove(w, d)
		}
	case "CreateInvalidation":
		if d := c.find(w, id); d != nil {
			c.invalidate(w, d, body)
		}
	case "CreateFunction", "DescribeFunction", "PublishFunction":
		c.serveFunction(w, r, id, body)
	case "ListOriginAccessControls":
		var items strings.Builder
		for i, name := range c.access {
			_, _ = fmt.Fprintf(&items, "<OriginAccessControlSummary><Id>A%d</Id><Name>%s</Name></OriginAccessControlSummary>", i+1, name)
		}
		answerXML(w, http.StatusOK, 0, fmt.Sprintf("<OriginAccessControlList><IsTruncated>false</IsTruncated><Items>%s</Items></OriginAccessControlList>", items.String()))
	case "CreateOriginAccessControl":
		var in struct{ Name string }
		_ = xml.Unmarshal(body, &in)
		if slices.Contains(c.access, in.Name) {
			c.fail(w, http.StatusConflict, "OriginAccessControlAlreadyExists", in.Name)
			return
		}
		c.access = append(c.access, in.Name)
		answerXML(w, http.StatusCreated, 1, fmt.Sprintf("<OriginAccessControl><Id>A%d</Id></OriginAccessControl>", len(c.access)))
	default:
		c.fail(w, http.StatusNotFound, "NoSuchOperation", r.Method+" "+r.URL.Path)
	}
}

// configXML is what of a DistributionConfig the double looks at.
type configXML struct {
	CallerReference, Comment string
	Enabled                  bool
	Aliases                  []string `xml:"Aliases>Items>CNAME"`
	Access                   string   `xml:"Origins>Items>Origin>OriginAccessControlId"`
	Function                 string   `xml:"DefaultCacheBehavior>FunctionAssociations>Items>FunctionAssociation>FunctionARN"`
	Certificate              string   `xml:"ViewerCertificate>ACMCertificateArn"`
	Inner                    string   `xml:",innerxml"`
}

func (c *cloudfront) create(w http.ResponseWriter, body []byte) {
	var in struct {
		Config configXML `xml:"DistributionConfig"`
	}
	if err := xml.Unmarshal(body, &in); err != nil {
		c.fail(w, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	cfg := in.Config
	users := 0
	for _, d := range c.distributions {
		if d.Reference == cfg.CallerReference {
			// Also for the same configuration: it does not hand the first back.
			c.fail(w, http.StatusConflict, "DistributionAlreadyExists", "The caller reference that you are using to create a distribution is associated with another distribution.")
			return
		}
		if len(cfg.Aliases) > 0 && d.Host == cfg.Aliases[0] {
			c.fail(w, http.StatusConflict, "CNAMEAlreadyExists", "One or more of the CNAMEs you provided are already associated with a different resource.")
			return
		}
		if d.Function == cfg.Function {
			users++
		}
	}
	_, function, _ := strings.Cut(cfg.Function, ":function/")
	access, _ := strconv.Atoi(strings.TrimPrefix(cfg.Access, "A"))
	switch {
	case c.functions[function] == nil || !c.functions[function].published:
		c.fail(w, http.StatusBadRequest, "InvalidFunctionAssociation", "The function of the association is not there or is not published.")
		return
	case access < 1 || access > len(c.access):
		c.fail(w, http.StatusBadRequest, "InvalidOriginAccessControl", "The origin access control is not valid.")
		return
	case c.d.cfg.MaxDistributions > 0 && len(c.distributions) >= c.d.cfg.MaxDistributions:
		c.fail(w, http.StatusBadRequest, "TooManyDistributions", "You have exceeded the maximum number of distributions.")
		return
	case users >= 100:
		c.fail(w, http.StatusBadRequest, "TooManyDistributionsAssociatedToFunction", "Too many distributions use the function.")
		return
	case c.d.cfg.Covers != "" && len(cfg.Aliases) > 0 && !strings.HasSuffix(cfg.Aliases[0], c.d.cfg.Covers):
		c.fail(w, http.StatusBadRequest, "InvalidViewerCertificate", "The certificate that is attached to your distribution doesn't cover the alternate domain name (CNAME).")
		return
	}
	c.made++
	d := &Distribution{
		ID: fmt.Sprintf("E%013d", c.made), Reference: cfg.CallerReference, Enabled: cfg.Enabled, Function: cfg.Function, Access: cfg.Access,
		Certificate: cfg.Certificate, changed: time.Now(), etag: 1, config: cfg.Inner,
	}
	if len(cfg.Aliases) > 0 {
		d.Host = cfg.Aliases[0]
	}
	c.distributions[d.ID] = d
	answerXML(w, http.StatusCreated, d.etag, c.describe(d))
}

// status is InProgress for a while after each change.
func (c *cloudfront) status(d *Distribution) string {
	if time.Since(d.changed) < c.d.cfg.Settle {
		return "InProgress"
	}
	return "Deployed"
}

func (c *cloudfront) describe(d *Distribution) string {
	return fmt.Sprintf("<Distribution><Id>%s</Id><ARN>arn:aws:cloudfront::%s:distribution/%s</ARN><Status>%s</Status><DomainName>%s</DomainName>"+
		"<DistributionConfig>%s</DistributionConfig></Distribution>", d.ID, c.d.cfg.Account, d.ID, c.status(d), d.domain(), d.config)
}

func (d *Distribution) domain() string { return strings.ToLower(d.ID) + ".cloudfront.net" }

// pageSize is small, so that pages are met by tests.
const pageSize = 20

func (c *cloudfront) list(w http.ResponseWriter, r *http.Request) {
	var ids []string
	for id := range c.distributions {
		if id > r.URL.Query().Get("Marker") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	more := len(ids) > pageSize
	ids = ids[:min(len(ids), pageSize)]
	var items strings.Builder
	for _, id := range ids {
		d := c.distributions[id]
		var cfg configXML
		_ = xml.Unmarshal([]byte("<C>"+d.config+"</C>"), &cfg)
		_, _ = fmt.Fprintf(&items, "<DistributionSummary><Id>%s</Id><Status>%s</Status><DomainName>%s</DomainName><Comment>%s</Comment><Enabled>%t</Enabled>"+
			"<Aliases><Quantity>1</Quantity><Items><CNAME>%s</CNAME></Items></Aliases><DefaultCacheBehavior><FunctionAssociations><Quantity>1</Quantity><Items>"+
			"<FunctionAssociation><FunctionARN>%s</FunctionARN></FunctionAssociation></Items></FunctionAssociations></DefaultCacheBehavior></DistributionSummary>",
			id, c.status(d), d.domain(), escape(cfg.Comment), d.Enabled, d.Host, d.Function)
	}
	next := ""
	if more {
		next = "<NextMarker>" + ids[len(ids)-1] + "</NextMarker>"
	}
	answerXML(w, http.StatusOK, 0, fmt.Sprintf("<DistributionList><IsTruncated>%t</IsTruncated>%s<Items>%s</Items></DistributionList>", more, next, items.String()))
}

func (c *cloudfront) find(w http.ResponseWriter, id string) *Distribution {
	d := c.distributions[id]
	if d == nil {
		c.fail(w, http.StatusNotFound, "NoSuchDistribution", "The specified distribution does not exist.")
	}
	return d
}

func (c *cloudfront) matches(w http.ResponseWriter, r *http.Request, etag int) bool {
	switch r.Header.Get("If-Match") {
	case "":
		c.fail(w, http.StatusBadRequest, "InvalidIfMatchVersion", "The If-Match version is missing or not valid for the resource.")
	case tagOf(etag):
		return true
	default:
		c.fail(w, http.StatusPreconditionFailed, "PreconditionFailed", "The request failed because it didn't meet the preconditions in one or more request-header fields.")
	}
	return false
}

func (c *cloudfront) update(w http.ResponseWriter, d *Distribution, body []byte) {
	var cfg configXML
	if err := xml.Unmarshal(body, &cfg); err != nil || cfg.CallerReference != d.Reference || cfg.Function == "" {
		c.fail(w, http.StatusBadRequest, "IllegalUpdate", "The whole configuration is wanted.")
		return
	}
	d.config, d.Enabled, d.changed = cfg.Inner, cfg.Enabled, time.Now()
	d.etag++
	answerXML(w, http.StatusOK, d.etag, c.describe(d))
}

func (c *cloudfront) remove(w http.ResponseWriter, d *Distribution) {
	// It also comes for a short while after Deployed.
	if d.Enabled || time.Since(d.changed) < c.d.cfg.Settle*3/2 {
		c.fail(w, http.StatusConflict, "DistributionNotDisabled", "The distribution you are trying to delete has not been disabled.")
		return
	}
	delete(c.distributions, d.ID)
	w.WriteHeader(http.StatusNoContent)
}

func (c *cloudfront) invalidate(w http.ResponseWriter, d *Distribution, body []byte) {
	var in struct {
		CallerReference string
		Paths           []string `xml:"Paths>Items>Path"`
	}
	_ = xml.Unmarshal(body, &in)
	i := slices.IndexFunc(c.invalidations, func(other Invalidation) bool {
		return other.Distribution == d.ID && other.Reference == in.CallerReference
	})
	if i < 0 {
		i = len(c.invalidations)
		c.invalidations = append(c.invalidations, Invalidation{ID: fmt.Sprintf("I%d", i+1), Distribution: d.ID, Reference: in.CallerReference, Paths: in.Paths})
	}
	answerXML(w, http.StatusCreated, 0, fmt.Sprintf("<Invalidation><Id>%s</Id><Status>InProgress</Status></Invalidation>", c.invalidations[i].ID))
}

func (c *cloudfront) serveFunction(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	if name == "" {
		var in struct {
			Name         string
			FunctionCode string
			Config       struct {
				Inner string `xml:",innerxml"`
			} `xml:"FunctionConfig"`
		}
		_ = xml.Unmarshal(body, &in)
		code, err := base64.StdEncoding.DecodeString(in.FunctionCode)
		switch {
		case c.functions[in.Name] != nil:
			c.fail(w, http.StatusConflict, "FunctionAlreadyExists", in.Name)
			return
		case err != nil || len(code) > 10<<10:
			c.fail(w, http.StatusRequestEntityTooLarge, "FunctionSizeLimitExceeded", "The function is too large.")
			return
		}
		c.functions[in.Name] = &function{code: string(code), config: in.Config.Inner, etag: 1}
		answerXML(w, http.StatusCreated, 1, c.describeFunction(in.Name))
		return
	}
	f := c.functions[name]
	stage := r.URL.Query().Get("Stage")
	if f == nil || stage == "LIVE" && !f.published {
		c.fail(w, http.StatusNotFound, "NoSuchFunctionExists", "The specified function does not exist.")
		return
	}
	if r.Method == http.MethodPost {
		if !c.matches(w, r, f.etag) {
			return
		}
		f.published = true
	}
	answerXML(w, http.StatusOK, f.etag, c.describeFunction(name))
}

func (c *cloudfront) describeFunction(name string) string {
	return fmt.Sprintf("<FunctionSummary><Name>%s</Name><FunctionConfig>%s</FunctionConfig><FunctionMetadata><FunctionARN>arn:aws:cloudfront::%s:function/%s</FunctionARN></FunctionMetadata></FunctionSummary>",
		name, c.functions[name].config, c.d.cfg.Account, name)
}
