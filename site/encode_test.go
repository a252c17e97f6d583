package site

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
)

func manifestOf(n int) Manifest {
	m := Manifest{Files: make([]File, n)}
	for i := range m.Files {
		p := fmt.Sprintf("docs/section-%03d/page-%06d/index.html", i/1000, i)
		m.Files[i] = File{Path: p, SHA256: sha256.Sum256([]byte(p)), Size: int64(i)}
	}
	return m
}

func encode(t testing.TB, m Manifest) []byte {
	t.Helper()
	data, err := EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	m := manifestOf(1000)
	m.Files = append(m.Files, File{Path: "z é/ \u2028x", SHA256: Digest{1}, Size: 1 << 40})
	m.Carried = []Carried{{File{"old.0123abcd.js", Digest{2}, 3}, 1700000000}, {File{"old.0123abce.js", Digest{3}, 4}, -1}}
	data := encode(t, m)
	got, err := DecodeManifest(bytes.NewReader(data), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got, cmpopts.IgnoreUnexported(Manifest{})); diff != "" {
		t.Fatal(diff)
	}

	// Neither the encoding nor the digest depends on the order.
	shuffled := Manifest{Files: slices.Clone(m.Files), Carried: slices.Clone(m.Carried)}
	slices.Reverse(shuffled.Files)
	slices.Reverse(shuffled.Carried)
	if !bytes.Equal(encode(t, shuffled), data) || shuffled.Digest() != m.Digest() {
		t.Fatal("the encoding or the digest depends on the order")
	}
	if shuffled.Files[0].Path == m.Files[0].Path {
		t.Fatal("the caller's list was sorted")
	}
	// The digest covers only the files.
	if (Manifest{Files: m.Files}).Digest() != m.Digest() || manifestOf(999).Digest() == manifestOf(1000).Digest() {
		t.Fatal("the digest does not match the files")
	}
}

func TestEncodeManifestRefuses(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]Manifest{
		"a line break":  {Files: []File{{Path: "a\nb"}}},
		"twice":         {Files: files("a", "a")},
		"negative":      {Files: []File{{Path: "a", Size: -1}}},
		"carried twice": {Carried: []Carried{{File: File{Path: "a"}}, {File: File{Path: "a"}}}},
	} {
		if _, err := EncodeManifest(m); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func compress(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// badManifests is keyed by a part of the expected error.
func badManifests() map[string]string {
	sha := strings.Repeat("a", 64)
	head := manifestHeader + "\nfiles "
	return map[string]string{
		"unexpected EOF":               head + "1\n",
		"begins with":                  "troy manifest 2\nfiles 0\ncarried 0\n",
		"expected \"files\"":           manifestHeader + "\nfile 0\n",
		"at most 10":                   head + "11\n",
		"and a number":                 head + "-1\n",
		"64 hexadecimal":               head + "1\nabc 1 a\n",
		"is not a size":                head + "1\n" + sha + " x a\n",
		"out of order":                 head + "2\n" + sha + " 1 b\n" + sha + " 1 a\n",
		"the segment":                  head + "1\n" + sha + " 1 ../a\n",
		"unexpected data":              head + "0\ncarried 0\n!",
		"is not a time":                head + "0\ncarried 1\n" + sha + " 1 x a\n",
		"at most 1132":                 head + "1\n" + sha + " 1 " + strings.Repeat("a", 2000) + "\n",
		"buffer full":                  head + "1\n" + strings.Repeat("a", 200_000),
		"the path is empty":            head + "1\n" + sha + " 1 \n",
		"carried; expected at most 10": head + "0\ncarried 99\n",
	}
}

func TestDecodeManifestRefuses(t *testing.T) {
	t.Parallel()
	for says, text := range badManifests() {
		_, err := DecodeManifest(bytes.NewReader(compress(t, text)), Limits{Files: 10})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want an error with %q", err, says)
		}
	}
	if _, err := DecodeManifest(strings.NewReader("not zstd"), Limits{}); err == nil {
		t.Error("data that is not zstd was decoded")
	}
	data := encode(t, manifestOf(100))
	for n := range len(data) {
		if _, err := DecodeManifest(bytes.NewReader(data[:n]), Limits{}); err == nil {
			t.Fatalf("decoded with %d of %d bytes", n, len(data))
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	for _, text := range badManifests() {
		f.Add(compress(f, text))
	}
	m := manifestOf(3)
	m.Carried = []Carried{{File{"old.js", Digest{2}, 3}, 4}}
	f.Add(encode(f, m))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(bytes.NewReader(data), Limits{Files: 100})
		if err != nil {
			return
		}
		if len(m.Files) > 100 || len(m.Carried) > 100 {
			t.Fatalf("%d and %d files", len(m.Files), len(m.Carried))
		}
		again, err := DecodeManifest(bytes.NewReader(encode(t, m)), Limits{Files: 100})
		if err != nil || again.Digest() != m.Digest() {
			t.Fatalf("differs after a round trip: %v", err)
		}
	})
}

func BenchmarkDecodeManifest(b *testing.B) {
	data := encode(b, manifestOf(100_000))
	b.ReportMetric(float64(len(data)), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeManifest(bytes.NewReader(data), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeManifest(b *testing.B) {
	m := manifestOf(100_000)
	for b.Loop() {
		encode(b, m)
	}
}

func BenchmarkDigest(b *testing.B) {
	m := manifestOf(100_000)
	for b.Loop() {
		m.Digest()
	}
}
