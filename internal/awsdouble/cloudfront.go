package awsdouble

import (
	"bytes"
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

// Distribution is the part of a distribution that tests check.
type Distribution struct {
	ID, Reference, Host, Function, Access, Certificate string
	Enabled                                            bool
	changed                                            time.Time
	etag                                               int
	config                                             string // its configuration in XML
	aliases                                            []string
}

// Invalidation is a requested invalidation.
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
	references    map[string]bool // used so far, also by distributions that were removed
	functions     map[string]*function
	access        []accessControl
	accessMade    int
	invalidations []Invalidation
	made          int
	tenants       map[string]*Tenant
	groups        []connectionGroup
	certificates  map[string]*certificate
	requested     int // certificates so far
}

func newCloudFront(d *Double) *cloudfront {
	return &cloudfront{
		d: d, distributions: map[string]*Distribution{}, references: map[string]bool{}, functions: map[string]*function{},
		tenants: map[string]*Tenant{}, certificates: map[string]*certificate{},
	}
}

// Distributions returns the distributions, keyed by id.
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

// RemoveDistribution removes a distribution, as its owner can do outside Troy.
func (d *Double) RemoveDistribution(id string) {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	delete(d.cloudfront.distributions, id)
}

// Invalidations returns the requested invalidations in order.
func (d *Double) Invalidations() []Invalidation {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	return slices.Clone(d.cloudfront.invalidations)
}

func (c *cloudfront) action(r *http.Request, _ []byte) string {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, cloudfrontVersion), "/")
	if action := tenantAction(r, parts); action != "" {
		return action
	}
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
			c.invalidate(w, d.ID, body)
		}
	case "CreateFunction", "DescribeFunction", "PublishFunction", "UpdateFunction", "GetFunction", "DeleteFunction", "ListFunctions":
		c.serveFunction(w, r, id, body)
	case "ListOriginAccessControls", "CreateOriginAccessControl", "GetOriginAccessControl", "DeleteOriginAccessControl":
		c.serveAccess(w, r, id, body)
	default:
		if tenantAction(r, parts) != "" {
			c.serveTenants(w, r, id, body)
			return
		}
		c.fail(w, http.StatusNotFound, "NoSuchOperation", r.Method+" "+r.URL.Path)
	}
}

// configXML is the part of a DistributionConfig that the double checks.
type configXML struct {
	CallerReference, Comment string
	Enabled                  bool
	Aliases                  []string `xml:"Aliases>Items>CNAME"`
	Access                   string   `xml:"Origins>Items>Origin>OriginAccessControlId"`
	Origin                   string   `xml:"Origins>Items>Origin>DomainName"`
	Origins                  []string `xml:"Origins>Items>Origin>Id"`
	OriginPaths              []string `xml:"Origins>Items>Origin>OriginPath"` // of the origins that have one
	Behaviors                []struct {
		Pattern string `xml:"PathPattern"`
		Target  string `xml:"TargetOriginId"`
	} `xml:"CacheBehaviors>Items>CacheBehavior"`
	Target         string   `xml:"DefaultCacheBehavior>TargetOriginId"`
	Policy         string   `xml:"DefaultCacheBehavior>CachePolicyId"`
	Methods        []string `xml:"DefaultCacheBehavior>AllowedMethods>Items>Method"`
	PriceClass     string
	ConnectionMode string
	IPv6           *bool    `xml:"IsIPV6Enabled"`
	Parameters     []string `xml:"TenantConfig>ParameterDefinitions>member>Name"`
	Functions      []struct {
		ARN   string `xml:"FunctionARN"`
		Event string `xml:"EventType"`
	} `xml:"DefaultCacheBehavior>FunctionAssociations>Items>FunctionAssociation"`
	Errors []struct {
		Code     int    `xml:"ErrorCode"`
		Response int    `xml:"ResponseCode"`
		Page     string `xml:"ResponsePagePath"`
		TTL      int    `xml:"ErrorCachingMinTTL"`
	} `xml:"CustomErrorResponses>Items>CustomErrorResponse"`
	Certificate string `xml:"ViewerCertificate>ACMCertificateArn"`
	Inner       string `xml:",innerxml"`
}

// parseConfig parses the content of a configuration's element.
func parseConfig(inner string, into any) error {
	return xml.Unmarshal([]byte("<C>"+inner+"</C>"), into)
}

// allows reports whether requests with this method are served. Without a list,
// GET and HEAD are.
func (c configXML) allows(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || slices.Contains(c.Methods, method)
}

// function returns the ARN of the function for an event.
func (c configXML) function(event string) string {
	for _, f := range c.Functions {
		if f.Event == event {
			return f.ARN
		}
	}
	return ""
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
	if c.references[cfg.CallerReference] {
		// Even for the same configuration, it does not return the first one.
		c.fail(w, http.StatusConflict, "DistributionAlreadyExists", "The caller reference that you are using to create a distribution is associated with another distribution.")
		return
	}
	if code, message := c.refusal(cfg, nil); code != "" {
		status := http.StatusBadRequest
		if code == "CNAMEAlreadyExists" {
			status = http.StatusConflict
		}
		c.fail(w, status, code, message)
		return
	}
	if c.d.cfg.MaxDistributions > 0 && len(c.distributions) >= c.d.cfg.MaxDistributions {
		c.fail(w, http.StatusBadRequest, "TooManyDistributions", "You have exceeded the maximum number of distributions.")
		return
	}
	c.made++
	c.references[cfg.CallerReference] = true
	d := &Distribution{ID: fmt.Sprintf("E%013d", c.made), Reference: cfg.CallerReference}
	d.set(cfg)
	c.distributions[d.ID] = d
	answerXML(w, http.StatusCreated, d.etag, c.describe(d))
}

// set makes cfg the distribution's configuration.
func (d *Distribution) set(cfg configXML) {
	d.Enabled, d.Function, d.Access, d.Certificate = cfg.Enabled, cfg.function("viewer-request"), cfg.Access, cfg.Certificate
	d.Host, d.aliases = "", cfg.Aliases
	if len(cfg.Aliases) > 0 {
		d.Host = cfg.Aliases[0]
	}
	d.config, d.changed = cfg.Inner, time.Now()
	d.etag++
}

// perShard is the maximum number of distributions per function or origin access
// control
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
const perShard = 100

// refusal returns CloudFront's error code for a configuration, or "" if it is
// valid. before is the distribution to update, or nil for a new one.
func (c *cloudfront) refusal(cfg configXML, before *Distribution) (code, message string) {
	functions, access := map[string]int{}, 0
	for _, d := range c.distributions {
		if d == before {
			continue
		}
		var other configXML
		_ = parseConfig(d.config, &other)
		for _, f := range other.Functions {
			functions[f.ARN]++
		}
		if d.Access == cfg.Access {
			access++
		}
	}
	for _, host := range cfg.Aliases {
		if holder := c.holder(host); holder != "" && (before == nil || holder != before.ID) {
			return "CNAMEAlreadyExists", "One or more of the CNAMEs you provided are already associated with a different resource."
		}
	}
	events := map[string]bool{}
	for _, f := range cfg.Functions {
		_, name, _ := strings.Cut(f.ARN, ":function/")
		switch {
		case events[f.Event]:
			return "InvalidFunctionAssociation", "More than one function is associated with an event."
		case c.functions[name] == nil || !c.functions[name].published || f.ARN != c.functionARN(name):
			return "InvalidFunctionAssociation", "The function of the association is not there or is not published."
		case functions[f.ARN] >= perShard:
			return "TooManyDistributionsAssociatedToFunction", "Too many distributions use the function."
		}
		events[f.Event] = true
	}
	switch {
	case cfg.CallerReference == "" || len(cfg.Comment) > 128:
		return "InvalidArgument", "The caller reference is missing or the comment is too long."
	case len(cfg.Origins) == 0 || !slices.Contains(cfg.Origins, cfg.Target):
		return "NoSuchOrigin", "No origin exists with the specified Origin Id."
	case !slices.ContainsFunc(c.access, func(a accessControl) bool { return a.id == cfg.Access }):
		return "InvalidOriginAccessControl", "The origin access control is not valid."
	case access >= perShard:
		return "TooManyDistributionsAssociatedToOriginAccessControl", "Too many distributions use the origin access control."
	case cfg.Policy != "658327ea-f89d-4fab-a63d-7e88639e58f6":
		return "NoSuchCachePolicy", "The cache policy does not exist."
	case len(cfg.Methods) > 0 && !slices.Equal(cfg.Methods, []string{"GET", "HEAD"}) && !slices.Equal(cfg.Methods, []string{"GET", "HEAD", "OPTIONS"}):
		// All seven may be allowed too, but Troy never requests that.
		return "InvalidArgument", "The parameter AllowedMethods is not one of the sets that are supported."
	case cfg.ConnectionMode == "tenant-only" && (len(cfg.Aliases) > 0 || cfg.PriceClass != "" || cfg.IPv6 != nil):
		return "InvalidArgument", "A multi-tenant distribution can't have aliases, a price class or IPv6."
	case cfg.ConnectionMode != "tenant-only" && !strings.HasPrefix(cfg.PriceClass, "PriceClass_"):
		return "InvalidArgument", "The price class is not valid."
	case len(cfg.Aliases) > 0 && !strings.HasPrefix(cfg.Certificate, "arn:aws:acm:us-east-1:"):
		return "InvalidViewerCertificate", "The specified SSL certificate doesn't exist, isn't in us-east-1 region, isn't valid, or doesn't include a valid certificate chain."
	case !c.certified(cfg):
		return "InvalidViewerCertificate", "The certificate that is attached to your distribution doesn't cover the alternate domain name (CNAME)."
	}
	return "", ""
}

// certified reports whether a distribution's certificate covers its aliases.
func (c *cloudfront) certified(cfg configXML) bool {
	for _, host := range cfg.Aliases {
		own := strings.HasSuffix(cfg.Certificate, ":certificate/1")
		if own && c.d.cfg.Covers != "" && !strings.HasSuffix(host, c.d.cfg.Covers) || !own && !c.covers(cfg.Certificate, host) {
			return false
		}
	}
	return true
}

// status returns InProgress for a while after each change.
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

// pageSize is small, so that tests see several pages.
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
		_, _ = fmt.Fprintf(&items, "<DistributionSummary><Id>%s</Id><ARN>arn:aws:cloudfront::%s:distribution/%s</ARN><Status>%s</Status><DomainName>%s</DomainName>%s</DistributionSummary>",
			id, c.d.cfg.Account, id, c.status(d), d.domain(), d.config)
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
	if err := xml.Unmarshal(body, &cfg); err != nil || cfg.CallerReference != d.Reference || len(cfg.Origins) == 0 {
		c.fail(w, http.StatusBadRequest, "IllegalUpdate", "The whole configuration is wanted.")
		return
	}
	if code, message := c.refusal(cfg, d); code != "" {
		status := http.StatusBadRequest
		if code == "CNAMEAlreadyExists" {
			status = http.StatusConflict
		}
		c.fail(w, status, code, message)
		return
	}
	d.set(cfg)
	answerXML(w, http.StatusOK, d.etag, c.describe(d))
}

func (c *cloudfront) remove(w http.ResponseWriter, d *Distribution) {
	// This error persists for a short while after Deployed.
	for _, t := range c.tenants {
		if t.Distribution == d.ID {
			c.fail(w, http.StatusConflict, "ResourceInUse", "The distribution has distribution tenants.")
			return
		}
	}
	if d.Enabled || time.Since(d.changed) < c.d.cfg.Settle*3/2 {
		c.fail(w, http.StatusConflict, "DistributionNotDisabled", "The distribution you are trying to delete has not been disabled.")
		return
	}
	delete(c.distributions, d.ID)
	w.WriteHeader(http.StatusNoContent)
}

// invalidate invalidates paths of a distribution or a tenant.
func (c *cloudfront) invalidate(w http.ResponseWriter, id string, body []byte) {
	var in struct {
		CallerReference string
		Paths           []string `xml:"Paths>Items>Path"`
	}
	_ = xml.Unmarshal(body, &in)
	i := slices.IndexFunc(c.invalidations, func(other Invalidation) bool {
		return other.Distribution == id && other.Reference == in.CallerReference
	})
	if i < 0 {
		i = len(c.invalidations)
		c.invalidations = append(c.invalidations, Invalidation{ID: fmt.Sprintf("I%d", i+1), Distribution: id, Reference: in.CallerReference, Paths: in.Paths})
	}
	c.d.edge.forget(id, in.Paths)
	answerXML(w, http.StatusCreated, 0, fmt.Sprintf("<Invalidation><Id>%s</Id><Status>InProgress</Status></Invalidation>", c.invalidations[i].ID))
}
