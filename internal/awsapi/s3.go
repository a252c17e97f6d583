package awsapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

const (
	// maxDelete is the maximum number of objects of one DeleteObjects.
	maxDelete = 1000
	// ListPage is the maximum number of objects in an answer of a list.
	ListPage = 1000
	// maxLists is the number of requests at a time for one listing.
	maxLists = 8
	// slowest is the minimum rate of an upload in bytes per second.
	slowest = 256 << 10
)

// Bucket is an S3 bucket.
type Bucket struct {
	Client *s3.Client
	Name   string
}

// NewS3 returns an S3 client.
func NewS3(loaded aws.Config, cfg Config) *s3.Client {
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		if cfg.S3Endpoint != "" {
			o.BaseEndpoint = &cfg.S3Endpoint
		}
		// Objects without checksums are common, and the SDK logs each.
		o.DisableLogOutputChecksumValidationSkipped = true
		// Stand-ins have no host for each bucket.
		o.UsePathStyle = cfg.S3Endpoint != "" || cfg.Endpoint != ""
	})
}

// Object is an entry of a listing.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// List yields the objects with a prefix, from all pages.
func (b Bucket) List(ctx context.Context, prefix string, each func(Object) error) error {
	return b.list(ctx, &s3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix}, each)
}

func (b Bucket) list(ctx context.Context, in *s3.ListObjectsV2Input, each func(Object) error) error {
	pages := s3.NewListObjectsV2Paginator(b.Client, in)
	for pages.HasMorePages() {
		page, err := Call(ctx, func(ctx context.Context) (*s3.ListObjectsV2Output, error) { return pages.NextPage(ctx) })
		if err != nil {
			return Failed("list "+*in.Prefix, err)
		}
		for _, o := range page.Contents {
			err := each(Object{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
			if errors.Is(err, errPartEnds) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ListParts is List with several requests at a time. at are keys in ascending
// order, at which it splits the listing into parts. It yields the objects in no
// order, but one at a time. S3 lists in the order of the keys' bytes
// (docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html), so a part ends
// at the first key after it.
func (b Bucket) ListParts(ctx context.Context, prefix string, at []string, each func(Object) error) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxLists)
	for i := range len(at) + 1 {
		in := &s3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix}
		if i > 0 {
			in.StartAfter = &at[i-1]
		}
		group.Go(func() error {
			return b.list(ctx, in, func(o Object) error {
				if i < len(at) && o.Key > at[i] {
					return errPartEnds
				}
				mu.Lock()
				err := each(o)
				mu.Unlock()
				if err == nil && i < len(at) && o.Key == at[i] {
					err = errPartEnds // saves the request that would show it
				}
				return err
			})
		})
	}
	return group.Wait()
}

// errPartEnds ends a list.
var errPartEnds = errors.New("the part ends")

// Get reads a small object of at most maxBytes bytes.
func (b Bucket) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	return Call(ctx, func(ctx context.Context) ([]byte, error) {
		out, err := b.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: &key})
		if err != nil {
			return nil, Failed("read "+key, err)
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

// Put writes a small object. With once it returns ErrPrecondition if the object
// exists, and leaves it unchanged.
func (b Bucket) Put(ctx context.Context, key string, data []byte, contentType string, once bool) error {
	_, err := Call(ctx, func(ctx context.Context) (*s3.PutObjectOutput, error) {
		in := &s3.PutObjectInput{Bucket: &b.Name, Key: &key, Body: bytes.NewReader(data), ContentType: &contentType}
		if once {
			in.IfNoneMatch = aws.String("*")
		}
		return b.Client.PutObject(ctx, in)
	})
	return Failed("write "+key, err)
}

// Send uploads a file.
func (b Bucket) Send(ctx context.Context, key, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Moving(info.Size()))
	defer cancel()
	_, err = b.Client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.Name, Key: &key, Body: file, ContentLength: aws.Int64(info.Size())}, Unsigned)
	return Failed("write "+key, err)
}

// Fetch downloads an object to a file, and returns its size.
func (b Bucket) Fetch(ctx context.Context, key string, to io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := b.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: &key})
	if err != nil {
		return 0, Failed("read "+key, err)
	}
	limit := time.AfterFunc(Moving(aws.ToInt64(out.ContentLength)), cancel)
	defer limit.Stop()
	n, err := io.Copy(to, out.Body)
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return n, fmt.Errorf("read %s: %w", key, err)
	}
	return n, nil
}

// Size returns the size of an object in bytes.
func (b Bucket) Size(ctx context.Context, key string) (int64, error) {
	out, err := Call(ctx, func(ctx context.Context) (*s3.HeadObjectOutput, error) {
		return b.Client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.Name, Key: &key})
	})
	if err != nil {
		return 0, Failed("look for "+key, err)
	}
	return aws.ToInt64(out.ContentLength), nil
}

// Copy copies an object of a size of at most 5 GiB inside the bucket.
func (b Bucket) Copy(ctx context.Context, from, to string, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, Moving(size))
	defer cancel()
	source := EscapeKey(b.Name + "/" + from)
	_, err := b.Client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &b.Name, Key: &to, CopySource: &source})
	return Failed("copy "+from, err)
}

// SignGet returns an address at which an object can be downloaded without
// credentials. It is valid as long as the credentials that sign it, too.
func (b Bucket) SignGet(ctx context.Context, key string, valid time.Duration) (string, error) {
	signed, err := s3.NewPresignClient(b.Client).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: &key}, s3.WithPresignExpires(valid))
	if err != nil {
		return "", Failed("sign the download of "+key, err)
	}
	return signed.URL, nil
}

// Unsigned leaves the payload out of the signature. A signed header has the
// digest that S3 checks.
func Unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// Remove deletes objects. Missing objects are not an error.
func (b Bucket) Remove(ctx context.Context, keys ...string) error {
	ids := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		ids[i] = types.ObjectIdentifier{Key: aws.String(key)}
	}
	return b.removeVersions(ctx, ids)
}

func (b Bucket) removeVersions(ctx context.Context, ids []types.ObjectIdentifier) error {
	for len(ids) > 0 {
		n := min(len(ids), maxDelete)
		out, err := Call(ctx, func(ctx context.Context) (*s3.DeleteObjectsOutput, error) {
			return b.Client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b.Name, Delete: &types.Delete{Objects: ids[:n], Quiet: aws.Bool(true)}})
		})
		if err != nil {
			return Failed("delete objects", err)
		}
		for _, e := range out.Errors {
			if code := aws.ToString(e.Code); code != "NoSuchKey" {
				return Failed("delete "+aws.ToString(e.Key), &smithy.GenericAPIError{Code: code, Message: aws.ToString(e.Message)})
			}
		}
		ids = ids[n:]
	}
	return nil
}

// RemoveAll deletes everything with a prefix, including older versions and
// delete markers, and returns the number of objects.
func (b Bucket) RemoveAll(ctx context.Context, prefix string) (int, error) {
	removed := 0
	var keys []string
	flush := func() error {
		err := b.Remove(ctx, keys...)
		removed += len(keys)
		keys = keys[:0]
		return err
	}
	err := b.List(ctx, prefix, func(o Object) error {
		if keys = append(keys, o.Key); len(keys) == maxDelete {
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
	versioned, err := b.Versioned(ctx)
	if err != nil || !versioned {
		return removed, err
	}
	pages := s3.NewListObjectVersionsPaginator(b.Client, &s3.ListObjectVersionsInput{Bucket: &b.Name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := Call(ctx, func(ctx context.Context) (*s3.ListObjectVersionsOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return removed, Failed("list the versions of "+prefix, err)
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

// Versioned reports whether the bucket keeps, or has kept, versions.
func (b Bucket) Versioned(ctx context.Context) (bool, error) {
	out, err := Call(ctx, func(ctx context.Context) (*s3.GetBucketVersioningOutput, error) {
		return b.Client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.Name})
	})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NotImplemented" {
		return false, nil // a stand-in without versions
	}
	if err != nil {
		return false, Failed("get the versioning of "+b.Name, err)
	}
	return out.Status != "", nil
}

// Folders yields the names directly below a prefix.
func (b Bucket) Folders(ctx context.Context, prefix string, each func(name string)) error {
	pages := s3.NewListObjectsV2Paginator(b.Client, &s3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix, Delimiter: aws.String("/")})
	for pages.HasMorePages() {
		page, err := Call(ctx, func(ctx context.Context) (*s3.ListObjectsV2Output, error) { return pages.NextPage(ctx) })
		if err != nil {
			return Failed("list "+prefix, err)
		}
		for _, p := range page.CommonPrefixes {
			each(strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), prefix), "/"))
		}
	}
	return nil
}
