package site

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What CloudFront's viewer-request function and Troy's web agree on about
// protected sites. The function can't compute argon2id and can't read a form,
// so web checks the password and sends the visitor back with a token.

const (
	// FunctionSignIn is the path of a protected site that takes a token. The
	// function answers it.
	FunctionSignIn = "/.troy/access"
	// TokenLifetime is how long a token is valid.
	TokenLifetime = time.Minute
	// MinGenerated is the minimum length of a generated password in characters.
	MinGenerated = 20
)

// FunctionID is the password's id as the function knows it.
func (p Password) FunctionID() string {
	sum := sha256.Sum256([]byte("troy password\n" + p.ID))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// FunctionKey is the key with which the function checks tokens and sessions. It
// does not reveal Key.
func (p Password) FunctionKey() string {
	return base64.RawURLEncoding.EncodeToString(sign(string(p.Key), "function key")[:18])
}

// GeneratedDigest returns the digest of a generated password, by which the
// function recognises it. It takes no time to compute, so it is only for
// passwords that can't be guessed.
func (p Password) GeneratedDigest(text string) []byte {
	return sign(p.FunctionKey(), "basic", text)
}

// Token returns the token that signs a visitor in to a host. ask identifies the
// browser: the function gave it with the redirect to web.
func (p Password) Token(host, ask string, now time.Time) string {
	id, expiry := p.FunctionID(), strconv.FormatInt(now.Add(TokenLifetime).Unix(), 10)
	return id + "." + expiry + "." + base64.RawURLEncoding.EncodeToString(sign(p.FunctionKey(), "token", host, id, expiry, ask))
}

// sign returns the HMAC of parts, which contain no line end, except for the last
// one.
func sign(key string, parts ...string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(strings.Join(parts, "\n")))
	return mac.Sum(nil)
}

var (
	askForm   = regexp.MustCompile(`^[\w-]{43}$`)
	localForm = regexp.MustCompile(`^/(?:[!-.0-\[\]-~][!-~]*)?$`)
)

// ValidAsk reports whether text can identify a browser that was sent to sign
// in.
func ValidAsk(text string) bool { return askForm.MatchString(text) }

// LocalAddress returns an address within a site: a path with an optional query.
// For anything else, such as an address that browsers take for another host, it
// returns "/".
func LocalAddress(text string) string {
	if len(text) > MaxLocalAddress || !localForm.MatchString(text) {
		return "/"
	}
	return text
}

// MaxLocalAddress is the maximum length of an address to which a visitor
// returns after signing in, in bytes.
const MaxLocalAddress = 2000

// SignedInAddress returns the address at which the function takes a token.
func SignedInAddress(origin, token, to string) string {
	return origin + FunctionSignIn + "?" + url.Values{"token": {token}, "to": {LocalAddress(to)}}.Encode()
}
