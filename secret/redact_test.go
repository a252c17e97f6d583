package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/secret"
)

func redactor(t testing.TB, values ...string) *secret.Redactor {
	t.Helper()
	r, err := secret.NewRedactor(values...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRedactsEveryForm(t *testing.T) {
	t.Parallel()
	const value = `p@ss w/örd?"<&>+~`
	r := redactor(t, value)
	b64 := base64.StdEncoding.EncodeToString
	marshalled, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"unchanged":          value,
		"query":              url.QueryEscape(value),
		"path":               url.PathEscape(value),
		"lower-case digits":  "p%40ss%20w%2f%c3%b6rd%3f%22%3c%26%3e%2b~",
		"encodeURIComponent": "p%40ss%20w%2F%C3%B6rd%3F%22%3C%26%3E%2B~",
		"encodeURI":          "p@ss%20w/%C3%B6rd?%22%3C&%3E+~",
		"python quote":       "p%40ss%20w/%C3%B6rd%3F%22%3C%26%3E%2B~",
		"user info":          url.UserPassword("u", value).String(),
		"json":               string(marshalled),
		"javascript json":    `p@ss w/örd?\"<&>+~`,
		"php json":           strings.ReplaceAll(string(marshalled), "/", `\/`),
		"hexadecimal":        hex.EncodeToString([]byte("u:" + value)),
		"HEXADECIMAL":        strings.ToUpper(hex.EncodeToString([]byte(value))),
		"base64":             b64([]byte(value)),
		"base64, aligned 1":  b64([]byte("u" + value + "more")),
		"base64, aligned 2":  b64([]byte("u:" + value + "\n")),
		"base64, url":        base64.URLEncoding.EncodeToString([]byte("\xff\xfe:" + value)),
	} {
		got := r.Text("before " + text + " after")
		if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, secret.Marker) {
			t.Errorf("%s: %q", name, got)
		}
		// Of base64 at most the neighbours may be left.
		if len(got) > len("before  after")+len(secret.Marker)+10 {
			t.Errorf("%s: too much is left: %q", name, got)
		}
	}
}

// TestRedactsThroughControlSequences puts a terminal's control sequences, such
// as colours, inside a secret.
func TestRedactsThroughControlSequences(t *testing.T) {
	t.Parallel()
	const value, token = "hunter2hunter2", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	r := redactor(t, value)
	for name, text := range map[string]string{
		"one colour":        "hunter2\x1b[31mhunter2",
		"each character":    "h\x1b[1mu\x1b[0mn\x1b[1;31mt\x1b[0me\x1b[mr\x1b[K2\x1b[38;2;255;0;0mhunter2",
		"two bytes":         "hunter\x1bM2hunter2",
		"around and inside": "\x1b[32mhunter2\x1b[0mhunter2\x1b[0m",
		"twice":             "hunter2\x1b[31mhunter2 hunter2hunter2",
		"base64":            "aHVudGVy\x1b[31mMmh1bnRlcjI=",
		"a token of GitHub": token[:20] + "\x1b[4m" + token[20:],
	} {
		for _, got := range []string{r.Text("before " + text + " after"), byteByByte(t, r, "before "+text+" after")} {
			plain := regexp.MustCompile("\x1b(\\[[0-9;]*[A-Za-z]|[A-Z])").ReplaceAllString(got, "")
			if !strings.HasPrefix(plain, "before ") || !strings.HasSuffix(plain, " after") || strings.Contains(plain, "unte") ||
				strings.Contains(plain, "aHVu") || strings.Contains(plain, token[:8]) || !strings.Contains(plain, secret.Marker) {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
	// Text without a secret stays unchanged, with all its control sequences.
	for _, text := range []string{
		"\x1b[31merror\x1b[0m: hunter2\n", "\x1b", "\x1b[", "a\x1b[31", "\x1b[" + strings.Repeat("1;", 200) + "m", "\x1b]8;;https://example.com\x07link\x1b]8;;\x07",
		"hunter2" + strings.Repeat("\x1b[31m", 2000) + "x", "aHVu\n" + strings.Repeat("\x1b[0m", 1<<12),
	} {
		if got := r.Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
		if got := byteByByte(t, r, text); got != text {
			t.Errorf("%q, byte by byte, became %q", text, got)
		}
	}
}

func TestRedactsLinesAndWrappedBase64(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 20) + "short\nlastline0123\n-----END KEY-----\n"
	r := redactor(t, key)
	if got := r.Text(strings.ReplaceAll(key, "\n", "\r\n")); strings.Contains(got, "MIIE") || strings.Contains(got, "short") {
		t.Errorf("with other line ends: %q", got)
	}
	for _, line := range strings.Split(strings.TrimSpace(key), "\n") {
		got := r.Text("> " + line + " <")
		if want := line == "short"; strings.Contains(got, line) != want {
			t.Errorf("the line %q became %q", line, got)
		}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + key))
	for _, columns := range []int{64, 76, 100} {
		for _, end := range []string{"\n", "\r\n"} {
			var wrapped strings.Builder
			for i := 0; i < len(encoded); i += columns {
				wrapped.WriteString(encoded[i:min(i+columns, len(encoded))] + end)
			}
			got := r.Text(wrapped.String())
			rest := strings.NewReplacer(secret.Marker, "", "\n", "", "\r", "").Replace(got)
			// "user:" and the line end that is not part of the trimmed value.
			if len(rest) > 12 {
				t.Errorf("wrapped at %d with %q: %q is left", columns, end, rest)
			}
		}
	}
}

// TestBase64NeighboursGoToo checks the characters at both ends, which encode
// bits of the secret and of its neighbours.
func TestBase64NeighboursGoToo(t *testing.T) {
	t.Parallel()
	const value = "hunter2hunter2"
	r := redactor(t, value)
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte("::"[:before] + value))
		want := encoded[:before] + secret.Marker + strings.Repeat("=", strings.Count(encoded, "="))
		if got := r.Text(encoded); got != want {
			t.Errorf("%s became %s, not %s", encoded, got, want)
		}
		if got := byteByByte(t, r, encoded); got != want {
			t.Errorf("%s, byte by byte, became %s, not %s", encoded, got, want)
		}
	}
}

func TestRedactsTokensOfGitHub(t *testing.T) {
	t.Parallel()
	r := redactor(t)
	long := "ghs_12345_" + strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 24) + "sig-na_ture"
	for text, want := range map[string]string{
		"a " + long + " b":                                 "a *** b",
		"ghs_" + strings.Repeat("a", 36):                   "***",
		"ghp_" + strings.Repeat("a", 36) + "\n":            "***\n",
		"x-access-token:" + long + "@github.com":           "x-access-token:***@github.com",
		"github_pat_" + strings.Repeat("1A_", 27) + "!":    "***!",
		"ghs_" + strings.Repeat("a", 35):                   "ghs_" + strings.Repeat("a", 35),
		"ghs_" + strings.Repeat("a", 35) + "!":             "ghs_" + strings.Repeat("a", 35) + "!",
		"gh":                                               "gh",
		"githubghs_" + strings.Repeat("b", 40) + ",gg ghx": "github***,gg ghx",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
		if got := byteByByte(t, r, text); got != want {
			t.Errorf("%q, byte by byte, became %q", text, got)
		}
	}
}

func byteByByte(t testing.TB, r *secret.Redactor, text string) string {
	t.Helper()
	var out strings.Builder
	w := r.Writer(&out)
	for i := range len(text) {
		if n, err := w.Write([]byte{text[i]}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestOverlappingSecrets(t *testing.T) {
	t.Parallel()
	r := redactor(t, "abcdefgh", "efghijkl", "ghijklmnopqrstuvwxyz", "00000000")
	for text, want := range map[string]string{
		"abcdefghijkl":                "***",
		"-abcdefghijklmnopqrstuvwxyz": "-***",
		"abcdefghefghijkl":            "***",
		"abcdefg efghijk ":            "abcdefg efghijk ",
		"0000000 00000000000000":      "0000000 ***",
		strings.Repeat("abcdefgh", 3): "***",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
		if got := byteByByte(t, r, text); got != want {
			t.Errorf("%q, byte by byte, became %q", text, got)
		}
	}
}

// TestLinesPassAtOnce checks that live logs are not held back.
func TestLinesPassAtOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	w := redactor(t, "hunter2hunter2", "two\nlines of it").Writer(&out)
	for _, line := range []string{"installing…\n", "added 3 packages\n", "hunter2hunter2\n", "50%"} {
		before := out.String()
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		if want := before + strings.ReplaceAll(line, "hunter2hunter2", secret.Marker); out.String() != want {
			t.Errorf("after %q: %q", line, out.String())
		}
	}
	for range 1000 {
		if _, err := io.WriteString(w, "hunter2hunter"); err != nil {
			t.Fatal(err)
		}
	}
	if held := 13000 + len("installing…\nadded 3 packages\n***\n50%") - out.Len(); held > 128 {
		t.Errorf("%d bytes are held back", held)
	}
}

func TestWriterTellsItsErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is full")
	w := redactor(t).Writer(failing{broken})
	if _, err := io.WriteString(w, "line\n"); !errors.Is(err, broken) {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close: %v", err)
	}
	w = redactor(t).Writer(io.Discard)
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Errorf("Close twice: %v", err)
	}
	if _, err := io.WriteString(w, "late"); err == nil {
		t.Error("a closed writer accepts a write")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestShortSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "1234567", "  1234567 \n", "äöüßäöü", "nul\x00inside", strings.Repeat("x", secret.MaxValue+1)} {
		if err := secret.CheckValue(bad); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%.20q: %v", bad, err)
		}
		if _, err := secret.NewRedactor("fine enough", bad); err == nil || len(bad) > 2 && strings.Contains(err.Error(), bad) {
			t.Errorf("NewRedactor(%.20q): %v", bad, err)
		}
	}
	if err := secret.CheckValue("12345678"); err != nil {
		t.Error(err)
	}
	large := strings.Repeat("0123456789abcdef", secret.MaxValue/16)
	if _, err := secret.NewRedactor(large, large, "one more"); troy.KindOf(err) != troy.TooLarge {
		t.Errorf("over the total: %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	one := random(secret.MaxValue)
	var lines strings.Builder
	for i := 0; i+9 < len(one); i += 10 {
		lines.WriteString(one[i:i+9] + "\n")
	}
	for name, value := range map[string]string{"one line": one, "short lines": lines.String()} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		started := time.Now()
		r := redactor(t, value)
		took := time.Since(started)
		runtime.GC()
		runtime.ReadMemStats(&after)
		times := float64(after.HeapAlloc-before.HeapAlloc) / float64(len(value))
		t.Logf("%s: %.0f bytes are kept for each byte of a secret; made in %s", name, times, took)
		if times > 1000 {
			t.Error("too much")
		}
		if got := r.Text(value); len(got) > len(secret.Marker)+1 {
			t.Errorf("%s: %d bytes are left", name, len(got))
		}
	}
}

// random returns printable text without a pattern.
func random(n int) string {
	out := make([]byte, n)
	x := uint64(88172645463325252) // xorshift64 (Marsaglia, 2003)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = '!' + byte(x%94)
	}
	return string(out)
}

func BenchmarkWriter(b *testing.B) {
	line := []byte("src/components/Header.astro  12.34 kB │ gzip: 3.21 kB │ map: 45.67 kB through github.com\n")
	for name, values := range map[string][]string{
		"no secret": nil, "three secrets": {random(40), random(80)[41:], random(300)[100:]},
		"a key of 3 KB": {random(3000)}, "32 KB of secrets": {random(secret.MaxValue)},
	} {
		r := redactor(b, values...)
		for form, data := range map[string][]byte{"lines": line, "32 KB": bytes.Repeat(line, 360)} {
			b.Run(name+"/"+form, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				w := r.Writer(io.Discard)
				for b.Loop() {
					if _, err := w.Write(data); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add("hunter2hunter2", "password=", "\n", []byte{1, 7, 64})
	f.Add("first line of it\nsecond one", "", "x", []byte{3})
	f.Add("00000000", "000", "0000000", []byte{0, 1, 2, 255})
	f.Add("ghs_ghs_ghs_", "ghs_", strings.Repeat("g", 40), []byte{5})
	f.Add("ghs_gggggg", "\x1bQ", "\x1bQghs_"+strings.Repeat("g", 40)+"\x1b[0mQ", []byte{1, 44, 7})
	f.Add("p@ss w/örd?\"<&>+", "%", "%20", []byte{9, 9})
	f.Add(strings.Repeat("AAAA", 40), "AAA", "AAAAAAA", []byte{30})
	f.Fuzz(func(t *testing.T, value, before, after string, chunks []byte) {
		trimmed := strings.TrimSpace(value)
		if secret.CheckValue(value) != nil || len(value) > 2000 || len(before)+len(after) > 2000 {
			t.Skip()
		}
		r := redactor(t, value)
		forms := []string{trimmed, url.QueryEscape(trimmed), url.PathEscape(trimmed), base64.StdEncoding.EncodeToString([]byte(trimmed)), base64.RawURLEncoding.EncodeToString([]byte(trimmed))}
		for _, line := range strings.Split(trimmed, "\n") {
			if line = strings.TrimSpace(line); len(line) >= secret.MinValue {
				forms = append(forms, line)
			}
		}
		var text strings.Builder
		for _, form := range forms {
			text.WriteString(before + form + after)
		}
		text.WriteString(base64.StdEncoding.EncodeToString([]byte(before + trimmed + after)))
		text.WriteString(base64.URLEncoding.EncodeToString([]byte("u:" + before + trimmed + after)))

		check := func(redacted string) {
			for _, part := range strings.Split(redacted, secret.Marker) {
				for _, form := range forms {
					if strings.Contains(part, form) && !strings.Contains(form, secret.Marker) {
						t.Fatalf("%q survives in %q", form, part)
					}
				}
				for k := range 3 {
					n := (k + len(trimmed)) * 8 / 6
					form := base64.RawStdEncoding.EncodeToString([]byte("\x00\x00"[:k%3] + trimmed))[(k*8+5)/6 : n]
					if strings.Contains(part, form) {
						t.Fatalf("%q (base64 after %d) survives in %q", form, k, part)
					}
				}
			}
		}
		whole := r.Text(text.String())
		check(whole)

		var out strings.Builder
		w := r.Writer(&out)
		rest := text.String()
		for i := 0; rest != ""; i++ {
			n := 1
			if len(chunks) > 0 {
				n = int(chunks[i%len(chunks)])
			}
			n = min(max(n, 1), len(rest))
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		check(out.String())
		// Lines written one by one are passed on sooner.
		if !strings.ContainsAny(text.String(), "\r\n") && out.String() != whole {
			t.Fatalf("in chunks: %q\nin one: %q", out.String(), whole)
		}
	})
}
