package codebuild

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
)

// TestFindNode chooses among the versions of Node.js that the image has.
func TestFindNode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		nvmrc     string
		variables map[string]string
		operator  map[string]string
		want      string
		says      string
	}{
		"nothing":        {"", nil, nil, "", ""},
		"a version":      {"v22.11.0", nil, nil, "22", "Node.js 22 of CodeBuild's image, from .nvmrc (v22.11.0)."},
		"a range":        {">=18 <24", nil, nil, "22", "from .nvmrc (>=18 <24)"},
		"too old":        {"16", nil, nil, "", ".nvmrc asks for Node.js 16, which CodeBuild's images do not have"},
		"a variable":     {"22", map[string]string{"NODE_VERSION": "20"}, nil, "20", "from the variable NODE_VERSION (20)"},
		"the operator's": {"", nil, map[string]string{"NODE_VERSION": "18"}, "18", "the operator's variable"},
	} {
		files := fstest.MapFS{"package.json": {Data: []byte(`{"scripts":{"build":"x"}}`), Mode: 0o644}}
		if c.nvmrc != "" {
			files[".nvmrc"] = &fstest.MapFile{Data: []byte(c.nvmrc), Mode: 0o644}
		}
		plan, err := build.Decide(files, build.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		major, said, err := findNode(plan, builder.Spec{Variables: c.variables}, settings{environment: c.operator})
		if err != nil || major != c.want || !strings.Contains(said, c.says) || (said == "") != (c.says == "") {
			t.Errorf("%s: %q, %q, %v, want %q, %q", name, major, said, err, c.want, c.says)
		}
	}
	if _, _, err := findNode(build.Plan{Tools: []build.Tool{{Name: "node"}}}, builder.Spec{Variables: map[string]string{"NODE_VERSION": "two"}}, settings{}); err == nil {
		t.Error("a variable that is not a version is accepted")
	}
	spec, err := buildspec("22")
	if err != nil || !strings.Contains(spec, `"runtime-versions":{"nodejs":"22"}`) {
		t.Errorf("the buildspec is %s, %v", spec, err)
	}
	if spec, err = buildspec(""); err != nil || strings.Contains(spec, "runtime-versions") {
		t.Errorf("the buildspec is %s, %v", spec, err)
	}
}
