package awsdouble

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// storage is S3: it passes calls on. It keeps the Host, which the signature
// covers.
type storage struct{ d *Double }

func (s storage) action(r *http.Request, _ []byte) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	case r.Method == http.MethodPut && query.Has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodPut && key != "":
		return "PutObject"
	case r.Method == http.MethodPost && query.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && query.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPost && query.Has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	case r.Method == http.MethodHead && key != "":
		return "HeadObject"
	case r.Method == http.MethodHead:
		return "HeadBucket"
	case key == "" && query.Has("policy"):
		return "GetBucketPolicy"
	case query.Has("versions"):
		return "ListObjectVersions"
	case key == "":
		return "ListObjects"
	}
	return "GetObject"
}

func (s storage) serve(w http.ResponseWriter, r *http.Request, _ []byte) {
	if s.d.cfg.S3 == nil {
		s.fail(w, http.StatusNotImplemented, "NotImplemented", "no S3 server is behind the double")
		return
	}
	if _, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); len(key) > maxKey {
		s.fail(w, http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
		return
	}
	if s.action(r, nil) == "GetBucketPolicy" {
		s.policy(w, strings.Trim(r.URL.Path, "/"))
		return
	}
	if err := s.readCopySource(r); err != nil {
		s.fail(w, http.StatusBadRequest, "InvalidArgument", err.Error())
		return
	}
	proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(s.d.cfg.S3)
		p.Out.Host = p.In.Host
	}}
	proxy.ServeHTTP(w, r)
}

// policy answers with a bucket's policy: the server behind the double accepts no
// services as principals.
func (s storage) policy(w http.ResponseWriter, bucket string) {
	if !s.d.takesLogs(bucket) {
		s.fail(w, http.StatusNotFound, "NoSuchBucketPolicy", "The bucket policy does not exist")
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]string{"Service": "delivery.logs.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::" + bucket + "/*",
	}}})
}

// maxKey is the maximum length of a key in bytes
// (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
const maxKey = 1024

// readCopySource parses the source of a copy as S3 does, which decodes a + as a
// space, and returns it in a form that every server reads the same way.
func (s storage) readCopySource(r *http.Request) error {
	const name = "X-Amz-Copy-Source"
	given := r.Header.Get(name)
	if given == "" {
		return nil
	}
	source, err := url.QueryUnescape(given)
	if err != nil {
		return err
	}
	plain := strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(source), "+", "%20"), "%2F", "/")
	if plain == given {
		return nil // its signature stays valid
	}
	r.Header.Set(name, plain)
	key := aws.Credentials{AccessKeyID: s.d.cfg.S3Key, SecretAccessKey: s.d.cfg.S3Secret}
	return v4.NewSigner().SignHTTP(r.Context(), key, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", s.d.cfg.Region, time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

// newS3 returns a client of the server.
func (d *Double) newS3() *s3.Client {
	return s3.NewFromConfig(aws.Config{
		Region: d.cfg.Region, Credentials: credentials.NewStaticCredentialsProvider(d.cfg.S3Key, d.cfg.S3Secret, ""),
	}, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(d.cfg.S3.String()), true })
}

func (s storage) fail(w http.ResponseWriter, status int, code, message string) {
	if code == "Throttling" {
		status, code = http.StatusServiceUnavailable, "SlowDown"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
