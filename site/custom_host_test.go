package site_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

func TestCustomHost(t *testing.T) {
	t.Parallel()
	rules := site.CustomHosts{Own: []string{"troy.example.net"}, Suffix: "sites.example.net"}
	long := strings.Repeat("a123456789.", 21) + "example" // 238 characters
	for _, c := range []struct {
		text, want string // the host, or a part of the error
		bad        bool
	}{
		{text: "example.com", want: "example.com"},
		{text: " www.Example.COM. ", want: "www.example.com"},
		{text: "*.example.com", want: "*.example.com"},
		{text: "*.Blog.example.co.uk.", want: "*.blog.example.co.uk"},
		{text: "bücher.example", want: "xn--bcher-kva.example"},
		{text: "BÜCHER.example", want: "xn--bcher-kva.example"},
		{text: "xn--bcher-kva.example", want: "xn--bcher-kva.example"},
		{text: "пример.рф", want: "xn--e1afmkfd.xn--p1ai"},
		{text: "日本語abc.example", want: "xn--abc-s08fl0dtz6h.example"},
		{text: "straße.example", want: "xn--strae-oqa.example"},
		{text: "foo.github.io", want: "foo.github.io"},
		{text: "example.net", want: "example.net"},
		{text: "troy.example.org", want: "troy.example.org"},
		{text: long[1:], want: long[1:]},

		{text: "", want: "is empty", bad: true},
		{text: ".", want: "is empty", bad: true},
		{text: "https://example.com/", want: "expected only its host", bad: true},
		{text: "example.com/path", want: "expected only its host", bad: true},
		{text: "me@example.com", want: "expected only its host", bad: true},
		{text: "example.com:443", want: "has a port", bad: true},
		{text: "192.0.2.1", want: "is an IP address", bad: true},
		{text: "192.0.2.1.", want: "is an IP address", bad: true},
		{text: "2001:db8::1", want: "is an IP address", bad: true},
		{text: "[2001:db8::1]", want: "is an IP address", bad: true},
		{text: "1.2.3", want: "ends in a number", bad: true},
		{text: "localhost", want: "a name of this machine", bad: true},
		{text: "blog.localhost", want: "a name of this machine", bad: true},
		{text: "intranet", want: "only one label", bad: true},
		{text: "Troy.Example.net", want: "Troy's own host", bad: true},
		{text: "*.Example.net", want: "covers Troy's own host troy.example.net", bad: true},
		{text: "sites.example.net", want: "end in sites.example.net", bad: true},
		{text: "blog.sites.example.net", want: "end in sites.example.net", bad: true},
		{text: "*.sites.example.net", want: "end in sites.example.net", bad: true},
		{text: "co.uk", want: "public suffix", bad: true},
		{text: "com", want: "only one label", bad: true},
		{text: "*.com", want: "only one label", bad: true},
		{text: "*.co.uk", want: "public suffix", bad: true},
		{text: "github.io", want: "public suffix", bad: true},
		{text: long, want: "has 238 characters; expected at most 237", bad: true},
		{text: strings.Repeat("a", 250) + ".com", want: "expected at most 237", bad: true},
		{text: strings.Repeat("a", 64) + ".com", want: "expected a name like", bad: true},
		{text: strings.Repeat("ü", 2000) + ".com", want: "expected at most 237", bad: true},
		{text: "my_site.example.com", want: "underscore", bad: true},
		{text: "_acme-challenge.example.com", want: "underscore", bad: true},
		{text: "www.*.example.com", want: "another place than the first label", bad: true},
		{text: "a*.example.com", want: "another place than the first label", bad: true},
		{text: "*.*.example.com", want: "another place than the first label", bad: true},
		{text: "*", want: "another place than the first label", bad: true},
		{text: "-a.example.com", want: "a name like www.example.com", bad: true},
		{text: "a..example.com", want: "a name like www.example.com", bad: true},
		{text: "exa mple.com", want: "spaces", bad: true},
		{text: "exa\x00mple.com", want: "spaces", bad: true},
		{text: "exa\xffmple.com", want: "spaces", bad: true},
		{text: "p\u0430ypal.example", want: "mixes the scripts Latin and Cyrillic", bad: true}, // a Cyrillic a
		{text: "xn--pypal-4ve.example", want: "mixes the scripts Latin and Cyrillic", bad: true},
		{text: "xn--zzzzzzzzzzzz9999.example", want: "a name like www.example.com", bad: true},
		{text: "\u0627a.example", want: "a name like www.example.com", bad: true}, // breaks the Bidi rule
	} {
		got, err := rules.Parse(c.text)
		if !c.bad {
			if err != nil || got != c.want {
				t.Errorf("%q: %q, %v; want %q", c.text, got, err, c.want)
			}
			continue
		}
		e, ok := errors.AsType[*troy.Error](err)
		if !ok || e.Kind != troy.Invalid || e.Field != "host" || got != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %q, %v; want an Invalid error at host with %q", c.text, got, err, c.want)
		}
	}
}

// FuzzCustomHost checks that a host that is accepted is one that a record's file
// and a certificate can have.
func FuzzCustomHost(f *testing.F) {
	for _, s := range []string{"example.com", "*.example.com", "bücher.example", "../x", "xn--a", "a.1", "日本.example", "ａ.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host, err := site.CustomHosts{Suffix: "localhost"}.Parse(text)
		if err != nil {
			return
		}
		bare := strings.TrimPrefix(host, "*.")
		if normal, err := site.NormalizeHost(bare); err != nil || normal != bare || len(bare) > site.MaxCustomHost {
			t.Fatalf("%q was accepted as %q: %q, %v", text, host, normal, err)
		}
		if again, err := (site.CustomHosts{Suffix: "localhost"}).Parse(host); err != nil || again != host {
			t.Fatalf("%q was accepted as %q, which is %q, %v", text, host, again, err)
		}
	})
}

func TestHostPair(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"example.com": "www.example.com", "www.example.com": "example.com", "example.co.uk": "www.example.co.uk", "www.example.co.uk": "example.co.uk",
		"blog.example.com": "", "www.blog.example.com": "", "*.example.com": "", "co.uk": "", "www.co.uk": "www.www.co.uk",
		"foo.github.io": "www.foo.github.io", "www.foo.github.io": "foo.github.io",
	} {
		if got := site.HostPair(host); got != want {
			t.Errorf("the pair of %s: %q, want %q", host, got, want)
		}
	}
	for host, want := range map[string]string{"a.b.example.co.uk": "example.co.uk", "*.example.com": "example.com", "co.uk": "co.uk"} {
		if got := site.HostZone(host); got != want {
			t.Errorf("the zone of %s: %q, want %q", host, got, want)
		}
	}
	if got := site.UnicodeHost("*.xn--bcher-kva.example"); got != "*.bücher.example" {
		t.Errorf("as people read it: %q", got)
	}
}
