package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troy-iaas/troy/site"
)

const (
	// signBatch is the number of uploads to sign in one call.
	signBatch = 200
	// mostDirectFailures is the number of files that could not be sent directly
	// to the store, after which all others go through the server. This machine
	// may be unable to reach the store.
	mostDirectFailures = 3
	// slowest is the minimum rate of an upload in bytes per second.
	slowest = 64 << 10
)

// direct sends files directly to the store, with URLs that the server signs. If
// a file can't be sent directly, the caller sends it through the server.
type direct struct {
	c        *Client
	release  string // the release's path
	missing  []site.File
	failures atomic.Int32

	mu      sync.Mutex
	batches map[int]*signatures // by number
}

// signatures are the signed requests of signBatch missing files.
type signatures struct {
	done chan struct{}
	puts map[site.Digest]signedPut
	err  error
	left int // files that did not ask for theirs
}

type signedPut struct {
	SHA256 site.Digest       `json:"sha256"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
}

// url returns the signed request for the i-th missing file. It signs the
// following batch meanwhile.
func (d *direct) url(ctx context.Context, i int) (signedPut, error) {
	n := i / signBatch
	d.mu.Lock()
	b := d.signed(ctx, n)
	if i%signBatch >= signBatch/2 && (n+1)*signBatch < len(d.missing) {
		d.signed(ctx, n+1)
	}
	if b.left--; b.left == 0 {
		delete(d.batches, n)
	}
	d.mu.Unlock()
	select {
	case <-b.done:
	case <-ctx.Done():
		return signedPut{}, context.Cause(ctx)
	}
	if b.err != nil {
		return signedPut{}, b.err
	}
	f := d.missing[i]
	s, ok := b.puts[f.SHA256]
	if !ok {
		return s, fmt.Errorf("the server signed a request for another file than %s", f.Path)
	}
	return s, nil
}

// signed returns a batch, and begins to sign it. The caller holds the lock.
func (d *direct) signed(ctx context.Context, n int) *signatures {
	if b := d.batches[n]; b != nil {
		return b
	}
	files := d.missing[n*signBatch : min((n+1)*signBatch, len(d.missing))]
	b := &signatures{done: make(chan struct{}), left: len(files)}
	if d.batches == nil {
		d.batches = map[int]*signatures{}
	}
	d.batches[n] = b
	go func() {
		defer close(b.done)
		b.puts, b.err = d.sign(ctx, files)
	}()
	return b
}

func (d *direct) sign(ctx context.Context, files []site.File) (map[site.Digest]signedPut, error) {
	var ask struct {
		Files []site.Digest `json:"files"`
	}
	for _, f := range files {
		ask.Files = append(ask.Files, f.SHA256)
	}
	var answer struct {
		Uploads []signedPut `json:"uploads"`
	}
	k, err := jsonCall(http.MethodPost, d.release+"/uploads", ask)
	if err != nil {
		return nil, err
	}
	k.repeatable, k.patient = true, true
	if err := d.c.do(ctx, k, &answer); err != nil {
		return nil, err
	}
	puts := make(map[site.Digest]signedPut, len(answer.Uploads))
	for _, s := range answer.Uploads {
		puts[s.SHA256] = s
	}
	return puts, nil
}

// put sends the i-th missing file, and reports whether that succeeded.
func (d *direct) put(ctx context.Context, i int, u Upload) bool {
	if d.failures.Load() >= mostDirectFailures {
		return false
	}
	err := d.send(ctx, i, u)
	if err != nil && ctx.Err() == nil {
		d.failures.Add(1)
	}
	return err == nil
}

func (d *direct) send(ctx context.Context, i int, u Upload) error {
	f := d.missing[i]
	s, err := d.url(ctx, i)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.c.stallTimeout+time.Duration(f.Size/slowest)*time.Second)
	defer cancel()
	var body io.ReadCloser
	var counted *sentBody
	if f.Size <= smallFile {
		content, err := readSmall(f, u)
		if err != nil {
			return err
		}
		body = io.NopCloser(bytes.NewReader(content))
	} else {
		content, err := open(f, u)
		if err != nil {
			return err
		}
		counted = &sentBody{ReadCloser: content, file: f, progress: u.Progress}
		body = counted
	}
	if f.Size == 0 {
		body = http.NoBody
	}
	err = d.do(ctx, s, f.Size, body)
	switch {
	case err != nil && counted != nil:
		u.Progress(0, -counted.stop())
	case err == nil && counted != nil:
		u.Progress(1, 0)
	case err == nil:
		u.Progress(1, f.Size)
	}
	return err
}

// do sends a signed request. The signature is the permission, so the request
// does not contain Troy's token.
func (d *direct) do(ctx context.Context, s signedPut, size int64, body io.ReadCloser) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL, body)
	if err != nil {
		return errors.Join(errors.New("the server signed an invalid address"), body.Close())
	}
	req.ContentLength = size
	for name, value := range s.Header {
		req.Header.Set(name, value)
	}
	resp, err := d.c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	case http.StatusPreconditionFailed:
		return nil // the store already has a file with this digest
	}
	return fmt.Errorf("the store answered %d", resp.StatusCode)
}
