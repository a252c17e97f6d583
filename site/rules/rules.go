// Package rules compiles a site's rules: redirects, rewrites, headers and
// settings. It reads _redirects and _headers, as Netlify and Cloudflare define
// them, and the tables of troy.toml and netlify.toml, and reports each line that
// it ignores or that has no effect. The compiled form is stored with the tree as
// JSON; the edge loads it with New and asks it what to answer. Workers, web and
// the CLI call Compile.
package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/password"
)

// Version is the version of the compiled form. New refuses a later one.
const Version = 1

// MaxCompiled is the maximum size of the compiled form in bytes.
const MaxCompiled = 32 << 20

// Rules is the compiled form of a site's rules. It does not depend on the
// dialect in which they were written: all differences are explicit. The first
// redirect that matches counts, and every header rule that matches, in order.
type Rules struct {
	Version   int          `json:"version"`
	Redirects []Redirect   `json:"redirects,omitempty"`
	Headers   []HeaderRule `json:"headers,omitempty"`
	Site      Site         `json:"site,omitzero"`
	// Credentials are argon2id hashes (see internal/password) of pairs
	// user:password, with one salt. Encode fills them in.
	Credentials []string `json:"credentials,omitempty"`

	pairs []string // as written, in the order of Credentials
}

// Where is the condition that redirects and header rules share. All paths are
// decoded.
type Where struct {
	// Path is the one path that matches. It is empty if Pattern is set.
	Path string `json:"path,omitempty"`
	// Pattern is what the whole path must match.
	Pattern []Part `json:"pattern,omitempty"`
	// Slash means that the path may have one more slash at its end.
	Slash bool `json:"slash,omitempty"`
	// Host is the host that the request must have, in lower case without a
	// port. Empty means any host.
	Host string `json:"host,omitempty"`
}

// Part is a part of a pattern or of a target. Exactly one field is set.
type Part struct {
	// Text stands for itself.
	Text string `json:"text,omitempty"`
	// One names a placeholder: one or more characters except a slash, as many
	// as possible.
	One string `json:"one,omitempty"`
	// Any names a splat: any characters, or none, as many as possible.
	Any string `json:"any,omitempty"`
	// Rest names a splat at the end of a pattern: nothing, or a slash and then
	// any characters. The slash is not part of its value.
	Rest string `json:"rest,omitempty"`
	// Value, in a target, is replaced by what the placeholder, splat or query
	// parameter of this name matched.
	Value string `json:"value,omitempty"`
}

// Redirect answers a request with a redirect (3xx), another file (200) or a
// file with an error's status (404, 410).
type Redirect struct {
	Where
	// Query lists parameters that the request must have.
	Query []Query `json:"query,omitempty"`
	// To is the target. For 3xx it is an escaped URL or path: values are
	// escaped before they are inserted. For other statuses it is a decoded path
	// without a query.
	To []Part `json:"to"`
	// Status is 200, 301, 302, 303, 307, 308, 404 or 410.
	Status int `json:"status"`
	// Force means that the rule counts even if a file has the path.
	Force bool `json:"force,omitempty"`

	at   position
	from string // as written
	star bool   // the target has a * where :splat was probably meant
}

// Query is a query parameter with a certain value or, if As is set, with any
// value, which As names.
type Query struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
	As    string `json:"as,omitempty"`
}

// HeaderRule changes the headers of answers to a path. They are not applied to
// redirects.
type HeaderRule struct {
	Where
	// Deny means that the path must not be public: the answer has status 403.
	// It is the reason, such as "role".
	Deny string `json:"deny,omitempty"`
	// Users are the indexes of the Credentials that open the path. Nil means
	// that the rule protects nothing.
	Users []int `json:"users,omitempty"`
	// Origins are the origins that may read the answer, or "*".
	Origins []string   `json:"origins,omitempty"`
	Headers []HeaderOp `json:"headers,omitempty"`

	at      position
	from    string
	auth    position // of the first Basic-Auth; its line is 0 if there is none
	refused bool     // a header was reported, so it is not in Headers
}

// HeaderOp changes one header.
type HeaderOp struct {
	// Op is "set", "join" or "unset". join appends the value, after a comma,
	// to what an earlier rule set, and sets it otherwise. Each value of
	// Set-Cookie is a line of its own.
	Op   string `json:"op"`
	Name string `json:"name"` // in canonical form
	// Value is the value; empty for unset.
	Value []Part `json:"value,omitempty"`
}

// The operations of HeaderOp.
const (
	opSet   = "set"
	opJoin  = "join"
	opUnset = "unset"
)

// Site holds the settings of the site that are not rules.
type Site struct {
	// SPA means that navigations to missing paths get index.html.
	SPA bool `json:"spa,omitempty"`
	// NotFound is the file for missing paths, relative to the root. Empty
	// means the nearest 404.html.
	NotFound string `json:"not_found,omitempty"`
	// CleanURLs decides about a page's file name: true redirects /about.html to
	// /about, false answers about.html at /about.html alone. Nil answers at
	// both.
	CleanURLs *bool `json:"clean_urls,omitempty"`
}

// Empty reports whether the rules have no effect.
func (r Rules) Empty() bool {
	return len(r.Redirects) == 0 && len(r.Headers) == 0 && r.Site == Site{}
}

// Protects reports whether a path must not be public.
func (r Rules) Protects() bool {
	return slices.ContainsFunc(r.Headers, func(h HeaderRule) bool { return h.Deny != "" || h.Users != nil })
}

// Encode returns the compiled form, or nil if the rules have no effect. It
// hashes the passwords, which takes about 30 ms of one core for each. It returns
// an Invalid error if the form is too large.
func (r Rules) Encode() ([]byte, error) {
	if r.Empty() {
		return nil, nil
	}
	r.Version = Version
	if len(r.pairs) > 0 {
		salt := password.NewSalt()
		r.Credentials = make([]string, len(r.pairs))
		for i, pair := range r.pairs {
			r.Credentials[i] = password.Hash(pair, salt)
		}
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the site's rules: %w", err)
	}
	if len(data) > MaxCompiled {
		return nil, troy.Errorf(troy.Invalid, "the site's rules have %d bytes in their compiled form; expected at most %d", len(data), MaxCompiled)
	}
	return data, nil
}

// Decode parses the compiled form. It refuses unknown members, because they may
// protect paths.
func Decode(data []byte) (Rules, error) {
	var r Rules
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&r)
	if err == nil && decoder.More() {
		err = errors.New("there is more after the end")
	}
	if err != nil {
		return r, fmt.Errorf("decode the site's rules: %w", err)
	}
	if r.Version < 1 || r.Version > Version {
		return r, fmt.Errorf("decode the site's rules: they have version %d; expected at most %d", r.Version, Version)
	}
	return r, nil
}

func text(s string) []Part {
	if s == "" {
		return nil
	}
	return []Part{{Text: s}}
}

// static reports whether the parts are text, and returns it.
func static(parts []Part) (string, bool) {
	switch {
	case len(parts) == 0:
		return "", true
	case len(parts) == 1 && parts[0].Text != "":
		return parts[0].Text, true
	}
	return "", false
}
