package credentials

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	// CITokenValid is how long a token that a job of CI got is good for.
	CITokenValid = 15 * time.Minute
	// MaxCIToken is the maximum length of a token of an issuer in bytes.
	MaxCIToken = 16 << 10
	// ciLeeway is how much the clocks of an issuer and of Troy may differ.
	ciLeeway = time.Minute
	// ciLongest is how far in the future a token may expire. Until then Troy
	// remembers that it was used.
	ciLongest = 7 * 24 * time.Hour
	// maxCIText is the maximum length of a part of a trust rule in characters.
	maxCIText = 255
)

// The providers of trust rules.
const (
	ciGitHub    = "github"
	ciGitLab    = "gitlab"
	ciBitbucket = "bitbucket"
)

// ciProvider is a service whose jobs get tokens. Its fields are names of claims.
type ciProvider struct {
	name, issuer      string // issuer is empty if each workspace has its own
	repository, owner string
	environment       string
	id                *regexp.Regexp // the form of its ids
	idExample         string
}

var (
	ciNumber = regexp.MustCompile(`^[0-9]{1,20}$`)
	ciUUID   = regexp.MustCompile(`^\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}$`)

	ciProviders = map[string]ciProvider{
		ciGitHub:    {"GitHub Actions", "https://token.actions.githubusercontent.com", "repository_id", "repository_owner_id", "environment", ciNumber, "a number"},
		ciGitLab:    {"GitLab CI", "https://gitlab.com", "project_id", "namespace_id", "environment", ciNumber, "a number"},
		ciBitbucket: {"Bitbucket Pipelines", "", "repositoryUuid", "workspaceUuid", "deploymentEnvironmentUuid", ciUUID, "a UUID in braces"},
	}
	// bitbucketIssuer is the form of the issuers of Bitbucket's workspaces.
	bitbucketIssuer = regexp.MustCompile(`^https://api\.bitbucket\.org/2\.0/workspaces/[A-Za-z0-9_.-]{1,100}/pipelines-config/identity/oidc$`)
	ciWorkflow      = regexp.MustCompile(`^\.github/workflows/[^/@\s]+\.ya?ml$`)
	ciFullWorkflow  = regexp.MustCompile(`^[^/@\s]+/[^/@\s]+/\.github/workflows/[^/@\s]+\.ya?ml@\S+$`)
)

// CIProviderName returns the name of a trust rule's provider for people.
func CIProviderName(provider string) string { return ciProviders[provider].name }

// ParseCIIssuers reads issuers in the form PROVIDER=URL, and returns the
// provider of each.
func ParseCIIssuers(texts []string) (map[string]string, error) {
	all := map[string]string{}
	for _, text := range texts {
		provider, issuer, _ := strings.Cut(text, "=")
		if _, known := ciProviders[provider]; !known {
			return nil, troy.Errorf(troy.Invalid, "%q does not begin with github=, gitlab= or bitbucket=", troy.Clip(text))
		}
		if err := CheckIssuer(issuer); err != nil {
			return nil, err
		}
		all[issuer] = provider
	}
	return all, nil
}

// CI verifies tokens of jobs of continuous integration.
type CI struct {
	audience string
	issuers  map[string]string // those that the operator allows, with their provider
	client   *http.Client
	now      func() time.Time

	mu   sync.Mutex
	keys map[string]*ciKeys // by issuer; admins name issuers in trust rules
}

// NewCI returns a CI for the Troy at an address, which jobs name as the audience
// of their tokens. Beside the usual issuers it accepts those of ParseCIIssuers.
func NewCI(address string, issuers map[string]string, now func() time.Time) *CI {
	return &CI{audience: strings.TrimRight(address, "/"), issuers: issuers, client: issuerClient(), now: now, keys: map[string]*ciKeys{}}
}

// accepts reports whether an issuer is one of a provider's.
func (ci *CI) accepts(provider, issuer string) bool {
	return ci.issuers[issuer] == provider || issuer != "" && ciProviders[provider].issuer == issuer ||
		provider == ciBitbucket && bitbucketIssuer.MatchString(issuer)
}

// Complete returns a new trust rule in its normal form. Its errors are Invalid
// at the field.
func (ci *CI) Complete(t queries.TrustAddParams) (queries.TrustAddParams, error) {
	p, known := ciProviders[t.Provider]
	if !known {
		return t, troy.Errorf(troy.Invalid, "it is %q; expected github, gitlab or bitbucket", troy.Clip(t.Provider)).At("provider")
	}
	if t.Issuer == "" {
		t.Issuer = p.issuer
	}
	if t.Issuer == "" {
		return t, troy.Errorf(troy.Invalid, "it is missing; expected the identity provider URL in the repository's settings at Bitbucket, under OpenID Connect").At("issuer")
	}
	if !ci.accepts(t.Provider, t.Issuer) {
		return t, troy.Errorf(troy.Invalid, "%q is not an issuer of %s; an operator allows others with TROY_CI_ISSUERS", troy.Clip(t.Issuer), p.name).At("issuer")
	}
	if t.Provider == ciBitbucket {
		t.RepositoryID, t.OwnerID, t.Environment = braced(t.RepositoryID), braced(t.OwnerID), braced(t.Environment)
		if t.Environment != "" && !p.id.MatchString(t.Environment) {
			return t, troy.Errorf(troy.Invalid, "it is %q; expected the UUID of a deployment environment", troy.Clip(t.Environment)).At("environment")
		}
	}
	for field, id := range map[string]string{"repository_id": t.RepositoryID, "owner_id": t.OwnerID} {
		if !p.id.MatchString(id) {
			return t, troy.Errorf(troy.Invalid, "it is %q; expected %s, as in the claim %s", troy.Clip(id), p.idExample, map[string]string{"repository_id": p.repository, "owner_id": p.owner}[field]).At(field)
		}
	}
	if t.Ref != "" && !strings.HasPrefix(t.Ref, "refs/") {
		t.Ref = "refs/heads/" + t.Ref
	}
	if strings.ContainsAny(t.Ref, " *?[\\^~:") {
		return t, troy.Errorf(troy.Invalid, "%q is not a branch or a ref like refs/tags/v1; patterns are not supported", troy.Clip(t.Ref)).At("ref")
	}
	if t.Workflow != "" {
		if t.Provider != ciGitHub {
			return t, troy.Errorf(troy.Invalid, "only rules for GitHub Actions have one").At("workflow")
		}
		if !strings.Contains(t.Workflow, "/") {
			t.Workflow = ".github/workflows/" + t.Workflow
		}
		if !ciWorkflow.MatchString(t.Workflow) && !ciFullWorkflow.MatchString(t.Workflow) {
			return t, troy.Errorf(troy.Invalid, "it is %q; expected a file like deploy.yml, or owner/repository/.github/workflows/deploy.yml@refs/heads/main", troy.Clip(t.Workflow)).At("workflow")
		}
	}
	for field, text := range map[string]string{"issuer": t.Issuer, "ref": t.Ref, "environment": t.Environment, "workflow": t.Workflow} {
		if text == "" {
			continue
		}
		if err := troy.CheckText(field, text, maxCIText); err != nil {
			return t, err
		}
	}
	return t, nil
}

// braced returns a UUID as Bitbucket writes it.
func braced(id string) string {
	if parsed, err := uuid.Parse(id); err == nil {
		return "{" + parsed.String() + "}"
	}
	return id
}

// Grant is what a job may have.
type Grant struct {
	Trust        queries.Trust
	Name         string // says which job it is
	PreviewsOnly bool
	Used         []byte    // identifies the token of the issuer
	Until        time.Time // when that has expired everywhere
}

// Verify checks a token of an issuer by the trust rules of a pipeline. It
// returns an Unauthenticated error if the token is not valid, Forbidden if no
// rule accepts it, and Unavailable if the issuer does not answer.
func (ci *CI) Verify(ctx context.Context, raw string, rules []queries.Trust) (Grant, error) {
	if len(raw) > MaxCIToken {
		return Grant{}, troy.Errorf(troy.TooLarge, "the token has %d bytes; expected at most %d", len(raw), MaxCIToken).At("token")
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || len(jws.Signatures) != 1 {
		return Grant{}, unauthenticated("it is not a token of an issuer; expected a JWT that is signed with RS256 or ES256").At("token")
	}
	// Only the rules' issuers are ever asked for keys.
	claims, err := claimsOf(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return Grant{}, err
	}
	issuer := claims.text("iss")
	rules = slices.DeleteFunc(slices.Clone(rules), func(t queries.Trust) bool { return t.Issuer != issuer || !ci.accepts(t.Provider, t.Issuer) })
	if len(rules) == 0 {
		return Grant{}, troy.Errorf(troy.Forbidden, "the token's iss is %q; the pipeline does not exist or has no trust rule for this issuer", troy.Clip(issuer))
	}
	key, err := ci.key(ctx, issuer, jws.Signatures[0].Header.KeyID)
	if err != nil {
		return Grant{}, err
	}
	if key.Algorithm != "" && key.Algorithm != jws.Signatures[0].Header.Algorithm {
		return Grant{}, unauthenticated("the token's alg is %q; expected %q for its key", jws.Signatures[0].Header.Algorithm, troy.Clip(key.Algorithm))
	}
	if _, err := jws.Verify(key.Key); err != nil {
		return Grant{}, unauthenticated("the token's signature is not one of %s", hostOf(issuer))
	}
	until, err := ci.standard(claims)
	if err != nil {
		return Grant{}, err
	}
	rule, err := matching(rules, claims)
	if err != nil {
		return Grant{}, err
	}
	used := claims.text("jti")
	switch {
	case used == "" && rule.Provider == ciBitbucket: // whose tokens have none
		used = string(jws.UnsafePayloadWithoutVerification())
	case used == "":
		return Grant{}, unauthenticated("the token's jti is missing")
	}
	sum := sha256.Sum256([]byte("ci\x00" + issuer + "\x00" + used))
	return Grant{Trust: rule, Name: jobName(rule.Provider, claims), PreviewsOnly: rule.PreviewsOnly || unreviewed(rule.Provider, claims), Used: sum[:], Until: until}, nil
}

// standard checks the claims that all issuers have, and returns when the token
// has expired.
func (ci *CI) standard(c ciClaims) (time.Time, error) {
	audience := c.text("aud")
	if list, ok := c["aud"].([]any); ok {
		if len(list) != 1 {
			return time.Time{}, unauthenticated("the token's aud has %d members; expected %q alone", len(list), ci.audience)
		}
		audience, _ = list[0].(string)
	}
	if audience != ci.audience {
		return time.Time{}, unauthenticated("the token's aud is %q; expected %q", troy.Clip(audience), ci.audience)
	}
	now := ci.now()
	expires, ok := c.time("exp")
	switch {
	case !ok:
		return expires, unauthenticated("the token's exp is missing")
	case !now.Before(expires.Add(ciLeeway)):
		return expires, unauthenticated("the token's exp is %s; expected a time after %s", clock(expires), clock(now))
	case expires.After(now.Add(ciLongest)):
		return expires, unauthenticated("the token's exp is %s; expected a time within %d days", clock(expires), int(ciLongest.Hours()/24))
	}
	for _, name := range []string{"nbf", "iat"} {
		at, ok := c.time(name)
		if _, there := c[name]; there && !ok || name == "iat" && !there {
			return expires, unauthenticated("the token's %s is not a time", name)
		}
		if ok && at.After(now.Add(ciLeeway)) {
			return expires, unauthenticated("the token's %s is %s; expected a time before %s", name, clock(at), clock(now))
		}
	}
	return expires.Add(ciLeeway), nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// matching returns the rule that accepts the claims, if possible one that is not
// for previews only. The error says which claim differs from the rule that
// comes closest.
func matching(rules []queries.Trust, c ciClaims) (queries.Trust, error) {
	var found *queries.Trust
	var closest error
	most := -1
	for i, rule := range rules {
		steps, err := differs(rule, c)
		switch {
		case err == nil && (found == nil || found.PreviewsOnly):
			found = &rules[i]
		case err != nil && steps > most:
			most, closest = steps, err
		}
	}
	if found == nil {
		return queries.Trust{}, closest
	}
	return *found, nil
}

// differs compares claims with a rule in order. It returns how many agree before
// the first that differs.
func differs(rule queries.Trust, c ciClaims) (steps int, err error) {
	p := ciProviders[rule.Provider]
	for _, claim := range []struct {
		name, want, got string
		always          bool
	}{
		{p.repository, rule.RepositoryID, c.text(p.repository), true},
		{p.owner, rule.OwnerID, c.text(p.owner), true},
		{refClaim(rule.Provider), rule.Ref, refOf(rule.Provider, c), false},
		{p.environment, rule.Environment, c.text(p.environment), false},
		workflowOf(rule.Workflow, c),
	} {
		switch {
		case claim.want == "" && !claim.always, claim.got == claim.want:
			steps++
		case claim.got == "":
			return steps, troy.Errorf(troy.Forbidden, "the token's %s is missing; expected %q", claim.name, claim.want)
		default:
			return steps, troy.Errorf(troy.Forbidden, "the token's %s is %q; expected %q", claim.name, troy.Clip(claim.got), claim.want)
		}
	}
	return steps, nil
}

func refClaim(provider string) string {
	return map[string]string{ciGitHub: "ref", ciGitLab: "ref_path", ciBitbucket: "branchName"}[provider]
}

// refOf returns the full name of the ref that a job runs for.
func refOf(provider string, c ciClaims) string {
	switch ref := c.text(refClaim(provider)); {
	case provider == ciBitbucket && ref != "":
		return "refs/heads/" + ref
	default:
		return ref
	}
}

// workflowOf returns the claim to compare with a rule's workflow: the job's file
// in its repository, or the whole reference of the workflow that it is in.
func workflowOf(want string, c ciClaims) (claim struct {
	name, want, got string
	always          bool
}) {
	claim.name, claim.want, claim.got = "job_workflow_ref", want, c.text("job_workflow_ref")
	if !strings.Contains(want, "@") {
		claim.name = "workflow_ref"
		file, _, _ := strings.Cut(c.text("workflow_ref"), "@")
		claim.got = strings.TrimPrefix(file, c.text("repository")+"/")
	}
	return claim
}

// unreviewed reports whether a job may run code that was not accepted yet.
func unreviewed(provider string, c ciClaims) bool {
	switch provider {
	case ciGitHub:
		event := c.text("event_name")
		// A workflow_run can work with what a pull request made.
		return event == "" || strings.HasPrefix(event, "pull_request") || event == "workflow_run"
	case ciGitLab:
		source := c.text("pipeline_source")
		return source == "" || source == "merge_request_event" || source == "external_pull_request_event"
	}
	return false
}

// jobName names a job for lists and events.
func jobName(provider string, c ciClaims) string {
	job := map[string]string{
		ciGitHub:    c.text("repository") + " run " + c.text("run_id"),
		ciGitLab:    c.text("project_path") + " job " + c.text("job_id"),
		ciBitbucket: c.text("repositoryUuid") + " step " + c.text("stepUuid"),
	}[provider]
	return clipTo(tidy(ciProviders[provider].name+", "+job), maxTokenName)
}

// ciClaims are what a token says.
type ciClaims map[string]any

func claimsOf(payload []byte) (ciClaims, error) {
	var c ciClaims
	d := json.NewDecoder(strings.NewReader(string(payload)))
	d.UseNumber()
	if err := d.Decode(&c); err != nil || c == nil {
		return nil, unauthenticated("the token's claims are not a JSON object")
	}
	return c, nil
}

// text returns a claim, or "" if it is neither a text nor a number.
func (c ciClaims) text(name string) string {
	switch v := c[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// time returns a NumericDate (RFC 7519 §2).
func (c ciClaims) time(name string) (time.Time, bool) {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	const most = 1 << 40
	if err != nil || seconds < -most || seconds > most {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return troy.Clip(address)
}
