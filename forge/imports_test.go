package forge_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestForgesKnowNoOther checks that a forge's package imports only the shared
// packages, and no other forge.
func TestForgesKnowNoOther(t *testing.T) {
	t.Parallel()
	const module = "github.com/troy-iaas/troy/forge/"
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			other, below := strings.CutPrefix(path, module)
			if below && !slices.Contains([]string{"payload", "forgetest", filepath.Dir(file)}, other) {
				t.Errorf("%s imports the forge %s", file, other)
			}
		}
	}
}
