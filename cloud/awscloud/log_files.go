package awscloud

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// Limits of a log file. CloudFront splits the logs of busy distributions into
// several files.
const (
	maxLogFile  = 32 << 20  // bytes as stored
	maxLogBytes = 256 << 20 // bytes after decompression
	maxLogLines = 4_000_000
	maxLogLine  = 256 << 10 // bytes; longer lines are skipped
	// maxResponse is the maximum size of a response in bytes. It keeps sums
	// from overflowing.
	maxResponse = 1 << 50
)

// logName is the form of a log file's name
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logging.html).
var logName = regexp.MustCompile(`^([A-Z0-9]{1,40})\.(\d{4}-\d{2}-\d{2}-\d{2})\.[A-Za-z0-9._-]{1,128}\.gz$`)

// treePath is a path as the viewer-request function changes it.
var treePath = regexp.MustCompile(`^/sites/[0-9a-f]{8}-[0-9a-f-]{27}/[0-9a-f]{8}-[0-9a-f-]{27}(/.*)$`)

type accessLogs struct {
	bucket awsapi.Bucket
	prefix string
}

// NewAccessLogs returns the log bucket's files, or nil without a log bucket.
func NewAccessLogs(loaded aws.Config, cfg Config) cloud.AccessLogs {
	if cfg.LogBucket == "" {
		return nil
	}
	return &accessLogs{awsapi.Bucket{Client: awsapi.NewS3(loaded, cfg.Config), Name: cfg.LogBucket}, cfg.installation() + "/"}
}

// Files implements cloud.AccessLogs. It ignores objects whose name is not that
// of a log file.
func (l *accessLogs) Files(ctx context.Context, each func(cloud.LogFile) error) error {
	return l.bucket.List(ctx, l.prefix, func(o awsapi.Object) error {
		m := logName.FindStringSubmatch(path.Base(o.Key))
		if m == nil {
			return nil
		}
		hour, err := time.Parse("2006-01-02-15", m[2])
		if err != nil {
			return nil //nolint:nilerr // it is not the name of a log file
		}
		return each(cloud.LogFile{Key: o.Key, Distribution: m[1], Hour: hour})
	})
}

// Read implements cloud.AccessLogs.
func (l *accessLogs) Read(ctx context.Context, f cloud.LogFile, each func(cloud.Request)) (unread int, err error) {
	var stored bounded
	if _, err := l.bucket.Fetch(ctx, f.Key, &stored); err != nil {
		return 0, err
	}
	unread, err = readLog(ctx, &stored.Buffer, each)
	if err != nil {
		err = fmt.Errorf("read %s: %w", f.Key, err)
	}
	return unread, err
}

// Remove implements cloud.AccessLogs.
func (l *accessLogs) Remove(ctx context.Context, keys ...string) error {
	return l.bucket.Remove(ctx, keys...)
}

// bounded is a buffer that refuses to grow beyond maxLogFile.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxLogFile {
		return 0, fmt.Errorf("%w: it has more than %d bytes", cloud.ErrDamaged, maxLogFile)
	}
	return b.Buffer.Write(p)
}

// readLog reads compressed lines, each a JSON object. It finds the fields by
// their names, in any order, and ignores others.
func readLog(ctx context.Context, stored io.Reader, each func(cloud.Request)) (unread int, err error) {
	plain, err := gzip.NewReader(stored)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", cloud.ErrDamaged, err)
	}
	limited := &io.LimitedReader{R: plain, N: maxLogBytes + 1}
	lines := bufio.NewReaderSize(limited, maxLogLine)
	for n := 0; ; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return unread, ctx.Err()
		}
		line, err := lines.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			if ctx.Err() != nil {
				return unread, ctx.Err()
			}
			_, err = lines.ReadSlice('\n')
		}
		switch {
		case limited.N <= 0:
			return unread, fmt.Errorf("%w: it has more than %d bytes when decompressed", cloud.ErrDamaged, maxLogBytes)
		case n >= maxLogLines:
			return unread, fmt.Errorf("%w: it has more than %d lines", cloud.ErrDamaged, maxLogLines)
		case err != nil && !errors.Is(err, io.EOF):
			return unread, fmt.Errorf("%w: %w", cloud.ErrDamaged, err) // the line is cut off
		}
		if len(bytes.TrimSpace(line)) > 0 || !whole {
			request, ok := cloud.Request{}, false
			if whole {
				request, ok = parseRequest(line)
			}
			if ok {
				each(request)
			} else {
				unread++
			}
		}
		if err != nil {
			return unread, nil //nolint:nilerr // it is io.EOF
		}
	}
}

// field is a value of a line: a text or a number. CloudFront writes "-" for
// nothing.
type field string

// UnmarshalJSON implements json.Unmarshaler.
func (f *field) UnmarshalJSON(data []byte) error {
	var text string
	var number json.Number
	if json.Unmarshal(data, &text) != nil {
		if err := json.Unmarshal(data, &number); err != nil {
			return errors.New("expected a text or a number")
		}
		text = number.String()
	}
	if text == "-" {
		text = ""
	}
	*f = field(text)
	return nil
}

// parseRequest parses a line.
func parseRequest(line []byte) (r cloud.Request, ok bool) {
	var in struct {
		Date     field `json:"date"`
		Path     field `json:"cs-uri-stem"`
		Status   field `json:"sc-status"`
		Bytes    field `json:"sc-bytes"`
		Referrer field `json:"cs(Referer)"`
	}
	if json.Unmarshal(line, &in) != nil {
		return r, false
	}
	r = cloud.Request{Day: string(in.Date), Path: string(in.Path), Referrer: string(in.Referrer)}
	if m := treePath.FindStringSubmatch(r.Path); m != nil {
		r.Path = m[1]
	}
	_, dayErr := time.Parse(time.DateOnly, r.Day)
	status, statusErr := strconv.ParseUint(string(in.Status), 10, 16)
	size, sizeErr := strconv.ParseUint(string(in.Bytes), 10, 63)
	// CloudFront escapes control characters.
	strange := r.Path == "" || strings.ContainsFunc(r.Path, unicode.IsControl)
	if dayErr != nil || statusErr != nil || sizeErr != nil || strange || status > 999 || size > maxResponse {
		return r, false
	}
	r.Status, r.Bytes = int(status), int64(size)
	return r, true
}
