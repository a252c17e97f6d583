package forge

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/network"
)

// maxPointer is larger than any LFS pointer (github.com/git-lfs/git-lfs,
// docs/spec.md).
const maxPointer = 1024

// pointer is the content of git's file for an LFS file.
type pointer struct {
	oid  string // SHA-256 of the file, hexadecimal
	size int64
}

// parsePointer reads an LFS pointer (docs/spec.md, "The Pointer").
func parsePointer(text []byte) (pointer, bool) {
	var p pointer
	lines := strings.Split(string(text), "\n")
	if len(lines) < 3 || lines[0] != "version https://git-lfs.github.com/spec/v1" {
		return p, false
	}
	for _, line := range lines[1:] {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "oid":
			p.oid, _ = strings.CutPrefix(value, "sha256:")
		case "size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return p, false
			}
			p.size = n
		}
	}
	sum, err := hex.DecodeString(p.oid)
	return p, err == nil && len(sum) == sha256.Size
}

// largeFiles fetches the LFS files of a module from the repository's own LFS
// server. It ignores a server in .lfsconfig, which is untrusted.
type largeFiles struct {
	clone  module
	http   *http.Client
	budget *budget
}

// client reaches the internet and the forge itself, but no addresses near Troy.
func (c *cloning) client(m module) *http.Client {
	stranger := &net.Dialer{Timeout: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !network.Public(at.Addr()) {
			return troy.Errorf(troy.Forbidden, "an LFS file of %s is not at a public address of the internet", m.what())
		}
		return nil
	}}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.EqualFold(address, withPort(c.home)) {
			return (&net.Dialer{Timeout: stranger.Timeout}).DialContext(ctx, network, address)
		}
		return stranger.DialContext(ctx, network, address)
	}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, ResponseHeaderTimeout: time.Minute, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// withPort returns the address to dial.
func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// add adds an LFS file to the tar, after verifying the pointer's digest.
func (l *largeFiles) add(ctx context.Context, out *tar.Writer, h *tar.Header, p pointer) (err error) {
	what := fmt.Sprintf("the LFS file %q", Line(strings.TrimPrefix(h.Name, topFolder+"/"), 200))
	if p.size > l.budget.left() {
		return l.budget.exceeded()
	}
	address, header, err := l.locate(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("%s: its address can't be read", what)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := l.http.Do(req)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", what, withoutURL(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch %s: the answer is %s", what, res.Status)
	}
	large := *h
	large.Size = p.size
	if err := out.WriteHeader(&large); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(res.Body, p.size))
	if err != nil {
		return fmt.Errorf("fetch %s: %w", what, withoutURL(err))
	}
	if n < p.size || hex.EncodeToString(sum.Sum(nil)) != p.oid {
		return fmt.Errorf("%s: the content does not match its digest", what)
	}
	return nil
}

// locate asks the server for a file's address (docs/api/batch.md).
func (l *largeFiles) locate(ctx context.Context, p pointer) (address string, header map[string]string, err error) {
	ask, err := json.Marshal(map[string]any{
		"operation": "download", "transfers": []string{"basic"}, "objects": []map[string]any{{"oid": p.oid, "size": p.size}},
	})
	if err != nil {
		return "", nil, err
	}
	server := *l.clone.address
	server.Path = strings.TrimSuffix(server.Path, ".git") + ".git/info/lfs/objects/batch"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.String(), bytes.NewReader(ask))
	if err != nil {
		return "", nil, err
	}
	const media = "application/vnd.git-lfs+json"
	req.Header.Set("Accept", media)
	req.Header.Set("Content-Type", media)
	req.Header.Set("User-Agent", userAgent)
	if l.clone.credential != (Credential{}) {
		req.SetBasicAuth(l.clone.credential.Username, l.clone.credential.Password)
	}
	res, err := l.http.Do(req)
	if err != nil {
		return "", nil, withoutURL(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("the LFS server answers %s", res.Status)
	}
	var answer struct {
		Objects []struct {
			Error *struct {
				Code int `json:"code"`
			} `json:"error"`
			Actions struct {
				Download *struct {
					Href   string            `json:"href"`
					Header map[string]string `json:"header"`
				} `json:"download"`
			} `json:"actions"`
		} `json:"objects"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer); err != nil {
		return "", nil, errors.New("the LFS server's answer can't be read")
	}
	if len(answer.Objects) != 1 {
		return "", nil, errors.New("the LFS server's answer is about another file")
	}
	object := answer.Objects[0]
	switch {
	case object.Error != nil && object.Error.Code == http.StatusNotFound:
		return "", nil, troy.Errorf(troy.NotFound, "the LFS server has no such file")
	case object.Error != nil:
		return "", nil, fmt.Errorf("the LFS server says %d", object.Error.Code)
	case object.Actions.Download == nil:
		return "", nil, errors.New("the LFS server names no download")
	}
	href, err := url.Parse(object.Actions.Download.Href)
	if err != nil || href.Scheme != "https" && (href.Scheme != l.clone.address.Scheme || href.Host != l.clone.address.Host) {
		return "", nil, troy.Errorf(troy.Forbidden, "the LFS server names an address that is not https")
	}
	return href.String(), object.Actions.Download.Header, nil
}
