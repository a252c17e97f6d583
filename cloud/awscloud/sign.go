package awscloud

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// upload is a file to sign the upload of.
type upload struct {
	site.File
	key      string
	metadata map[string]string
}

// signPuts signs PUTs of site's files. The SDK signs the first. The others are
// signed like it, without the SDK's steps for each request, which take several
// times as long as the signature.
func (b bucket) signPuts(ctx context.Context, uploads []upload, valid time.Duration) ([]cloud.SignedPut, error) {
	signed := make([]cloud.SignedPut, len(uploads))
	var like *signing
	for i, u := range uploads {
		var err error
		if u.Size > maxObject {
			return nil, troy.Errorf(troy.Invalid, "%s has %d bytes; S3 accepts at most %d for one file", u.Path, u.Size, int64(maxObject))
		}
		if like != nil {
			signed[i], err = like.sign(ctx, u)
		} else if signed[i], err = b.signPut(ctx, u, valid); err == nil {
			like, err = b.signingLike(ctx, signed[i].URL, u.key)
		}
		if err != nil {
			return nil, awsapi.Failed("sign the upload of "+u.key, err)
		}
	}
	return signed, nil
}

// signing is what the signed requests of a bucket have in common.
type signing struct {
	signer *v4.Signer
	at     time.Time
	base   url.URL // of the requests, without a key
	prefix string  // the escaped path before the key
	region string
	creds  aws.Credentials
}

// signingLike returns the signing of a request that the SDK signed for a key.
// It returns nil if it can't tell how.
func (b bucket) signingLike(ctx context.Context, signed, key string) (*signing, error) {
	u, err := url.Parse(signed)
	if err != nil {
		return nil, err
	}
	query := u.Query()
	at, err := time.Parse("20060102T150405Z", query.Get("X-Amz-Date"))
	dated := err == nil
	prefix, ours := strings.CutSuffix(u.EscapedPath(), awsapi.EscapeKey(key))
	options := b.Client.Options()
	if !dated || !ours || query.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || options.Credentials == nil {
		return nil, nil
	}
	creds, err := options.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	scope := strings.Split(query.Get("X-Amz-Credential"), "/")
	if len(scope) != 5 || scope[0] != creds.AccessKeyID || scope[2] != options.Region || scope[3] != "s3" {
		return nil, nil
	}
	kept := url.Values{}
	for _, name := range []string{"x-id", "X-Amz-Expires"} {
		kept[name] = query[name]
	}
	s := &signing{at: at, prefix: prefix, region: scope[2], creds: creds, base: url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: kept.Encode()}}
	s.signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return s, nil
}

func (s *signing) sign(ctx context.Context, u upload) (cloud.SignedPut, error) {
	target := s.base
	target.RawPath = s.prefix + awsapi.EscapeKey(u.key)
	var err error
	if target.Path, err = url.PathUnescape(target.RawPath); err != nil {
		return cloud.SignedPut{}, err
	}
	req := &http.Request{Method: http.MethodPut, URL: &target, Host: target.Host, ContentLength: u.Size, Header: http.Header{
		"Content-Type":          {site.ContentType(u.Path)},
		"Cache-Control":         {cacheControl(u.Path)},
		"If-None-Match":         {"*"},
		"X-Amz-Checksum-Sha256": {base64.StdEncoding.EncodeToString(u.SHA256[:])},
	}}
	req = req.WithContext(ctx)
	if encoding := contentEncoding(u.Path); encoding != nil {
		req.Header.Set("Content-Encoding", *encoding)
	}
	for name, value := range u.metadata {
		req.Header.Set("X-Amz-Meta-"+name, value)
	}
	address, header, err := s.signer.PresignHTTP(ctx, s.creds, req, "UNSIGNED-PAYLOAD", "s3", s.region, s.at)
	if err != nil {
		return cloud.SignedPut{}, err
	}
	return signedPut(address, header), nil
}

// signedPut leaves out the headers that a request sets itself.
func signedPut(address string, header http.Header) cloud.SignedPut {
	header.Del("Host")
	header.Del("Content-Length")
	return cloud.SignedPut{URL: address, Header: header}
}
