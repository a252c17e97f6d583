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
	// maxToken is the most bytes of a token that are looked at.
	maxToken = 8192
	// ConnectLeeway is how far Atlassian's clock and ours may be apart.
	ConnectLeeway = time.Minute
	// ConnectLife is how long a token that SignConnect makes is good for.
	ConnectLife = 3 * time.Minute
)

// ConnectRequest is the part of a request that a Connect token is bound to. The
// body is none of it: until it expires, a token is good for any body sent to
// the same address.
type ConnectRequest struct {
	Method string
	// Path and Query are as they stand in the URL, escaped
	// (url.URL.EscapedPath and RawQuery).
	Path, Query string
	// Base is the path of the URL that the callee is known by: the descriptor's
	// baseUrl. It may be empty.
	Base string
}

// Canonical is the text that the hash is made of, by the rules of
// developer.atlassian.com/cloud/bitbucket/query-string-hash: the method, the
// path below the base and the sorted query without its "jwt". It fails for a
// path that is not below the base and for a query that cannot be read.
func (r ConnectRequest) Canonical() (string, error) {
	path, below := strings.CutPrefix(r.Path, strings.TrimSuffix(r.Base, "/"))
	if !below || path != "" && path[0] != '/' {
		return "", errors.New("the path is not below the base URL")
	}
	// An ampersand in the path must not pass for the one before the query.
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

// escape leaves the unreserved characters of RFC 3986 §2.3 alone, as
// QueryEscape does but for the blank.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// Hash is the SHA-256 of Canonical in hexadecimal digits: the claim "qsh".
func (r ConnectRequest) Hash() (string, error) {
	canonical, err := r.Canonical()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:]), nil
}

// ConnectToken takes the token out of a request's Authorization header, "JWT
// <token>", or out of "jwt" in the query, as pages of Bitbucket's that link to
// an app have it. It fails with a *troy.Error of kind Unauthenticated when
// there is none, or more than one.
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
		return "", troy.Errorf(troy.Unauthenticated, "there are %d tokens; expected one, as Authorization: JWT <token>", len(tokens))
	case len(tokens[0]) > maxToken:
		return "", troy.Errorf(troy.Unauthenticated, "the token has %d bytes; at most %d are allowed", len(tokens[0]), maxToken)
	}
	return tokens[0], nil
}

type connectClaims struct {
	jwt.RegisteredClaims
	Hash string `json:"qsh,omitempty"`
}

// checkToken refuses what encoding/base64 would read past: a token with line
// breaks in it (RFC 7515 §2 allows none) is the same token in another form.
func checkToken(token string) error {
	switch {
	case len(token) > maxToken:
		return troy.Errorf(troy.Unauthenticated, "the token has %d bytes; at most %d are allowed", len(token), maxToken)
	case strings.ContainsAny(token, "\r\n"):
		return troy.Errorf(troy.Unauthenticated, "the token is not a JSON Web Token")
	}
	return nil
}

// ConnectIssuer reads whose token it claims to be: the clientKey of an
// installation. Nothing of it is verified; it serves to look the secret up.
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
		return "", troy.Errorf(troy.Unauthenticated, "the token's issuer is missing or unfit")
	}
	return claims.Issuer, nil
}

// VerifyConnect reports what is wrong with a token that Bitbucket sent with a
// request: it must be signed by HS256 with the secret that the installation
// was given, be issued by its clientKey, say when it was issued and expires,
// be neither of the future nor expired by more than ConnectLeeway, and carry
// the request's hash (developer.atlassian.com/cloud/bitbucket/understanding-jwt-for-apps).
// Errors are *troy.Error of kind Unauthenticated, in words for the audit; they
// have nothing of the token in them.
func VerifyConnect(token string, r ConnectRequest, clientKey string, secret []byte, now time.Time) error {
	if clientKey == "" || len(secret) == 0 {
		return troy.Errorf(troy.Unauthenticated, "there is no secret that the token could be held to")
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
		return troy.Errorf(troy.Unauthenticated, "the request cannot be held to the token: %s", err.Error())
	}
	if !hmac.Equal([]byte(hash), []byte(claims.Hash)) {
		return troy.Errorf(troy.Unauthenticated, "the token was made for another request: its qsh is not the one of this request")
	}
	return nil
}

// connectCause says what was wrong without quoting the token, which the
// library's own errors do.
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

// SignConnect makes the token that an app sends to Bitbucket with a request,
// as "Authorization: JWT <token>": issued now by the app's key for the
// installation's clientKey, good for ConnectLife and for that request. Base is
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
