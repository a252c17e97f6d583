package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// endpoint is the server that a command calls, with the token to send.
type endpoint struct {
	url, token string
	field      string // the source of the address, for errors
	from       string // the source of the token
}

// connect returns a client for the server that choose returns.
func (a *app) connect() (*client.Client, error) {
	for _, warning := range misspelt(a.environ, a.env) {
		_, _ = fmt.Fprintf(a.err, "Warning: %s\n", clean(warning))
	}
	e, err := a.choose()
	if err != nil {
		return nil, err
	}
	c, err := newClient(e)
	if err != nil {
		return nil, err
	}
	return a.use(c, e.url, e.from)
}

// use makes c the command's client. It returns an error if the folder's link
// leads to another server.
func (a *app) use(c *client.Client, url, from string) (*client.Client, error) {
	if l := a.linked; l != nil && l.Server != "" && !sameServer(l.Server, url) {
		return nil, troy.Errorf(troy.Invalid, "%s links this folder to %s at %s, and the command goes to %s; name the pipeline", l.file, l.Pipeline, l.Server, c.BaseURL)
	}
	a.client, a.tokenFrom = c, from
	return c, nil
}

func newClient(e endpoint) (*client.Client, error) {
	c, err := client.New(e.url, e.token)
	if wrong, ok := errors.AsType[*troy.Error](err); ok {
		wrong.Field = map[string]string{"url": e.field, "token": e.from}[wrong.Field]
	}
	if err != nil {
		return nil, err
	}
	c.UserAgent = "troy-cli/" + version().Version
	return c, nil
}

// givenURL returns the address from the flag or the environment, and its source.
func (a *app) givenURL() (address, field string) {
	if a.url != "" {
		return a.url, "--url"
	}
	return a.env("TROY_URL"), "TROY_URL"
}

// choose returns the server and its token. The flags and the environment come
// first, then the folder's link, the server of troyd dev in this folder, and the
// current context. A stored token is sent only to its own server.
func (a *app) choose() (endpoint, error) {
	given, field := a.givenURL()
	if token := strings.TrimSpace(a.env("TROY_TOKEN")); token != "" {
		if given == "" {
			given = defaultURL
		}
		return endpoint{url: given, token: token, field: field, from: "TROY_TOKEN"}, nil
	}
	all, err := a.contexts()
	if err != nil {
		return endpoint{}, err
	}
	dev, hasDev := a.findDev()
	find := func(url, field string) (endpoint, bool) {
		if name := all.of(url); name != "" {
			return endpoint{url: url, token: all.Contexts[name].Token, field: field, from: "context " + name}, true
		}
		if hasDev && sameServer(dev.url, url) {
			return dev, true
		}
		return endpoint{}, false
	}
	if given != "" {
		e, ok := find(given, field)
		if _, err := newClient(endpoint{url: given, field: field}); err != nil {
			return e, err
		}
		if !ok {
			return e, troy.Errorf(troy.Unauthenticated, "TROY_TOKEN is not set, and there is no token for %s", address(given))
		}
		return e, nil
	}
	link, err := a.findLink()
	if err != nil {
		return endpoint{}, err
	}
	if link != nil && link.Server != "" {
		return a.linkedServer(all, link, dev, find)
	}
	if hasDev {
		return a.announce(dev, dev), nil
	}
	if current, ok := all.Contexts[all.Current]; ok {
		return endpoint{url: current.URL, token: current.Token, field: "context " + all.Current, from: "context " + all.Current}, nil
	}
	return endpoint{}, troy.Errorf(troy.Unauthenticated, "TROY_TOKEN is not set")
}

// linkedServer returns the server that a link names, which find looks for among
// those that the user has a token for.
func (a *app) linkedServer(all contexts, l *link, dev endpoint, find func(url, field string) (endpoint, bool)) (endpoint, error) {
	e, ok := find(l.Server, l.file)
	switch {
	case !ok:
		return e, troy.Errorf(troy.Unauthenticated, "%s links this folder to %s, but you are not signed in there; run: troy login %s", l.file, l.Server, l.Server)
	case sameServer(dev.url, l.Server):
	case !all.trusts(l):
		return e, troy.Errorf(troy.Forbidden, "%s links this folder to %s, which is not your current server, and you did not make this link; to allow it, run: troy link %s --url %s",
			l.file, l.Server, l.Pipeline, address(l.Server))
	case !sameServer(all.Contexts[all.Current].URL, e.url):
		_, _ = fmt.Fprintf(a.err, "Using the server that %s names, %s.\n", clean(l.file), clean(e.url))
	}
	return a.announce(e, dev), nil
}

// announce prints on stderr the server that only this folder determined.
func (a *app) announce(e, dev endpoint) endpoint {
	if e == dev {
		_, _ = fmt.Fprintf(a.err, "Using the server that runs in this folder, %s.\n", clean(e.url))
	}
	return e
}

// findDev returns the server of the troyd dev that runs in this folder. It must
// be on this machine and accept connections.
func (a *app) findDev() (endpoint, bool) {
	dir := a.env("TROY_DATA_DIR")
	if dir == "" {
		dir = ".troy"
	}
	text, ok := readOwn(filepath.Join(dir, "dev.json"))
	if !ok {
		return endpoint{}, false
	}
	var dev struct {
		Settings map[string]string `json:"settings"`
	}
	if json.Unmarshal(text, &dev) != nil {
		return endpoint{}, false
	}
	u, err := url.Parse(dev.Settings["TROY_URL"])
	if err != nil || !loopback(u.Hostname()) {
		return endpoint{}, false
	}
	token, ok := readOwn(filepath.Join(dir, "admin-token"))
	if !ok {
		return endpoint{}, false
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), time.Second) //nolint:noctx // bounded by its timeout
	if err != nil {
		return endpoint{}, false // left behind by a killed troyd dev
	}
	_ = conn.Close()
	return endpoint{url: u.String(), token: strings.TrimSpace(string(token)), field: dir, from: filepath.Join(dir, "admin-token")}, true
}

// readOwn reads a small file as troyd dev writes it: a regular file, not a link,
// that no other user can write to.
func readOwn(file string) ([]byte, bool) {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || info.Size() > maxSettings {
		return nil, false
	}
	text, err := os.ReadFile(file)
	return text, err == nil && len(text) <= maxSettings
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
