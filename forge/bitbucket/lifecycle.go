package bitbucket

import (
	"log/slog"
	"net/url"

	"github.com/troy-iaas/troy/forge/payload"
)

// MaxConnectBody is the maximum size of a Connect app's lifecycle callback in
// bytes.
const MaxConnectBody = 64 << 10

// Secret is a text that logs, messages and JSON never show. Convert it
// explicitly: string(s).
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

// ConnectInstalled is Bitbucket's message that an app was installed
// (developer.atlassian.com/cloud/bitbucket/app-descriptor). The first one is
// unsigned, so nothing in it is trusted until the caller has checked the state,
// which an operator issued.
type ConnectInstalled struct {
	AppKey       string
	ClientKey    string
	SharedSecret Secret
	// BaseAPIURL is the sender's address of its API. It is recorded and
	// compared with the configured one, never called.
	BaseAPIURL string
	Principal  ConnectPrincipal
}

// ConnectPrincipal is the account for which an app was installed.
type ConnectPrincipal struct {
	ID   string // its UUID in lower case and braces
	Type string // "user", "team", "workspace"
	Name string // for people
}

// ConnectUninstalled is Bitbucket's message that an app was uninstalled. It is
// signed with the installation's secret.
type ConnectUninstalled struct {
	AppKey    string
	ClientKey string
}

// minSecret is the minimum length of a shared secret; Atlassian's have up to
// 128. A shorter one could be guessed from any token that it signed.
const minSecret = 16

type lifecycle struct {
	EventType    string    `json:"eventType"`
	ProductType  string    `json:"productType"`
	Key          string    `json:"key"`
	ClientKey    string    `json:"clientKey"`
	SharedSecret string    `json:"sharedSecret"`
	BaseAPIURL   string    `json:"baseApiUrl"`
	Principal    eventUser `json:"principal"`
}

// parseLifecycle reads a lifecycle callback, wrapped or not.
func parseLifecycle(body []byte, event string, c *payload.Checker) (l lifecycle, err error) {
	wrapped, body, err := unwrap(body)
	if err != nil {
		return l, err
	}
	if err := payload.Decode(body, &l); err != nil {
		return l, err
	}
	if wrapped != "" && wrapped != event {
		c.Fail("event", "the value is not %s", event)
	}
	if l.EventType != "" && l.EventType != event {
		c.Fail("eventType", "the value is not %s", event)
	}
	if l.ProductType != "" && l.ProductType != "bitbucket" {
		c.Fail("productType", "the value is not bitbucket")
	}
	c.Line("key", l.Key, payload.MaxName)
	c.Line("clientKey", l.ClientKey, payload.MaxName)
	return l, nil
}

// ParseInstalled reads the body of the lifecycle callback "installed". Errors
// are *troy.Error of kind Invalid with the invalid field.
func ParseInstalled(body []byte) (ConnectInstalled, error) {
	var c payload.Checker
	l, err := parseLifecycle(body, "installed", &c)
	if err != nil {
		return ConnectInstalled{}, err
	}
	installed := ConnectInstalled{
		AppKey:       l.Key,
		ClientKey:    l.ClientKey,
		SharedSecret: Secret(c.Line("sharedSecret", l.SharedSecret, payload.MaxName)),
		BaseAPIURL:   apiURL(&c, "baseApiUrl", l.BaseAPIURL),
		Principal: ConnectPrincipal{
			ID:   requiredUUID(&c, "principal.uuid", l.Principal.UUID),
			Type: payload.Clean(l.Principal.Type, payload.MaxName),
			Name: l.Principal.name(),
		},
	}
	if len(l.SharedSecret) < minSecret {
		c.Fail("sharedSecret", "the secret has fewer than %d characters", minSecret)
	}
	if c.Err != nil {
		return ConnectInstalled{}, c.Err
	}
	return installed, nil
}

// ParseUninstalled reads the body of the lifecycle callback "uninstalled".
// Errors are *troy.Error of kind Invalid with the invalid field.
func ParseUninstalled(body []byte) (ConnectUninstalled, error) {
	var c payload.Checker
	l, err := parseLifecycle(body, "uninstalled", &c)
	if err != nil {
		return ConnectUninstalled{}, err
	}
	if c.Err != nil {
		return ConnectUninstalled{}, c.Err
	}
	return ConnectUninstalled{AppKey: l.Key, ClientKey: l.ClientKey}, nil
}

// apiURL is a required absolute URL without parts that could hide its target.
func apiURL(c *payload.Checker, field, s string) string {
	c.Line(field, s, payload.MaxName)
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.Fail(field, "the value is not the URL of an API")
	}
	return s
}
