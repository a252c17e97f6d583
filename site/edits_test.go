package site

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

// randomFiles returns a valid list without any order.
func randomFiles(random *rand.Rand) []File {
	var files []File
	seen := map[string]bool{}
	for range random.IntN(60) {
		p := fmt.Sprintf("%c/%c%d.html", 'a'+random.IntN(3), 'a'+random.IntN(3), random.IntN(10))
		if !seen[p] {
			seen[p] = true
			size := random.IntN(5)
			files = append(files, File{Path: p, SHA256: Digest{byte(random.IntN(3)), byte(size)}, Size: int64(size)})
		}
	}
	return append(files, File{Path: "index.html", SHA256: Digest{9}, Size: 9})
}

// TestEditsLeadToTheSameList applies the differences of random lists. The result
// is what a whole list is, byte for byte.
func TestEditsLeadToTheSameList(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		base, err := Manifest{Files: randomFiles(random)}.Checked(Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want := Manifest{Files: randomFiles(random)}.Sorted()
		e := Differences(base.Files, want.Files)
		random.Shuffle(len(e.Put), func(i, j int) { e.Put[i], e.Put[j] = e.Put[j], e.Put[i] })
		random.Shuffle(len(e.Removed), func(i, j int) { e.Removed[i], e.Removed[j] = e.Removed[j], e.Removed[i] })
		before := slices.Clone(base.Files)
		got, err := base.Edit(e, Limits{})
		if err != nil {
			t.Fatalf("%v: %+v", err, e)
		}
		if !slices.Equal(got.Files, want.Files) || got.Digest() != want.Digest() || !bytes.Equal(encode(t, got), encode(t, want)) {
			t.Fatalf("%v and %+v lead to %v, want %v", base.Files, e, got.Files, want.Files)
		}
		if !slices.Equal(base.Files, before) {
			t.Fatal("the base was changed")
		}
	}
}

// TestEditsKeepOnlyFiles edits a list that is not sorted, of a manifest that has
// more than files.
func TestEditsKeepOnlyFiles(t *testing.T) {
	t.Parallel()
	a, b, c := File{"a", Digest{1}, 1}, File{"b", Digest{2}, 2}, File{"c", Digest{3}, 3}
	base := Manifest{Files: []File{c, a}, Carried: []Carried{{File: b}}, TrailingSlash: SlashAlways, Rules: []byte("{}")}
	got, err := base.Edit(Edits{Put: []File{b}, Removed: []string{"a"}}, Limits{})
	if want := (Manifest{Files: []File{b, c}}); err != nil || !bytes.Equal(encode(t, got), encode(t, want)) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// TestEditsAreCheckedAsLists compares the errors of random edits, most of which
// lead to no valid list, with those of whole lists.
func TestEditsAreCheckedAsLists(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	limits := Limits{Files: 8, FileBytes: 4, TotalBytes: 20}
	names := []string{"a", "a/b", "a/b/c", "ab", "a-b", "b", "b/../c", "", "/x", "c", "d", "e", "f", "g", "h"}
	bad := 0
	for range 20_000 {
		base := Manifest{Files: []File{{"b", Digest{1}, 1}, {"c", Digest{2}, 2}, {"d", Digest{3}, 3}, {"e", Digest{1}, 1}}}
		var e Edits
		for range random.IntN(6) {
			size := int64(random.IntN(7) - 1)
			e.Put = append(e.Put, File{names[random.IntN(len(names))], Digest{byte(random.IntN(4))}, size})
		}
		for range random.IntN(3) {
			e.Removed = append(e.Removed, []string{"b", "c", "d", "e"}[random.IntN(4)])
		}
		// The whole list, in which a path that is put twice is twice.
		var whole []File
		wrong := false
		for _, f := range base.Files {
			removed := slices.Contains(e.Removed, f.Path)
			put := slices.ContainsFunc(e.Put, func(p File) bool { return p.Path == f.Path })
			wrong = wrong || removed && put
			if !removed && !put {
				whole = append(whole, f)
			}
		}
		whole = append(whole, e.Put...)
		slices.Sort(e.Removed)
		wrong = wrong || len(slices.Compact(slices.Clone(e.Removed))) < len(e.Removed)
		want := CheckFiles(whole, limits)
		got, err := base.Edit(e, limits)
		if (err != nil) != (want != nil || wrong) {
			t.Fatalf("%+v: %v, want %v", e, err, want)
		}
		if err != nil {
			bad++
			continue
		}
		if all := (Manifest{Files: whole}).Sorted().Files; !slices.Equal(got.Files, all) {
			t.Fatalf("%+v: %v, want %v", e, got.Files, all)
		}
	}
	if bad < 1000 || bad > 19_000 {
		t.Errorf("%d of 20,000 edits are bad", bad)
	}
}

func TestBadEdits(t *testing.T) {
	t.Parallel()
	base := Manifest{Files: []File{{"a/b", Digest{1}, 1}, {"c", Digest{2}, 2}, {"d", Digest{3}, 30}}}
	limits := Limits{Files: 4, FileBytes: 20, TotalBytes: 35}
	long := strings.Repeat("x", MaxPath+1)
	for name, test := range map[string]struct {
		edits        Edits
		kind         troy.ErrorKind
		field, words string
	}{
		"a bad path":               {Edits{Put: []File{{"e", Digest{4}, 1}, {"../x", Digest{5}, 1}}}, troy.Invalid, "files[1].path", `segment ".."`},
		"twice":                    {Edits{Put: []File{{"e", Digest{4}, 1}, {"f", Digest{4}, 1}, {"e", Digest{4}, 1}}}, troy.Invalid, "files[2].path", "twice"},
		"a folder as a file":       {Edits{Put: []File{{"a", Digest{4}, 1}}, Removed: []string{"d"}}, troy.Invalid, "files", `"a" is a file`},
		"a file as a folder":       {Edits{Put: []File{{"c/x", Digest{4}, 1}}, Removed: []string{"d"}}, troy.Invalid, "files[0].path", `"c" is a file`},
		"too many":                 {Edits{Put: []File{{"e", Digest{4}, 1}, {"f", Digest{4}, 1}}}, troy.TooLarge, "files", "5 files"},
		"far too many":             {Edits{Put: make([]File, 5)}, troy.TooLarge, "files", "5 files"},
		"a file of the base":       {Edits{Put: []File{{"e", Digest{4}, 1}}}, troy.TooLarge, "base", `"d" has 30 bytes`},
		"all together":             {Edits{Put: []File{{"d", Digest{4}, 20}, {"e", Digest{5}, 20}}}, troy.TooLarge, "files[1].size", "limit of 35"},
		"a negative size":          {Edits{Put: []File{{"d", Digest{4}, -1}}}, troy.Invalid, "files[0].size", "-1"},
		"two sizes":                {Edits{Put: []File{{"d", Digest{1}, 2}}}, troy.Invalid, "files[0].size", "same SHA-256"},
		"two sizes among the new":  {Edits{Put: []File{{"d", Digest{4}, 2}, {"e", Digest{4}, 3}}}, troy.Invalid, "files[1].size", "same SHA-256"},
		"removed twice":            {Edits{Removed: []string{"c", "d", "c"}}, troy.Invalid, "removed[2]", "twice"},
		"removed, not there":       {Edits{Removed: []string{"d", "b"}}, troy.Invalid, "removed[1]", `no file "b"`},
		"removed behind the last":  {Edits{Removed: []string{"d", "z"}}, troy.Invalid, "removed[1]", `no file "z"`},
		"removed, with a bad path": {Edits{Removed: []string{long}}, troy.Invalid, "removed[0]", "1025 bytes"},
		"removed and put":          {Edits{Put: []File{{"c", Digest{4}, 1}}, Removed: []string{"c"}}, troy.Invalid, "removed[0]", "in files, too"},
		"everything":               {Edits{Removed: []string{"a/b", "c", "d"}}, troy.Invalid, "removed", "no files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := base.Edit(test.edits, limits)
			e, ok := err.(*troy.Error) //nolint:errorlint // it is not wrapped
			if !ok || e.Kind != test.kind || e.Field != test.field || !strings.Contains(e.Error(), test.words) {
				t.Errorf("%v; want a %v error at %s with %q", err, test.kind, test.field, test.words)
			}
		})
	}
}

// TestFixedManifests compares what a manifest remembers of its list with what it
// computes without.
func TestFixedManifests(t *testing.T) {
	t.Parallel()
	plain := manifestOf(2*filesInFrame + 3)
	fixed := plain.Fixed()
	for range 2 {
		if fixed.Digest() != plain.Digest() || !bytes.Equal(encode(t, fixed), encode(t, plain)) {
			t.Fatal("a fixed manifest has another digest or encoding")
		}
	}
	// What is remembered is only of that list.
	other := fixed
	other.Files = other.Files[:filesInFrame]
	other.Rules = []byte("{}")
	want := Manifest{Files: plain.Files[:filesInFrame], Rules: []byte("{}")}
	if other.Digest() != want.Digest() || !bytes.Equal(encode(t, other), encode(t, want)) {
		t.Error("a part of a list has the digest or the encoding of the whole")
	}
	got, err := DecodeManifest(bytes.NewReader(encode(t, fixed)), Limits{})
	if err != nil || !slices.Equal(got.Files, plain.Files) {
		t.Errorf("%d files are decoded: %v", len(got.Files), err)
	}
	// The first file of a frame may not repeat the last one of the frame before.
	twice := Manifest{Files: slices.Insert(slices.Clone(plain.Files), filesInFrame, plain.Files[filesInFrame-1])}
	if _, err := EncodeManifest(twice); troy.KindOf(err) != troy.Invalid {
		t.Errorf("a path that appears twice: %v", err)
	}

	checked, err := plain.Checked(Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checked.Checked(Limits{Files: 10}); troy.KindOf(err) != troy.TooLarge {
		t.Errorf("with a lower limit: %v", err)
	}
}

// TestCollisionsInAnyOrder compares the check of a sorted list with that of an
// unsorted one.
func TestCollisionsInAnyOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, 12))
	bad := 0
	for range 20_000 {
		list := make([]File, 1+random.IntN(6))
		for i := range list {
			var b strings.Builder
			for range 1 + random.IntN(5) {
				b.WriteByte("ab-/"[random.IntN(4)])
			}
			list[i].Path = b.String()
		}
		_, want := checkUnsorted(list)
		_, unsorted := checkCollisions(list)
		_, sorted := checkCollisions(Manifest{Files: list}.Sorted().Files)
		if (sorted == nil) != (want == nil) || (unsorted == nil) != (want == nil) {
			t.Fatalf("%v: %v sorted, %v unsorted, want %v", list, sorted, unsorted, want)
		}
		if want != nil {
			bad++
		}
	}
	if bad < 1000 || bad > 19_000 {
		t.Errorf("%d of 20,000 lists are bad", bad)
	}
}
