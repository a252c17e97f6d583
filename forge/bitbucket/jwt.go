package bitbucket

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/payload"
)

const (
	// maxToken is the maximum size of a token in bytes.
	maxToken = 8192
	// ConnectLeeway is the permitted difference between Atlassian's clock and
	// this machine's.
	ConnectLeeway = time.Minute
	// ConnectLife is the validity of a token from SignConnect.
	ConnectLife = 3 * time.Minute
)

// ConnectRequest is the part of a request to which a Connect token is bound. It
// excludes the body: until it expires, a token is valid for any body sent to
// the same address.
type ConnectRequest struct {
	Method string
	// Path and Query are as in the URL, escaped (url.URL.EscapedPath and
	// RawQuery).
	Path, Query string
	// Base is the path of the callee's base URL: the descriptor's baseUrl. It
	// may be empty.
	Base string
}

// Canonical returns the text to hash, by the rules of
// developer.atlassian.com/cloud/bitbucket/query-string-hash: the method, the
// path below the base and the sorted query without its "jwt". It returns an
// error for a path that is not below the base and for an unreadable query.
func (r ConnectRequest) Canonical() (string, error) {
	path, below := strings.CutPrefix(r.Path, strings.TrimSuffix(r.Base, "/"))
	if !below || path != "" && path[0] != '/' {
		return "", errors.New("the path is not below the base URL")
	}
	// An ampersand in the path must not pass for the separator of the query.
	path = strings.ReplaceAll(cmp.Or(path, "/"), "&", "%26")
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		return "", errors.New("the query cannot be read")
	}
	delete(query, "jwt")
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := slices.Sorted(slices.Values(query[name]))
		for i, v := range values {
			values[i] = escape(v)
		}
		pairs = append(pairs, escape(name)+"="+strings.Join(values, ","))
	}
	return strings.ToUpper(r.Method) + "&" + path + "&" + strings.Join(pairs, "&"), nil
}

// escape escapes everything but the unreserved characters of RFC 3986 §2.3,
// like QueryEscape except for the space.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// Hash returns the SHA-256 of Canonical in hexadecimal digits: the claim "qsh".
func (r ConnectRequest) Hash() (string, error) {
	canonical, err := r.Canonical()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:]), nil
}

// ConnectToken returns the token from a request's Authorization header, "JWT
// <token>", or from "jwt" in the query, which Bitbucket's links to an app have.
// It returns a *troy.Error of kind Unauthenticated if there is none, or more
// than one.
func ConnectToken(h http.Header, query url.Values) (string, error) {
	tokens := slices.Clone(query["jwt"])
	for _, value := range h.Values("Authorization") {
		scheme, token, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "JWT") {
			return "", troy.Errorf(troy.Unauthenticated, "the Authorization header is of another kind; expected JWT <token>")
		}
		tokens = append(tokens, strings.TrimSpace(token))
	}
	switch {
	case len(tokens) != 1 || tokens[0] == "":
		return "", troy.Errorf(troy.Unauthenticated, "got %d tokens; expected one, as Authorization: JWT <token>", len(tokens))
	case len(tokens[0]) > maxToken:
		return "", troy.Errorf(troy.Unauthenticated, "the token has %d bytes; expected at most %d", len(tokens[0]), maxToken)
	}
	return tokens[0], nil
}

type connectClaims struct {
	jwt.RegisteredClaims
	Hash string `json:"qsh,omitempty"`
}

// checkToken refuses tokens that encoding/base64 would accept: a token with
// line breaks (RFC 7515 §2 allows none) would be the same token in another
// form.
func checkToken(token string) error {
	switch {
	case len(token) > maxToken:
		return troy.Errorf(troy.Unauthenticated, "the token has %d bytes; expected at most %d", len(token), maxToken)
	case strings.ContainsAny(token, "\r\n"):
		return troy.Errorf(troy.Unauthenticated, "the token is not a JSON Web Token")
	}
	return nil
}

// ConnectIssuer returns the token's claimed issuer: the clientKey of an
// installation. It verifies nothing; the result serves to look up the secret.
// Errors are *troy.Error of kind Unauthenticated.
func ConnectIssuer(token string) (clientKey string, err error) {
	var claims connectClaims
	if err := checkToken(token); err != nil {
		return "", err
	}
	if _, _, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(token, &claims); err != nil {
		return "", troy.Errorf(troy.Unauthenticated, "the token is not a JSON Web Token")
	}
	var c payload.Checker
	if c.Line("iss", claims.Issuer, payload.MaxName); c.Err != nil {
		return "", troy.Errorf(troy.Unauthenticated, "the token's issuer is missing or invalid")
	}
	return claims.Issuer, nil
}

// VerifyConnect verifies a token that Bitbucket sent with a request: it must be
// signed by HS256 with the installation's secret, be issued by its clientKey,
// have a time of issue and an expiry, be neither issued in the future nor
// expired by more than ConnectLeeway, and contain the request's hash
// (developer.atlassian.com/cloud/bitbucket/understanding-jwt-for-apps). Errors
// are *troy.Error of kind Unauthenticated for the audit log; they contain
// nothing of the token.
func VerifyConnect(token string, r ConnectRequest, clientKey string, secret []byte, now time.Time) error {
	if clientKey == "" || len(secret) == 0 {
		return troy.Errorf(troy.Unauthenticated, "the installation has no secret to verify the token with")
	}
	if err := checkToken(token); err != nil {
		return err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithIssuer(clientKey),
		jwt.WithLeeway(ConnectLeeway), jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	var claims connectClaims
	_, err := parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return secret, nil })
	if err != nil {
		return troy.Errorf(troy.Unauthenticated, "%s", connectCause(err))
	}
	if claims.IssuedAt == nil {
		return troy.Errorf(troy.Unauthenticated, "the token does not say when it was issued")
	}
	hash, err := r.Hash()
	if err != nil {
		return troy.Errorf(troy.Unauthenticated, "the request can't be compared with the token: %s", err.Error())
	}
	if !hmac.Equal([]byte(hash), []byte(claims.Hash)) {
		return troy.Errorf(troy.Unauthenticated, "the token was made for another request: its qsh differs from this request's")
	}
	return nil
}

// connectCause describes the error without quoting the token, as the library's
// errors do.
func connectCause(err error) string {
	for _, c := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenSignatureInvalid, "the token is not signed by HS256 with the installation's secret"},
		{jwt.ErrTokenUnverifiable, "the token is not signed by HS256 with the installation's secret"},
		{jwt.ErrTokenExpired, "the token has expired"},
		{jwt.ErrTokenUsedBeforeIssued, "the token was issued in the future"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenInvalidIssuer, "the token's issuer is not the installation's clientKey"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks its expiry or its issuer"},
	} {
		if errors.Is(err, c.is) {
			return c.text
		}
	}
	return "the token is not a JSON Web Token"
}

// SignConnect makes the token that an app sends to Bitbucket with a request, as
// "Authorization: JWT <token>": issued now by the app's key for the
// installation's clientKey, valid for ConnectLife and for that request. Base is
// the path of the API's own base URL, empty for bitbucket.org.
func SignConnect(r ConnectRequest, appKey, clientKey string, secret []byte, now time.Time) (string, error) {
	if appKey == "" || clientKey == "" || len(secret) == 0 {
		return "", errors.New("sign a Connect token: the app's key, the clientKey or the secret is empty")
	}
	hash, err := r.Hash()
	if err != nil {
		return "", fmt.Errorf("sign a Connect token for %s %s: %w", r.Method, r.Path, err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, connectClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: appKey, Subject: clientKey,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ConnectLife)),
		},
		Hash: hash,
	}).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign a Connect token for %s %s: %w", r.Method, r.Path, err)
	}
	return token, nil
}
