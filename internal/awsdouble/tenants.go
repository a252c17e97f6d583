package awsdouble

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Tenant is a distribution tenant
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/distribution-config-options.html).
type Tenant struct {
	ID, Name, Distribution, Group string
	Domains                       []string
	// Certificate is the ARN of its own certificate, and Managed that of the
	// one that CloudFront requested last for it.
	Certificate, Managed string
	Parameters           map[string]string
	Enabled              bool
	changed              time.Time
	etag                 int
}

// connectionGroup is a connection group, which has the name that DNS records
// lead to.
type connectionGroup struct{ id, name, endpoint string }

// Tenants returns the distribution tenants in the order of their names.
func (d *Double) Tenants() []Tenant {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	var all []Tenant
	for _, t := range d.cloudfront.tenants {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Tenant) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// ConnectionGroups returns the number of connection groups.
func (d *Double) ConnectionGroups() int {
	d.cloudfront.mu.Lock()
	defer d.cloudfront.mu.Unlock()
	return len(d.cloudfront.groups)
}

// tenantAction returns the action of a request for a tenant, a connection group
// or a domain, or "".
func tenantAction(r *http.Request, parts []string) string {
	switch parts[0] {
	case "distribution-tenants":
		return "ListDistributionTenants"
	case "connection-group":
		if r.Method == http.MethodPost {
			return "CreateConnectionGroup"
		}
		return "GetConnectionGroup"
	case "managed-certificate":
		return "GetManagedCertificateDetails"
	case "verify-dns-configuration":
		return "VerifyDnsConfiguration"
	case "distribution-tenant":
	default:
		return ""
	}
	switch {
	case parts[len(parts)-1] == "invalidation":
		return "CreateInvalidationForDistributionTenant"
	case r.Method == http.MethodPost:
		return "CreateDistributionTenant"
	case r.Method == http.MethodPut:
		return "UpdateDistributionTenant"
	case r.Method == http.MethodDelete:
		return "DeleteDistributionTenant"
	case len(parts) == 1:
		return "GetDistributionTenantByDomain"
	}
	return "GetDistributionTenant"
}

// tenantXML is the body of the calls that create or update a tenant.
type tenantXML struct {
	Name              string
	DistributionID    string   `xml:"DistributionId"`
	ConnectionGroupID string   `xml:"ConnectionGroupId"`
	Domains           []string `xml:"Domains>member>Domain"`
	Enabled           bool
	Certificate       string                         `xml:"Customizations>Certificate>Arn"`
	TokenHost         string                         `xml:"ManagedCertificateRequest>ValidationTokenHost"`
	Parameters        []struct{ Name, Value string } `xml:"Parameters>member"`
}

func (c *cloudfront) serveTenants(w http.ResponseWriter, r *http.Request, id string, body []byte) {
	action := c.action(r, body)
	switch action {
	case "CreateConnectionGroup":
		c.createGroup(w, body)
		return
	case "GetConnectionGroup":
		for _, g := range c.groups {
			if id == g.id || id == g.name {
				answerXML(w, http.StatusOK, 1, c.describeGroup(g))
				return
			}
		}
		c.fail(w, http.StatusNotFound, "EntityNotFound", "The connection group does not exist.")
		return
	case "CreateDistributionTenant":
		c.createTenant(w, body)
		return
	case "ListDistributionTenants":
		c.listTenants(w, body)
		return
	case "VerifyDnsConfiguration":
		var in struct{ Identifier string }
		_ = xml.Unmarshal(body, &in)
		id = in.Identifier
	}
	t := c.tenant(id, r.URL.Query().Get("domain"))
	if t == nil {
		c.fail(w, http.StatusNotFound, "EntityNotFound", "The distribution tenant does not exist.")
		return
	}
	switch action {
	case "GetDistributionTenant", "GetDistributionTenantByDomain":
		answerXML(w, http.StatusOK, t.etag, c.describeTenant(t, "DistributionTenant"))
	case "UpdateDistributionTenant":
		if c.matches(w, r, t.etag) {
			c.updateTenant(w, t, body)
		}
	case "DeleteDistributionTenant":
		if c.matches(w, r, t.etag) {
			c.deleteTenant(w, t)
		}
	case "GetManagedCertificateDetails":
		made := c.certificates[t.Managed]
		if made == nil {
			c.fail(w, http.StatusNotFound, "EntityNotFound", "The tenant has no managed certificate.")
			return
		}
		answerXML(w, http.StatusOK, 0, fmt.Sprintf("<ManagedCertificateDetails><CertificateArn>%s</CertificateArn><CertificateStatus>%s</CertificateStatus><ValidationTokenHost>cloudfront</ValidationTokenHost></ManagedCertificateDetails>",
			made.arn, strings.ReplaceAll(strings.ToLower(c.certificateStatus(made)), "_", "-")))
	case "VerifyDnsConfiguration":
		c.verifyDNS(w, t)
	case "CreateInvalidationForDistributionTenant":
		c.invalidate(w, t.ID, body)
	}
}

// tenant returns the tenant with an identifier or a domain, or nil.
func (c *cloudfront) tenant(identifier, domain string) *Tenant {
	for _, t := range c.tenants {
		if identifier != "" && (t.ID == identifier || t.Name == identifier) || domain != "" && slices.Contains(t.Domains, domain) {
			return t
		}
	}
	return nil
}

func (c *cloudfront) createGroup(w http.ResponseWriter, body []byte) {
	var in struct{ Name string }
	_ = xml.Unmarshal(body, &in)
	if slices.ContainsFunc(c.groups, func(g connectionGroup) bool { return g.name == in.Name }) {
		c.fail(w, http.StatusConflict, "EntityAlreadyExists", "A connection group with this name exists.")
		return
	}
	g := connectionGroup{fmt.Sprintf("cg_%d", len(c.groups)+1), in.Name, fmt.Sprintf("dcg%d.cloudfront.net", len(c.groups)+1)}
	c.groups = append(c.groups, g)
	answerXML(w, http.StatusCreated, 1, c.describeGroup(g))
}

func (c *cloudfront) describeGroup(g connectionGroup) string {
	return fmt.Sprintf("<ConnectionGroup><Id>%s</Id><Name>%s</Name><RoutingEndpoint>%s</RoutingEndpoint><Enabled>true</Enabled><Status>Deployed</Status></ConnectionGroup>", g.id, escape(g.name), g.endpoint)
}

func (c *cloudfront) endpoint(group string) string {
	for _, g := range c.groups {
		if g.id == group {
			return g.endpoint
		}
	}
	return ""
}

// maxDomains is the number of domains of a tenant, as the API reference has it.
const maxDomains = 5

// checkTenant returns CloudFront's error code for a tenant, or "". before is the
// tenant to update, or nil.
func (c *cloudfront) checkTenant(in tenantXML, before *Tenant) (code, message string) {
	d := c.distributions[in.DistributionID]
	if d == nil || c.endpoint(in.ConnectionGroupID) == "" {
		return "EntityNotFound", "The distribution or the connection group does not exist."
	}
	var cfg configXML
	_ = parseConfig(d.config, &cfg)
	switch {
	case cfg.ConnectionMode != "tenant-only":
		return "InvalidAssociation", "The distribution is not a multi-tenant distribution."
	case len(in.Domains) == 0 || len(in.Domains) > maxDomains:
		return "InvalidArgument", "A tenant has one to five domains."
	}
	for _, p := range cfg.Parameters {
		if !slices.ContainsFunc(in.Parameters, func(given struct{ Name, Value string }) bool { return given.Name == p && given.Value != "" }) {
			return "InvalidArgument", "The parameter " + p + " is required."
		}
	}
	for _, host := range in.Domains {
		holder := c.holder(host)
		if holder != "" && (before == nil || holder != before.ID) {
			return "CNAMEAlreadyExists", "One or more of the CNAMEs you provided are already associated with a different resource."
		}
		if in.Certificate != "" && !c.covers(in.Certificate, host) {
			return "InvalidArgument", "The certificate is not issued or does not cover the domain."
		}
		// Whether it is checked again when other settings change is not
		// documented.
		if added := before == nil || !slices.Contains(before.Domains, host); added && in.Certificate == "" && !c.d.points(host, c.endpoint(in.ConnectionGroupID)) {
			return "InvalidArgument", "The provided Domain Name is not valid. Could not verify Domain Name ownership. It may not be pointing to a valid CloudFront resource."
		}
		if in.TokenHost != "" && strings.HasPrefix(host, "*.") {
			return "InvalidArgument", "Wildcard domains need a certificate."
		}
	}
	return "", ""
}

func (c *cloudfront) createTenant(w http.ResponseWriter, body []byte) {
	var in tenantXML
	if err := xml.Unmarshal(body, &in); err != nil {
		c.fail(w, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	switch code, message := c.checkTenant(in, nil); {
	case c.tenant(in.Name, "") != nil:
		c.fail(w, http.StatusConflict, "EntityAlreadyExists", "A distribution tenant with this name exists.")
	case code == "CNAMEAlreadyExists":
		c.fail(w, http.StatusConflict, code, message)
	case code != "":
		c.fail(w, http.StatusBadRequest, code, message)
	case c.d.cfg.MaxTenants > 0 && len(c.tenants) >= c.d.cfg.MaxTenants:
		c.fail(w, http.StatusBadRequest, "EntityLimitExceeded", "The account has the maximum number of distribution tenants.")
	default:
		c.made++
		t := &Tenant{ID: fmt.Sprintf("dt_%d", c.made), Name: in.Name}
		c.tenants[t.ID] = t
		c.setTenant(t, in)
		answerXML(w, http.StatusCreated, t.etag, c.describeTenant(t, "DistributionTenant"))
	}
}

// setTenant makes in the tenant's settings.
func (c *cloudfront) setTenant(t *Tenant, in tenantXML) {
	t.Distribution, t.Group, t.Domains, t.Enabled, t.Certificate = in.DistributionID, in.ConnectionGroupID, in.Domains, in.Enabled, in.Certificate
	t.Parameters = map[string]string{}
	for _, p := range in.Parameters {
		t.Parameters[p.Name] = p.Value
	}
	if in.TokenHost == "cloudfront" {
		t.Managed = c.request(in.Domains, "", nil, c.endpoint(in.ConnectionGroupID)).arn
	}
	t.changed = time.Now()
	t.etag++
}

func (c *cloudfront) updateTenant(w http.ResponseWriter, t *Tenant, body []byte) {
	var in tenantXML
	if err := xml.Unmarshal(body, &in); err != nil {
		c.fail(w, http.StatusBadRequest, "MalformedXML", err.Error())
		return
	}
	code, message := c.checkTenant(in, t)
	pending := c.certificates[t.Managed]
	switch {
	case code != "":
		c.fail(w, http.StatusBadRequest, code, message)
		return
	case in.TokenHost != "" && pending != nil && c.certificateStatus(pending) == "PENDING_VALIDATION":
		c.fail(w, http.StatusBadRequest, "InvalidArgument", "A certificate request is pending.")
		return
	}
	c.setTenant(t, in)
	answerXML(w, http.StatusOK, t.etag, c.describeTenant(t, "DistributionTenant"))
}

func (c *cloudfront) deleteTenant(w http.ResponseWriter, t *Tenant) {
	if t.Enabled || c.settling(t.changed) {
		c.fail(w, http.StatusConflict, "ResourceNotDisabled", "The distribution tenant has not been disabled.")
		return
	}
	delete(c.tenants, t.ID)
	w.WriteHeader(http.StatusNoContent)
}

func (c *cloudfront) settling(changed time.Time) bool { return time.Since(changed) < c.d.cfg.Settle }

// active reports whether CloudFront responds to requests for a tenant's domain:
// it has a certificate that covers it.
func (c *cloudfront) active(t *Tenant, host string) bool {
	return t.Certificate != "" && c.covers(t.Certificate, host)
}

func (c *cloudfront) describeTenant(t *Tenant, kind string) string {
	var inner strings.Builder
	for _, host := range t.Domains {
		status := "inactive"
		if c.active(t, host) {
			status = "active"
		}
		_, _ = fmt.Fprintf(&inner, "<member><Domain>%s</Domain><Status>%s</Status></member>", escape(host), status)
	}
	domains := inner.String()
	inner.Reset()
	for name, value := range t.Parameters {
		_, _ = fmt.Fprintf(&inner, "<member><Name>%s</Name><Value>%s</Value></member>", name, escape(value))
	}
	parameters := "<Parameters>" + inner.String() + "</Parameters>"
	if kind == "DistributionTenantSummary" {
		parameters = "<ETag>" + tagOf(t.etag) + "</ETag>" // lists don't show parameters
	}
	custom := ""
	if t.Certificate != "" {
		custom = "<Customizations><Certificate><Arn>" + t.Certificate + "</Arn></Certificate></Customizations>"
	}
	status := "Deployed"
	if c.settling(t.changed) {
		status = "InProgress"
	}
	return fmt.Sprintf("<%[1]s><Id>%[2]s</Id><Arn>arn:aws:cloudfront::%[3]s:distribution-tenant/%[2]s</Arn><Name>%[4]s</Name><DistributionId>%[5]s</DistributionId>"+
		"<ConnectionGroupId>%[6]s</ConnectionGroupId><Domains>%[7]s</Domains>%[8]s%[9]s<Enabled>%[10]t</Enabled><Status>%[11]s</Status></%[1]s>",
		kind, t.ID, c.d.cfg.Account, escape(t.Name), t.Distribution, t.Group, domains, parameters, custom, t.Enabled, status)
}

func (c *cloudfront) listTenants(w http.ResponseWriter, body []byte) {
	var in struct {
		Distribution string `xml:"AssociationFilter>DistributionId"`
		Marker       string
	}
	_ = xml.Unmarshal(body, &in)
	var found []*Tenant
	for _, t := range c.tenants {
		if (in.Distribution == "" || t.Distribution == in.Distribution) && t.Name > in.Marker {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *Tenant) int { return strings.Compare(a.Name, b.Name) })
	next := ""
	if len(found) > pageSize {
		found = found[:pageSize]
		next = "<NextMarker>" + found[pageSize-1].Name + "</NextMarker>"
	}
	var items strings.Builder
	for _, t := range found {
		items.WriteString(c.describeTenant(t, "DistributionTenantSummary"))
	}
	answerXML(w, http.StatusOK, 0, "<ListDistributionTenantsResult><DistributionTenantList>"+items.String()+"</DistributionTenantList>"+next+"</ListDistributionTenantsResult>")
}

func (c *cloudfront) verifyDNS(w http.ResponseWriter, t *Tenant) {
	var items strings.Builder
	for _, host := range t.Domains {
		status, reason := "valid-configuration", ""
		if !c.d.points(host, c.endpoint(t.Group)) {
			status, reason = "invalid-configuration", "<Reason>DNS record does not point to the correct routing endpoint</Reason>"
		}
		_, _ = fmt.Fprintf(&items, "<DnsConfiguration><Domain>%s</Domain><Status>%s</Status>%s</DnsConfiguration>", escape(host), status, reason)
	}
	answerXML(w, http.StatusOK, 0, "<VerifyDnsConfigurationResult><DnsConfigurationList>"+items.String()+"</DnsConfigurationList></VerifyDnsConfigurationResult>")
}

// holder returns the id of the distribution or the tenant that has a domain, or
// "". A domain is in one place only.
func (c *cloudfront) holder(host string) string {
	for id, d := range c.distributions {
		if slices.Contains(d.aliases, host) {
			return id
		}
	}
	if t := c.tenant("", host); t != nil {
		return t.ID
	}
	return ""
}

// points reports whether a host's DNS records lead to a name.
func (d *Double) points(host, target string) bool {
	return d.cfg.Points == nil || d.cfg.Points(host, target)
}

// wildcardOf returns the wildcard that covers a host.
func wildcardOf(host string) string {
	_, parent, _ := strings.Cut(host, ".")
	return "*." + parent
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
