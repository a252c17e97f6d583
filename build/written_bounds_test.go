package build

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestTopmostOfMany sorts the maximum number of folders, none of them inside
// another.
func TestTopmostOfMany(t *testing.T) {
	t.Parallel()
	names := make([]string, 0, maxWritten)
	for i := range maxWritten / 2 {
		names = append(names, fmt.Sprintf("%06d", i), fmt.Sprintf("%06d/inside", i))
	}
	begun := time.Now()
	if got := topmost(names); len(got) != maxWritten/2 || got[1] != "000001" {
		t.Fatalf("%d are topmost, want %d", len(got), maxWritten/2)
	}
	t.Logf("%d names in %s", len(names), time.Since(begun))
	if got, want := topmost([]string{"a/b", "a-b", "a", "b/c/d", "b/c"}), []string{"a", "a-b", "b/c"}; !slices.Equal(got, want) {
		t.Fatalf("topmost: %q, want %q", got, want)
	}
}
