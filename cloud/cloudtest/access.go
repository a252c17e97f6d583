package cloudtest

import (
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
)

//go:embed access_cases.json
var accessCases []byte

// AccessCase is a request to a protected site. The edge and CloudFront's
// functions answer each as Want says.
type AccessCase struct {
	Name          string   `json:"name"`
	Passwords     bool     `json:"passwords"`
	Networks      []string `json:"networks"`
	Method        string   `json:"method"`
	Target        string   `json:"target"`
	From          string   `json:"from"`
	Accept        string   `json:"accept"`
	Cookie        string   `json:"cookie"`        // the name of a session, as in cookies
	Authorization string   `json:"authorization"` // the name of what Basic sends, as in basic
	Raw           string   `json:"raw"`           // or the header itself
	// Want is admitted, password (a visitor must enter one) or network (the
	// visitor's is not listed). Function is what the functions do, if they
	// differ.
	Want     string `json:"want"`
	Function string `json:"function"`
}

// AccessCases returns the table.
func AccessCases(t *testing.T) (all []AccessCase) {
	t.Helper()
	if err := json.Unmarshal(accessCases, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

const (
	generated = "abcde-fghjk-23456-mnpqr"
	typed     = "correct horse"
)

// Visitors know the passwords of a protected site.
type Visitors struct {
	First, Second, Changed site.Password
	// Session returns the cookie's value for a password.
	Session func(host string, w site.Password, until time.Time) string
	// Lifetime is that of sessions.
	Lifetime time.Duration
}

// NewVisitors returns visitors with new passwords. The first one was
// generated, the second one was typed.
func NewVisitors(session func(string, site.Password, time.Time) string, lifetime time.Duration) *Visitors {
	salt := password.NewSalt()
	made := func(text string) site.Password {
		key := make([]byte, site.MinKey)
		rand.Read(key) // never fails (crypto/rand)
		return site.Password{ID: uuid.NewString(), Hash: password.Hash(text, salt), Key: key}
	}
	v := &Visitors{First: made(generated), Second: made(typed), Changed: made("changed since"), Session: session, Lifetime: lifetime}
	v.First.Digest = v.First.GeneratedDigest(generated)
	return v
}

// Protection returns the protection of a case.
func (v *Visitors) Protection(c AccessCase, sequence int64) site.Protection {
	p := site.Protection{Sequence: sequence}
	if c.Passwords {
		p.Passwords = []site.Password{v.First, v.Second}
	}
	for _, n := range c.Networks {
		p.Networks = append(p.Networks, netip.MustParsePrefix(n))
	}
	return p
}

// Request returns the request of a case to a host. name is the cookie's.
func (v *Visitors) Request(t *testing.T, c AccessCase, host, name string) *http.Request {
	t.Helper()
	method, target, from := c.Method, c.Target, c.From
	if method == "" {
		method = http.MethodGet
	}
	if target == "" {
		target = "/"
	}
	if from == "" {
		from = "192.0.2.1"
	}
	r := httptest.NewRequest(method, "http://"+host+target, nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 1234).String()
	if c.Accept != "" {
		r.Header.Set("Accept", c.Accept)
	}
	if c.Cookie != "" {
		value, ok := v.cookies(host)[c.Cookie]
		if !ok {
			t.Fatalf("%s: no cookie %q", c.Name, c.Cookie)
		}
		others := map[string]int{"after seven": 7, "after eight": 8}[c.Cookie]
		r.Header.Set("Cookie", strings.Repeat(name+"=x; ", others)+name+"="+value)
	}
	if c.Raw != "" {
		r.Header.Set("Authorization", strings.TrimSpace(c.Raw))
	}
	if c.Authorization != "" {
		value, ok := v.basic()[c.Authorization]
		if !ok {
			t.Fatalf("%s: no credentials %q", c.Name, c.Authorization)
		}
		r.Header.Set("Authorization", value)
	}
	return r
}

func (v *Visitors) cookies(host string) map[string]string {
	until := time.Now().Add(v.Lifetime - time.Minute)
	good := v.Session(host, v.First, until)
	parts := strings.Split(good, ".")
	second := v.Session(host, v.Second, until)
	return map[string]string{
		"session": good, "second": second, "after seven": good, "after eight": good,
		"empty": "", "dots": "..", "cut off": good[:len(good)-1], "long": strings.Repeat("x", 4000),
		"ended": v.Session(host, v.First, time.Now().Add(-time.Minute)), "late": v.Session(host, v.First, time.Now().Add(v.Lifetime+time.Hour)),
		"other host": v.Session("other."+host, v.First, until), "changed": v.Session(host, v.Changed, until),
		"other id": strings.Split(second, ".")[0] + "." + parts[1] + "." + parts[2], "unsigned": parts[0] + "." + parts[1] + ".",
		"later end": parts[0] + "." + v.later(parts[1]) + "." + parts[2],
	}
}

// later returns an expiry with a digit changed.
func (*Visitors) later(expiry string) string {
	last := len(expiry) - 1
	return expiry[:last] + string('0'+(expiry[last]-'0'+1)%10)
}

func (v *Visitors) basic() map[string]string {
	encode := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	return map[string]string{
		"generated": encode(":" + generated), "generated, with a name": encode("ci:" + generated), "generated, in capitals": "BASIC" + encode(":" + generated)[5:],
		"typed": encode(":" + typed), "wrong": encode(":" + generated + "x"), "no password": encode("ci:"),
		"digest": encode(":" + base64.RawURLEncoding.EncodeToString(v.First.Digest)),
	}
}
