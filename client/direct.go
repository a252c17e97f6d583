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
	// signBatch is how many uploads are signed in one call.
	signBatch = 200
	// mostDirectFailures is after how many files that could not be sent straight
	// to the store all others go by way of the server: the store may be out of
	// this machine's reach.
	mostDirectFailures = 3
	// slowest is how many bytes a second are sent at the least.
	slowest = 64 << 10
)

// direct sends files straight to the store, by URLs that the server signs. Of a
// file that it could not send it says so, and it is sent by way of the server.
type direct struct {
	c        *Client
	release  string // the release's path
	missing  []site.File
	failures atomic.Int32

	mu   sync.Mutex
	urls map[site.Digest]signedPut
}

type signedPut struct {
	SHA256 site.Digest       `json:"sha256"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
}

// url returns where the i-th missing file is sent, signing it and those after
// it if need be.
func (d *direct) url(ctx context.Context, i int) (signedPut, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.missing[i]
	if s, ok := d.urls[f.SHA256]; ok {
		delete(d.urls, f.SHA256)
		return s, nil
	}
	var ask struct {
		Files []site.Digest `json:"files"`
	}
	for _, f := range d.missing[i:min(i+signBatch, len(d.missing))] {
		ask.Files = append(ask.Files, f.SHA256)
	}
	var answer struct {
		Uploads []signedPut `json:"uploads"`
	}
	k, err := jsonCall(http.MethodPost, d.release+"/uploads", ask)
	if err != nil {
		return signedPut{}, err
	}
	k.repeatable, k.patient = true, true
	if err := d.c.do(ctx, k, &answer); err != nil {
		return signedPut{}, err
	}
	d.urls = map[site.Digest]signedPut{}
	for _, s := range answer.Uploads {
		d.urls[s.SHA256] = s
	}
	s, ok := d.urls[f.SHA256]
	if !ok {
		return s, fmt.Errorf("the server signed another file than %s", f.Path)
	}
	delete(d.urls, f.SHA256)
	return s, nil
}

// put sends the i-th missing file, and reports whether it did.
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

// do makes a signed request. It carries its own permission, and never Troy's
// token.
func (d *direct) do(ctx context.Context, s signedPut, size int64, body io.ReadCloser) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL, body)
	if err != nil {
		return errors.Join(errors.New("the server signed an address that is none"), body.Close())
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
		return nil // it is there already: the same bytes, since only they are taken
	}
	return fmt.Errorf("the store answered %d", resp.StatusCode)
}
