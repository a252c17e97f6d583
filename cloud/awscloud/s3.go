package awscloud

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

const (
	// maxObject is the largest object that S3 takes or copies in one call.
	maxObject = 5 << 30
	// maxDelete is the most objects of one DeleteObjects.
	maxDelete = 1000
	// slowest is how many bytes a second an object is sent with at the least.
	slowest = 256 << 10
)

// bucket is what Troy does with one bucket.
type bucket struct {
	client *s3.Client
	name   string
}

func newS3(loaded aws.Config, cfg Config) *s3.Client {
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		if cfg.S3Endpoint != "" {
			o.BaseEndpoint = &cfg.S3Endpoint
		}
		// Objects of before checksums are common, and the SDK tells of each.
		o.DisableLogOutputChecksumValidationSkipped = true
		// Stand-ins have no host for each bucket.
		o.UsePathStyle = cfg.S3Endpoint != "" || cfg.Endpoint != ""
	})
}

// object is one of a listing.
type object struct {
	key  string
	size int64
}

// list walks the objects below a prefix, all pages of them.
func (b bucket) list(ctx context.Context, prefix string, each func(object) error) error {
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := call(ctx, func(ctx context.Context) (*s3.ListObjectsV2Output, error) { return pages.NextPage(ctx) })
		if err != nil {
			return failed("list "+prefix, err)
		}
		for _, o := range page.Contents {
			if err := each(object{key: aws.ToString(o.Key), size: aws.ToInt64(o.Size)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// call bounds a call that moves few bytes.
func call[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, attempts*callTimeout)
	defer cancel()
	return f(ctx)
}

// get reads a small object, at most max bytes of it.
func (b bucket) get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	return call(ctx, func(ctx context.Context) ([]byte, error) {
		out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
		if err != nil {
			return nil, failed("read "+key, err)
		}
		data, err := io.ReadAll(io.LimitReader(out.Body, maxBytes+1))
		if err := errors.Join(err, out.Body.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		if int64(len(data)) > maxBytes {
			return nil, fmt.Errorf("read %s: it has more than %d bytes", key, maxBytes)
		}
		return data, nil
	})
}

// put writes a small object. With once, one that is there stays, and is
// cloud.ErrPrecondition.
func (b bucket) put(ctx context.Context, key string, data []byte, contentType string, once bool) error {
	_, err := call(ctx, func(ctx context.Context) (*s3.PutObjectOutput, error) {
		in := &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: bytes.NewReader(data), ContentType: &contentType}
		if once {
			in.IfNoneMatch = aws.String("*")
		}
		return b.client.PutObject(ctx, in)
	})
	return failed("write "+key, err)
}

// putFile writes a site's file. S3 holds the bytes to the digest.
func (b bucket) putFile(ctx context.Context, key string, f site.File, metadata map[string]string, content io.ReadSeeker) error {
	if f.Size > maxObject {
		return troy.Errorf(troy.Invalid, "%s has %d bytes; S3 takes at most %d of one file", f.Path, f.Size, int64(maxObject))
	}
	ctx, cancel := context.WithTimeout(ctx, attempts*callTimeout+time.Duration(f.Size/slowest)*time.Second)
	defer cancel()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: &key, Body: content, ContentLength: &f.Size, ContentType: aws.String(site.ContentType(f.Path)),
		ContentEncoding: contentEncoding(f.Path), CacheControl: aws.String(cacheControl(f.Path)), Metadata: metadata,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(f.SHA256[:])),
	}, unsigned)
	return failed("write "+key, err)
}

// contentEncoding is an object's header, nil for none: CloudFront's functions
// can't set it.
func contentEncoding(p string) *string {
	if encoding := site.ContentEncoding(p); encoding != "" {
		return &encoding
	}
	return nil
}

// send writes a file of this machine.
func (b bucket) send(ctx context.Context, key, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attempts*callTimeout+time.Duration(info.Size()/slowest)*time.Second)
	defer cancel()
	_, err = b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: file, ContentLength: aws.Int64(info.Size())}, unsigned)
	return failed("write "+key, err)
}

// fetch reads an object into a file, and returns its size.
func (b bucket) fetch(ctx context.Context, key string, to io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return 0, failed("read "+key, err)
	}
	limit := time.AfterFunc(attempts*callTimeout+time.Duration(aws.ToInt64(out.ContentLength)/slowest)*time.Second, cancel)
	defer limit.Stop()
	n, err := io.Copy(to, out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return n, fmt.Errorf("read %s: %w", key, err)
	}
	return n, nil
}

// signPut is a PUT of a site's file, which S3 holds to its length and digest.
func (b bucket) signPut(ctx context.Context, key string, f site.File, metadata map[string]string, valid time.Duration) (cloud.SignedPut, error) {
	if f.Size > maxObject {
		return cloud.SignedPut{}, troy.Errorf(troy.Invalid, "%s has %d bytes; S3 takes at most %d of one file", f.Path, f.Size, int64(maxObject))
	}
	signed, err := s3.NewPresignClient(b.client).PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: &key, ContentLength: &f.Size, ContentType: aws.String(site.ContentType(f.Path)),
		ContentEncoding: contentEncoding(f.Path), CacheControl: aws.String(cacheControl(f.Path)), Metadata: metadata,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(f.SHA256[:])), IfNoneMatch: aws.String("*"),
	}, s3.WithPresignExpires(valid), s3.WithPresignClientFromClientOptions(keepContentType))
	if err != nil {
		return cloud.SignedPut{}, failed("sign the upload of "+key, err)
	}
	// Host and length are the request's own.
	signed.SignedHeader.Del("Host")
	signed.SignedHeader.Del("Content-Length")
	return cloud.SignedPut{URL: signed.URL, Header: signed.SignedHeader}, nil
}

// keepContentType has the type signed of empty files too. The SDK drops it from
// them, and S3 would keep them as binary/octet-stream.
func keepContentType(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		_, err := stack.Build.Remove("RemoveContentTypeHeader")
		return err
	})
}

// unsigned leaves the payload out of the signature: the digest that S3 checks
// is in a header that is signed.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// escapeKey writes a key as a URL's path, where S3 and CloudFront read it
// whatever is in it. They take a + for a space, so net/url's rules won't do.
func escapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// copy copies a file inside the bucket.
func (b bucket) copy(ctx context.Context, from, to string, f site.File, metadata map[string]string, cacheControl string) error {
	ctx, cancel := context.WithTimeout(ctx, attempts*callTimeout+time.Duration(f.Size/slowest)*time.Second)
	defer cancel()
	source := escapeKey(b.name + "/" + from)
	_, err := b.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &b.name, Key: &to, CopySource: &source, MetadataDirective: types.MetadataDirectiveReplace,
		ContentType: aws.String(site.ContentType(f.Path)), ContentEncoding: contentEncoding(f.Path), CacheControl: &cacheControl, Metadata: metadata,
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	return failed("copy "+from, err)
}

// remove deletes objects; those that are gone are not an error.
func (b bucket) remove(ctx context.Context, keys ...string) error {
	ids := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		ids[i] = types.ObjectIdentifier{Key: aws.String(key)}
	}
	return b.removeVersions(ctx, ids)
}

func (b bucket) removeVersions(ctx context.Context, ids []types.ObjectIdentifier) error {
	for len(ids) > 0 {
		n := min(len(ids), maxDelete)
		out, err := call(ctx, func(ctx context.Context) (*s3.DeleteObjectsOutput, error) {
			return b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b.name, Delete: &types.Delete{Objects: ids[:n], Quiet: aws.Bool(true)}})
		})
		if err != nil {
			return failed("delete objects", err)
		}
		for _, e := range out.Errors {
			if code := aws.ToString(e.Code); code != "NoSuchKey" {
				return failed("delete "+aws.ToString(e.Key), &smithy.GenericAPIError{Code: code, Message: aws.ToString(e.Message)})
			}
		}
		ids = ids[n:]
	}
	return nil
}

// removeAll deletes everything below a prefix, older versions and delete
// markers too, and counts the objects.
func (b bucket) removeAll(ctx context.Context, prefix string) (int, error) {
	removed := 0
	var keys []string
	flush := func() error {
		err := b.remove(ctx, keys...)
		removed += len(keys)
		keys = keys[:0]
		return err
	}
	err := b.list(ctx, prefix, func(o object) error {
		if keys = append(keys, o.key); len(keys) == maxDelete {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return removed, err
	}
	versioned, err := b.versioned(ctx)
	if err != nil || !versioned {
		return removed, err
	}
	pages := s3.NewListObjectVersionsPaginator(b.client, &s3.ListObjectVersionsInput{Bucket: &b.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := call(ctx, func(ctx context.Context) (*s3.ListObjectVersionsOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return removed, failed("list the versions of "+prefix, err)
		}
		var ids []types.ObjectIdentifier
		for _, v := range page.Versions {
			ids = append(ids, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			ids = append(ids, types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if err := b.removeVersions(ctx, ids); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// versioned reports whether the bucket keeps, or has kept, versions.
func (b bucket) versioned(ctx context.Context) (bool, error) {
	out, err := call(ctx, func(ctx context.Context) (*s3.GetBucketVersioningOutput, error) {
		return b.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.name})
	})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NotImplemented" {
		return false, nil // a stand-in without versions
	}
	if err != nil {
		return false, failed("ask whether "+b.name+" keeps versions", err)
	}
	return out.Status != "", nil
}

// tag returns an object's ETag, empty if there is none. Objects of one call
// have the digest of their bytes there.
func (b bucket) tag(ctx context.Context, key string) (string, error) {
	out, err := call(ctx, func(ctx context.Context) (*s3.HeadObjectOutput, error) {
		return b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: &key})
	})
	if err = failed("look for "+key, err); errors.Is(err, cloud.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}
