package awscloud_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
)

// squeeze compresses a text.
func squeeze(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const goodLine = `{"date":"2026-11-29","time":"10:00:01","cs-uri-stem":"/a","sc-status":"200","sc-bytes":"1068","cs(Referer)":"-"}` + "\n"

func TestReadLog(t *testing.T) {
	t.Parallel()
	good := cloud.Request{Day: "2026-11-29", Path: "/a", Status: 200, Bytes: 1068}
	with := func(change func(*cloud.Request)) []cloud.Request {
		r := good
		change(&r)
		return []cloud.Request{r}
	}
	line := func(old, replacement string) string { return strings.Replace(goodLine, old, replacement, 1) }
	const tree = "/sites/3fa85f64-5717-4562-b3fc-2c963f66afa6/3fa85f64-5717-4562-b3fc-2c963f66afa7"
	for name, c := range map[string]struct {
		stored  []byte
		want    []cloud.Request
		unread  int
		damaged bool
	}{
		"nothing":           {stored: squeeze(t, "")},
		"a line":            {stored: squeeze(t, goodLine), want: []cloud.Request{good}},
		"no newline":        {stored: squeeze(t, strings.TrimSpace(goodLine)), want: []cloud.Request{good}},
		"blank lines":       {stored: squeeze(t, "\n\r\n"+goodLine+"\n"), want: []cloud.Request{good}},
		"two members":       {stored: append(squeeze(t, goodLine), squeeze(t, goodLine)...), want: []cloud.Request{good, good}},
		"other order":       {stored: squeeze(t, `{"sc-bytes":"1068","cs(Referer)":"-","cs-uri-stem":"/a","x":{"deep":[[]]},"sc-status":"200","date":"2026-11-29","c-ip":"192.0.2.1"}`), want: []cloud.Request{good}},
		"numbers":           {stored: squeeze(t, line(`"200","sc-bytes":"1068"`, `200,"sc-bytes":1068`)), want: []cloud.Request{good}},
		"a closed request":  {stored: squeeze(t, line(`"200"`, `"000"`)), want: with(func(r *cloud.Request) { r.Status = 0 })},
		"a referrer":        {stored: squeeze(t, line(`"-"`, `"https://x.example/?q=\ud800"`)), want: with(func(r *cloud.Request) { r.Referrer = "https://x.example/?q=\ufffd" })},
		"a rewritten path":  {stored: squeeze(t, line(`"/a"`, `"`+tree+`/about/index.html"`)), want: with(func(r *cloud.Request) { r.Path = "/about/index.html" })},
		"no path":           {stored: squeeze(t, line(`"/a"`, `"-"`)), unread: 1},
		"a NUL":             {stored: squeeze(t, line(`"/a"`, `"/\u0000"`)), unread: 1},
		"a path of objects": {stored: squeeze(t, line(`"/a"`, `{}`)), unread: 1},
		"no day":            {stored: squeeze(t, line(`2026-11-29`, `2026-13-29`)), unread: 1},
		"a strange status":  {stored: squeeze(t, line(`"200"`, `"1000"`)), unread: 1},
		"a negative size":   {stored: squeeze(t, line(`"1068"`, `"-5"`)), unread: 1},
		"a huge size":       {stored: squeeze(t, line(`"1068"`, `"9223372036854775807"`)), unread: 1},
		"other text":        {stored: squeeze(t, "#Version: 1.0\n"+goodLine+"[]\n"), want: []cloud.Request{good}, unread: 2},
		"deep nesting":      {stored: squeeze(t, strings.Repeat(`{"a":`, 40_000)+"\n"+goodLine), want: []cloud.Request{good}, unread: 1},
		"a long line":       {stored: squeeze(t, line(`"/a"`, `"/`+strings.Repeat("a", 1<<20)+`"`)+goodLine), want: []cloud.Request{good}, unread: 1},
		"a long last line":  {stored: squeeze(t, goodLine+strings.Repeat("a", 1<<20)), want: []cloud.Request{good}, unread: 1},
		"no gzip":           {stored: []byte(goodLine), damaged: true},
		"an empty object":   {damaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []cloud.Request
			unread, err := awscloud.ReadLog(t.Context(), bytes.NewReader(c.stored), func(r cloud.Request) { got = append(got, r) })
			if diff := cmp.Diff(c.want, got); diff != "" || unread != c.unread {
				t.Errorf("%d lines unread, want %d (-want +got):\n%s", unread, c.unread, diff)
			}
			if errors.Is(err, cloud.ErrDamaged) != c.damaged || (err != nil) != c.damaged {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestTruncatedLog cuts a file off at every byte: only whole lines count, and
// the damage is reported.
func TestTruncatedLog(t *testing.T) {
	t.Parallel()
	const lines = 40
	stored := squeeze(t, strings.Repeat(goodLine, lines))
	for n := range stored {
		got := 0
		unread, err := awscloud.ReadLog(t.Context(), bytes.NewReader(stored[:n]), func(r cloud.Request) {
			if got++; r.Path != "/a" || r.Bytes != 1068 {
				t.Errorf("after %d bytes: %+v", n, r)
			}
		})
		if !errors.Is(err, cloud.ErrDamaged) || got > lines || unread != 0 {
			t.Errorf("after %d bytes: %d requests, %d unread, %v", n, got, unread, err)
		}
	}
}

// TestBombs reads files that decompress to a gigabyte: one line of zeros, and
// lines of one byte.
func TestBombs(t *testing.T) {
	t.Parallel()
	const part = 16 << 20
	for name, text := range map[string]string{"a line": strings.Repeat("0", part), "lines": strings.Repeat("0\n", part/2)} {
		member := squeeze(t, text)
		bomb := append(squeeze(t, goodLine), bytes.Repeat(member, 1<<30/part)...)
		got := 0
		_, err := awscloud.ReadLog(t.Context(), bytes.NewReader(bomb), func(cloud.Request) { got++ })
		if !errors.Is(err, cloud.ErrDamaged) || !strings.Contains(err.Error(), "more than") || got != 1 {
			t.Errorf("%s: %d bytes, %d requests, %v", name, len(bomb), got, err)
		}
	}
}

// FuzzReadLog reads any bytes, as they are and as the content of a file.
func FuzzReadLog(f *testing.F) {
	f.Add([]byte(goodLine))
	f.Add(squeeze(f, goodLine))
	f.Add([]byte(`{"date":"2026-11-29","cs-uri-stem":"\u0000","SC-STATUS":200,"sc-bytes":1e3,"cs(referer)":null}` + "\n\n" + goodLine))
	f.Add([]byte(`{"date":"2026-11-29","date":{},"cs-uri-stem":["/"],"sc-status":"+1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(r cloud.Request) {
			if _, err := time.Parse(time.DateOnly, r.Day); err != nil || r.Path == "" || strings.ContainsRune(r.Path, 0) || r.Status < 0 || r.Status > 999 || r.Bytes < 0 || r.Bytes > 1<<50 {
				t.Errorf("%+v, %v", r, err)
			}
		}
		if _, err := awscloud.ReadLog(t.Context(), bytes.NewReader(data), check); err != nil && !errors.Is(err, cloud.ErrDamaged) {
			t.Error(err)
		}
		seen, lines := 0, 0
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			if len(bytes.TrimSpace(line)) > 0 {
				lines++
			}
		}
		unread, err := awscloud.ReadLog(t.Context(), bytes.NewReader(squeeze(t, string(data))), func(r cloud.Request) { seen++; check(r) })
		if err != nil || seen+unread != lines {
			t.Errorf("%d requests and %d unread lines of %d, %v", seen, unread, lines, err)
		}
	})
}
