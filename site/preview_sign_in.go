package site

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What the edge and Troy's web agree on about previews for people who have a
// session of the dashboard. The edge has no database, so it sends a browser to
// web, and web sends it back with a code.

const (
	// PreviewSignIn is the path of a preview that takes a code. The edge
	// answers it.
	PreviewSignIn = "/.well-known/troy/sign-in"
	// PreviewAsk is the path of web, below Troy's address, that gives codes.
	PreviewAsk = "/previews/sign-in"
	// PreviewSession is how long a visitor stays signed in to a preview.
	PreviewSession = 12 * time.Hour
	// clockSkew is how far the clocks of the edges and of web may differ.
	clockSkew = 5 * time.Minute
)

// PreviewVisit is what a code or a session of a preview is bound to besides its
// key.
type PreviewVisit struct{ Host, Distribution string }

// AskOf returns what web learns of the mark by which an edge knows a browser
// again.
func AskOf(mark string) string {
	sum := sha256.Sum256([]byte("troy preview mark\n" + mark))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AskAddress returns the address below Troy's at which a browser gets a code.
func (v PreviewVisit) AskAddress(ask, to string) string {
	return PreviewAsk + "?" + url.Values{"host": {v.Host}, "ask": {ask}, "to": {LocalAddress(to)}}.Encode()
}

// CodeAddress returns the path and the query of a preview that take a code.
func CodeAddress(code, to string) string {
	return PreviewSignIn + "?" + url.Values{"code": {code}, "to": {LocalAddress(to)}}.Encode()
}

// Code returns the code that signs the browser with this mark in. It is valid
// for TokenLifetime.
func (v PreviewVisit) Code(key []byte, ask string, now time.Time) string {
	return v.stamp(key, "preview code", now.Add(TokenLifetime), rand.Text(), ask)
}

// CheckCode reports whether a code is valid for the browser with this mark.
func (v PreviewVisit) CheckCode(key []byte, ask, code string, now time.Time) bool {
	return v.check(key, "preview code", code, now, TokenLifetime, ask)
}

// Session returns the value of a cookie for a browser that was signed in.
func (v PreviewVisit) Session(key []byte, now time.Time) string {
	return v.stamp(key, "preview session", now.Add(PreviewSession), rand.Text(), "")
}

// CheckSession reports whether the value of a cookie is valid.
func (v PreviewVisit) CheckSession(key []byte, value string, now time.Time) bool {
	return v.check(key, "preview session", value, now, PreviewSession, "")
}

// stamp returns an id, an expiry and a signature over both, the purpose, the
// visit and what it is for.
func (v PreviewVisit) stamp(key []byte, purpose string, until time.Time, id, more string) string {
	expiry := strconv.FormatInt(until.Unix(), 10)
	return id + "." + expiry + "." + base64.RawURLEncoding.EncodeToString(sign(string(key), purpose, v.Host, v.Distribution, id, expiry, more))
}

func (v PreviewVisit) check(key []byte, purpose, text string, now time.Time, lifetime time.Duration, more string) bool {
	id, rest, _ := strings.Cut(text, ".")
	expiry, _, _ := strings.Cut(rest, ".")
	unix, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil || len(text) > 200 || strings.Contains(id, "\n") {
		return false
	}
	until := time.Unix(unix, 0)
	return hmac.Equal([]byte(text), []byte(v.stamp(key, purpose, until, id, more))) && now.Before(until) && until.Before(now.Add(lifetime+clockSkew))
}
