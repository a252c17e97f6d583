package edge

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// FuzzPlainRequest compares the edge's reader of requests with net/http's: what
// the edge takes for a plain request must be the same request for net/http.
func FuzzPlainRequest(f *testing.F) {
	const host = "Host: a.localhost\r\n"
	for _, seed := range []string{
		"", "\r\n\r\n", "\r\r\n\r\n", "GET / HTTP/1.1\r\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n" + host + "\n",
		"GET / HTTP/1.1\r\n" + host + "\r\n", "HEAD /a?b=c%zz#d HTTP/1.1\r\n" + host + "\r\n", "GET /%41%2f HTTP/1.1\r\n" + host + "\r\nrest",
		"GET // HTTP/1.1\r\n" + host + "\r\n", "GET /: HTTP/1.1\r\n" + host + "\r\n", "GET / HTTP/1.0\r\n" + host + "\r\n",
		"GET / HTTP/1.1\r\n" + host + host + "\r\n", "GET / HTTP/1.1\r\nhost:a\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc", "GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "X: a\rY: b\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "X : a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Connection: Keep-Alive\r\nPragma: no-cache\r\nX:\r\nx: \xff\t\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var q request
		if q.read(data) != plain {
			return
		}
		from := bufio.NewReaderSize(bytes.NewReader(data), len(data)+16)
		want, err := http.ReadRequest(from)
		if err != nil {
			t.Fatalf("net/http refuses a plain request: %v", err)
		}
		rest, err := io.ReadAll(from)
		if err != nil || len(data)-len(rest) != q.size {
			t.Errorf("the request has %d bytes, net/http reads %d (error %v)", q.size, len(data)-len(rest), err)
		}
		got := q.http(netip.AddrPort{})
		if got == nil {
			return // net/http's server answers
		}
		if got.Method != want.Method || got.RequestURI != want.RequestURI || !reflect.DeepEqual(got.URL, want.URL) || got.Host != want.Host || got.Proto != want.Proto {
			t.Errorf("%s %s %q, net/http reads %s %s %q", got.Method, got.RequestURI, got.Host, want.Method, want.RequestURI, want.Host)
		}
		if want.ContentLength != 0 || want.Close || len(want.TransferEncoding) > 0 {
			t.Errorf("net/http reads a body of length %d, coding %q, close %v", want.ContentLength, want.TransferEncoding, want.Close)
		}
		if strings.EqualFold(want.Header.Get("Pragma"), "no-cache") && got.Header["Cache-Control"] == nil {
			delete(want.Header, "Cache-Control") // net/http adds it
		}
		if !maps.EqualFunc(got.Header, want.Header, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("the fields are %q, net/http reads %q", got.Header, want.Header)
		}
	})
}
