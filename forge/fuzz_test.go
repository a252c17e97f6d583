package forge

import (
	"io/fs"
	"net/url"
	"strings"
	"testing"
)

// Whatever .gitmodules contains, a submodule is fetched by https, or from its
// parent's host, without a password in its address, and into a place inside the
// source.
func FuzzSubmodules(f *testing.F) {
	for _, address := range []string{
		"../lib.git", "./a/../../../..", "../../../../etc/passwd", "git@github.com:owner/lib.git", "git@elsewhere.example:a/b",
		"ssh://git@github.com:22/owner/lib", "https://user:secret@github.com/o/n?x=1#y", "https://example.com:8443/a", "http://169.254.169.254/latest",
		"file:///etc/passwd", "ext::sh -c id", "--upload-pack=id", "-oProxyCommand=id@github.com:x", "https://", "", "\x00", "//evil.example/x", "..\\lib",
	} {
		f.Add("vendor/lib", address)
	}
	f.Add("../outside", "../lib.git")
	f.Add("/etc", "../lib.git")
	f.Add("a/../../b", "../lib.git")
	f.Fuzz(func(t *testing.T, at, address string) {
		parent := &url.URL{Scheme: "http", Host: "git.example:3000", Path: "/team/site.git"}
		m := module{address: parent, path: "sub"}
		modules, err := m.linked(map[string]string{at: strings.Repeat("a", 40)}, "submodule.x.path\n"+at+"\x00submodule.x.url\n"+address+"\x00")
		if err != nil {
			return
		}
		for _, sub := range modules {
			u := sub.address
			if u.Scheme != "https" && (u.Scheme != parent.Scheme || u.Host != parent.Host) {
				t.Errorf("%q is fetched from %s", address, u)
			}
			if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" || strings.HasPrefix(u.String(), "-") {
				t.Errorf("%q is fetched from %#v", address, u)
			}
			if !fs.ValidPath(sub.path) {
				t.Errorf("%q is put at %q", at, sub.path)
			}
		}
	})
}

func FuzzLFSPointer(f *testing.F) {
	const version = "version https://git-lfs.github.com/spec/v1\n"
	sum := strings.Repeat("0f", 32)
	for _, text := range []string{
		version + "oid sha256:" + sum + "\nsize 12345\n",
		version + "ext-0-foo sha256:" + sum + "\noid sha256:" + sum + "\nsize 0\n",
		version + "oid sha256:" + sum[:62] + "\nsize 1\n",
		version + "oid sha256:../../../../etc/passwd\nsize 1\n",
		version + "oid md5:" + sum + "\nsize 1\n",
		version + "oid sha256:" + sum + "\nsize -1\n",
		version + "oid sha256:" + sum + "\nsize 99999999999999999999\n",
		"<!doctype html>", "",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, ok := parsePointer(text)
		if ok && (len(p.oid) != 64 || strings.Trim(strings.ToLower(p.oid), "0123456789abcdef") != "" || p.size < 0) {
			t.Errorf("%q is a pointer to %+v", text, p)
		}
	})
}
