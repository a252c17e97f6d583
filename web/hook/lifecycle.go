package hook

import (
	"log/slog"
	"net/url"
)

// MaxConnectBody is the most bytes that a Connect app's lifecycle callback may
// have.
const MaxConnectBody = 64 << 10

// Secret is a text that neither a log nor a message nor JSON shows. What needs
// it says so: string(s).
type Secret string

const redacted = "[secret]"

// String hides the secret from %s and %v.
func (Secret) String() string { return redacted }

// GoString hides it from %#v.
func (Secret) GoString() string { return redacted }

// LogValue hides it from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides it from JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ConnectInstalled is what Bitbucket tells an app that was installed
// (developer.atlassian.com/cloud/bitbucket/app-descriptor). The first one is
// unsigned, so all of it is a stranger's word until the caller has held it to
// a state that an operator issued.
type ConnectInstalled struct {
	AppKey       string
	ClientKey    string
	SharedSecret Secret
	// BaseAPIURL is what the sender calls its API. It is recorded and compared
	// with the configured one, never called.
	BaseAPIURL string
	Principal  ConnectPrincipal
}

// ConnectPrincipal is the account that an app was installed for.
type ConnectPrincipal struct {
	ID   string // its UUID in lower case and braces
	Type string // "user", "team", "workspace"
	Name string // for people
}

// ConnectUninstalled is what Bitbucket tells an app that was uninstalled. It
// is signed with the installation's secret.
type ConnectUninstalled struct {
	AppKey    string
	ClientKey string
}

// minSecret is the least characters of a shared secret; Atlassian's have up to
// 128. A short one could be guessed from any token that it signed.
const minSecret = 16

type lifecycle struct {
	EventType    string        `json:"eventType"`
	ProductType  string        `json:"productType"`
	Key          string        `json:"key"`
	ClientKey    string        `json:"clientKey"`
	SharedSecret string        `json:"sharedSecret"`
	BaseAPIURL   string        `json:"baseApiUrl"`
	Principal    bitbucketUser `json:"principal"`
}

// parseLifecycle reads a lifecycle callback, wrapped or not.
func parseLifecycle(body []byte, event string, c *checker) (l lifecycle, err error) {
	wrapped, body, err := unwrap(body)
	if err != nil {
		return l, err
	}
	if err := decode(body, &l); err != nil {
		return l, err
	}
	if wrapped != "" && wrapped != event {
		c.fail("event", "it is not %s", event)
	}
	if l.EventType != "" && l.EventType != event {
		c.fail("eventType", "it is not %s", event)
	}
	if l.ProductType != "" && l.ProductType != "bitbucket" {
		c.fail("productType", "it is not bitbucket")
	}
	c.line("key", l.Key, maxName)
	c.line("clientKey", l.ClientKey, maxName)
	return l, nil
}

// ParseInstalled reads the body of the lifecycle callback "installed". Errors
// are *troy.Error of kind Invalid with the field at fault.
func ParseInstalled(body []byte) (ConnectInstalled, error) {
	var c checker
	l, err := parseLifecycle(body, "installed", &c)
	if err != nil {
		return ConnectInstalled{}, err
	}
	installed := ConnectInstalled{
		AppKey:       l.Key,
		ClientKey:    l.ClientKey,
		SharedSecret: Secret(c.line("sharedSecret", l.SharedSecret, maxName)),
		BaseAPIURL:   c.apiURL("baseApiUrl", l.BaseAPIURL),
		Principal: ConnectPrincipal{
			ID:   c.uuid("principal.uuid", l.Principal.UUID),
			Type: clean(l.Principal.Type, maxName),
			Name: l.Principal.name(),
		},
	}
	if len(l.SharedSecret) < minSecret {
		c.fail("sharedSecret", "it has fewer than %d characters", minSecret)
	}
	if c.err != nil {
		return ConnectInstalled{}, c.err
	}
	return installed, nil
}

// ParseUninstalled reads the body of the lifecycle callback "uninstalled".
// Errors are *troy.Error of kind Invalid with the field at fault.
func ParseUninstalled(body []byte) (ConnectUninstalled, error) {
	var c checker
	l, err := parseLifecycle(body, "uninstalled", &c)
	if err != nil {
		return ConnectUninstalled{}, err
	}
	if c.err != nil {
		return ConnectUninstalled{}, c.err
	}
	return ConnectUninstalled{AppKey: l.Key, ClientKey: l.ClientKey}, nil
}

// apiURL is a required absolute URL without anything that could hide where it
// leads.
func (c *checker) apiURL(field, s string) string {
	c.line(field, s, maxName)
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.fail(field, "it is not the URL of an API")
	}
	return s
}
