package awscloud

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// maxObject is the largest object that S3 accepts or copies in one call.
const maxObject = 5 << 30

// bucket is a bucket for the files of sites.
type bucket struct{ awsapi.Bucket }

// putFile writes a site's file. S3 verifies its digest.
func (b bucket) putFile(ctx context.Context, key string, f site.File, metadata map[string]string, content io.ReadSeeker) error {
	if f.Size > maxObject {
		return troy.Errorf(troy.Invalid, "%s has %d bytes; S3 accepts at most %d for one file", f.Path, f.Size, int64(maxObject))
	}
	ctx, cancel := context.WithTimeout(ctx, awsapi.Moving(f.Size))
	defer cancel()
	_, err := b.Client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.Name, Key: &key, Body: content, ContentLength: &f.Size, ContentType: aws.String(site.ContentType(f.Path)),
		ContentEncoding: contentEncoding(f.Path), CacheControl: aws.String(cacheControl(f.Path)), Metadata: metadata,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(f.SHA256[:])),
	}, awsapi.Unsigned)
	return awsapi.Failed("write "+key, err)
}

// contentEncoding is an object's Content-Encoding, nil for none: CloudFront's
// functions can't set it.
func contentEncoding(p string) *string {
	if encoding := site.ContentEncoding(p); encoding != "" {
		return &encoding
	}
	return nil
}

// signPut signs a PUT of a site's file; S3 verifies its length and digest.
func (b bucket) signPut(ctx context.Context, u upload, valid time.Duration) (cloud.SignedPut, error) {
	signed, err := s3.NewPresignClient(b.Client).PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.Name, Key: &u.key, ContentLength: &u.Size, ContentType: aws.String(site.ContentType(u.Path)),
		ContentEncoding: contentEncoding(u.Path), CacheControl: aws.String(cacheControl(u.Path)), Metadata: u.metadata,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(u.SHA256[:])), IfNoneMatch: aws.String("*"),
	}, s3.WithPresignExpires(valid), s3.WithPresignClientFromClientOptions(keepContentType))
	if err != nil {
		return cloud.SignedPut{}, err
	}
	return signedPut(signed.URL, signed.SignedHeader), nil
}

// keepContentType signs the type of empty files too. The SDK drops it from
// them, and S3 would store them as binary/octet-stream.
func keepContentType(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		_, err := stack.Build.Remove("RemoveContentTypeHeader")
		return err
	})
}

// copy copies a file inside the bucket.
func (b bucket) copy(ctx context.Context, from, to string, f site.File, metadata map[string]string, cacheControl string) error {
	ctx, cancel := context.WithTimeout(ctx, awsapi.Moving(f.Size))
	defer cancel()
	source := awsapi.EscapeKey(b.Name + "/" + from)
	_, err := b.Client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &b.Name, Key: &to, CopySource: &source, MetadataDirective: types.MetadataDirectiveReplace,
		ContentType: aws.String(site.ContentType(f.Path)), ContentEncoding: contentEncoding(f.Path), CacheControl: &cacheControl, Metadata: metadata,
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	return awsapi.Failed("copy "+from, err)
}

// tag returns an object's ETag, or the empty string if it does not exist. The
// ETag of an object that was written in one call is its MD5.
func (b bucket) tag(ctx context.Context, key string) (string, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*s3.HeadObjectOutput, error) {
		return b.Client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.Name, Key: &key})
	})
	if err = awsapi.Failed("look for "+key, err); errors.Is(err, cloud.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}
