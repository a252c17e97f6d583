// Package notify tells people and programs about events of pipelines: with
// webhooks that follow Standard Webhooks, in the channels of Slack, Discord and
// Teams, and by e-mail. Web checks targets with it, workers send with it.
package notify

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/network"
)

// Kind says what a notifier's target is.
type Kind string

// The kinds.
const (
	Webhook Kind = "webhook"
	Slack   Kind = "slack" // or what takes Slack's messages, such as Mattermost
	Discord Kind = "discord"
	Teams   Kind = "teams"
	Email   Kind = "email"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Webhook, Slack, Discord, Teams, Email} }

// Test is the event of a test message; no notifier chooses it.
const Test = "test"

// Events returns the events that notifiers choose from.
func Events() []string {
	return []string{
		"deployment.failed", "deployment.recovered", "deployment.live", "preview.waiting", "domain.failing", "quota.near", "notifier.disabled",
	}
}

// DefaultEvents returns the events of a notifier that chose none: those that
// ask for a person.
func DefaultEvents() []string {
	return slices.DeleteFunc(Events(), func(e string) bool { return e == "deployment.live" })
}

// CheckEvents returns the events in the order of Events, each once, and an
// Invalid error if one is unknown.
func CheckEvents(events []string) ([]string, error) {
	if len(events) == 0 {
		return DefaultEvents(), nil
	}
	for _, e := range events {
		if !slices.Contains(Events(), e) {
			return nil, troy.Errorf(troy.Invalid, "%q is not an event; expected some of %s", troy.Clip(e), strings.Join(Events(), ", ")).At("events")
		}
	}
	return slices.DeleteFunc(Events(), func(e string) bool { return !slices.Contains(events, e) }), nil
}

// Target is where a notifier's messages go. It is stored sealed: the address of
// a channel lets everyone who knows it write there.
type Target struct {
	URL string   `json:"url,omitempty"`
	Key string   `json:"key,omitempty"` // signs webhooks: "whsec_…"
	To  []string `json:"to,omitempty"`  // addresses of e-mail
	// Earlier are the keys that were replaced, newest first. They are sealed apart,
	// so that they can be deleted when they have ended.
	Earlier []EarlierKey `json:"-"`
}

// EarlierKey is a key that was replaced. It signs too until it ends, so that a
// receiver has time to learn the new one.
type EarlierKey struct {
	Key   string    `json:"key"`
	Until time.Time `json:"until"`
}

// KeyOverlap is how long a key signs after it was replaced.
const KeyOverlap = 24 * time.Hour

// Limits of targets.
const (
	maxURL        = 2000
	maxRecipients = 10
	maxEarlier    = 4 // keys that sign besides the newest one
)

// NewTarget checks a target and returns it with what of it may be shown. A
// webhook gets a new signing key. Errors are Invalid.
func NewTarget(kind Kind, address string, to []string, private []netip.Prefix) (t Target, label string, err error) {
	switch {
	case !slices.Contains(Kinds(), kind):
		return t, "", troy.Errorf(troy.Invalid, "%q is not a kind; expected webhook, slack, discord, teams or email", troy.Clip(string(kind))).At("kind")
	case kind == Email && address != "":
		return t, "", troy.Errorf(troy.Invalid, "e-mail has no url; expected the recipients' addresses in to").At("url")
	case kind == Email:
		return newEmail(to)
	case len(to) > 0:
		return t, "", troy.Errorf(troy.Invalid, "only e-mail has recipients; expected an address in url").At("to")
	}
	u, err := checkURL(address, private)
	if err != nil {
		return t, "", err
	}
	t.URL = address
	if kind == Webhook {
		t.Key = newKey()
	}
	return t, u.Host + ending(u), nil
}

// ending returns the end of an address, which distinguishes it from others of its
// host. The address may be a secret, so it is at most a quarter of the last part,
// and four characters.
func ending(u *url.URL) string {
	last := strings.FieldsFunc(u.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) })
	if len(last) == 0 {
		return ""
	}
	part := []rune(last[len(last)-1])
	n := min(4, len(part)/4)
	if n == 0 {
		return ""
	}
	return "/…" + string(part[len(part)-n:])
}

func newKey() string {
	key := make([]byte, 24)
	rand.Read(key) // never fails (crypto/rand)
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// Rotate returns the target with a new key and with those before it that have
// not ended. It returns Conflict if the target is not a webhook, or if as many
// keys sign already as may.
func (t Target) Rotate(now time.Time) (Target, error) {
	if t.Key == "" {
		return t, troy.Errorf(troy.Conflict, "only a webhook has a signing key")
	}
	earlier := t.earlier(now)
	if len(earlier) >= maxEarlier {
		return t, troy.Errorf(troy.Conflict, "%d keys sign already; rotate again after %s, when the oldest one ends",
			len(earlier)+1, earlier[len(earlier)-1].Until.UTC().Format(time.RFC3339))
	}
	t.Earlier = append([]EarlierKey{{t.Key, now.Add(KeyOverlap).UTC()}}, earlier...)
	t.Key = newKey()
	return t, nil
}

// earlier returns the earlier keys that have not ended.
func (t Target) earlier(now time.Time) []EarlierKey {
	return slices.DeleteFunc(slices.Clone(t.Earlier), func(e EarlierKey) bool { return !e.Until.After(now) })
}

func checkURL(address string, private []netip.Prefix) (*url.URL, error) {
	wrong := func(format string, args ...any) (*url.URL, error) {
		return nil, troy.Errorf(troy.Invalid, format, args...).At("url")
	}
	u, err := url.Parse(address)
	switch {
	case len(address) > maxURL:
		return wrong("it has %d characters; expected at most %d", len(address), maxURL)
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return wrong("it can't be read; expected an address like https://example.com/hooks/troy")
	case u.User != nil || u.Fragment != "":
		return wrong("expected an address without a user name and without a fragment (#)")
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	literal := err == nil
	if literal && !allowed(ip, private) {
		return wrong("%s is not a public address; the operator can allow it with TROY_NOTIFY_PRIVATE", u.Hostname())
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !literal || network.Public(ip)) {
		return wrong("expected https; http is for private IP addresses that TROY_NOTIFY_PRIVATE allows")
	}
	return u, nil
}

// allowed reports whether messages may be sent to an address.
func allowed(ip netip.Addr, private []netip.Prefix) bool {
	ip = ip.Unmap()
	return network.Public(ip) || slices.ContainsFunc(private, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func newEmail(to []string) (Target, string, error) {
	if len(to) == 0 || len(to) > maxRecipients {
		return Target{}, "", troy.Errorf(troy.Invalid, "it has %d addresses; expected 1 to %d", len(to), maxRecipients).At("to")
	}
	var t Target
	for _, text := range to {
		a, err := mail.ParseAddress(text)
		if err != nil || len(text) > 254 || a.Name != "" {
			return t, "", troy.Errorf(troy.Invalid, "%q is not an e-mail address; expected one like ops@example.com", troy.Clip(text)).At("to")
		}
		t.To = append(t.To, a.Address)
	}
	return t, strings.Join(t.To, ", "), nil
}

// Message is one notification.
type Message struct {
	ID      uuid.UUID
	Event   string
	Time    time.Time
	Details json.RawMessage // an object, with what Details reads
	// URL is Troy's own address.
	URL string
}

// Details is what happened. What the event does not concern is nil.
type Details struct {
	Pipeline *struct {
		Slug string `json:"slug"`
		Name string `json:"name"`
	} `json:"pipeline"`
	Deployment *struct {
		Number  int64  `json:"number"`
		Commit  string `json:"commit"`
		Branch  string `json:"branch"`
		Author  string `json:"author"`
		Message string `json:"message"`
		Cause   string `json:"cause"`
	} `json:"deployment"`
	Preview *struct {
		Label  string `json:"label"`
		Number int64  `json:"number"`
		Title  string `json:"title"`
		Author string `json:"author"`
		Commit string `json:"commit"`
	} `json:"preview"`
	Domain *struct {
		Host   string `json:"host"`
		Reason string `json:"reason"`
	} `json:"domain"`
	Storage  *Storage `json:"storage"`
	Notifier *struct {
		Kind   string `json:"kind"`
		Label  string `json:"label"`
		Reason string `json:"reason"`
	} `json:"notifier"`
}

// Storage is what a pipeline stores, and what it may; 0 means no limit.
type Storage struct {
	Bytes      int64 `json:"bytes"`
	Files      int64 `json:"files"`
	QuotaBytes int64 `json:"quota_bytes"`
	QuotaFiles int64 `json:"quota_files"`
}

// Percent returns how much of its quota the pipeline uses.
func (s Storage) Percent() int64 {
	var most int64
	for _, of := range [][2]int64{{s.Bytes, s.QuotaBytes}, {s.Files, s.QuotaFiles}} {
		if of[1] > 0 {
			most = max(most, int64(100*(float64(of[0])/float64(of[1]))))
		}
	}
	return most
}

// page returns the address of the page about an event.
func (m Message) page(d Details) string {
	if d.Pipeline == nil {
		return m.URL
	}
	at := m.URL + "/pipelines/" + url.PathEscape(d.Pipeline.Slug)
	switch {
	case d.Deployment != nil:
		return fmt.Sprintf("%s/deployments/%d", at, d.Deployment.Number)
	case d.Preview != nil:
		return at + "/previews"
	case d.Domain != nil:
		return at + "/domains"
	}
	return at
}
