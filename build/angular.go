package build

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// angularFile is the part of angular.json that says where the output is
// (angular.dev/reference/configs/workspace-config).
type angularFile struct {
	DefaultProject string                    `json:"defaultProject"`
	Projects       map[string]angularProject `json:"projects"`
}

type angularProject struct {
	Type      string                   `json:"projectType"`
	Architect map[string]angularTarget `json:"architect"`
	Targets   map[string]angularTarget `json:"targets"`
}

type angularTarget struct {
	Builder string `json:"builder"`
	Options struct {
		OutputPath any    `json:"outputPath"`
		OutputMode string `json:"outputMode"`
	} `json:"options"`
}

// angular reads angular.json. With several applications the defaults stay: the
// build decides which of them it makes.
func (c *configuration) angular(fsys fs.FS, root string) error {
	file := path.Join(root, "angular.json")
	data, err := readFile(fsys, file)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var content angularFile
	if json.Unmarshal(data, &content) != nil {
		return nil //nolint:nilerr // Angular reports the error, and accepts comments
	}
	var name string
	var target angularTarget
	applications := 0
	for project, p := range content.Projects {
		build, ok := p.Architect["build"]
		if !ok {
			build, ok = p.Targets["build"]
		}
		if !ok || p.Type == "library" {
			continue
		}
		if applications++; project == content.DefaultProject || applications == 1 {
			name, target = project, build
		}
	}
	if applications != 1 && (applications == 0 || name != content.DefaultProject) {
		return nil
	}
	if target.Options.OutputMode == "server" {
		c.server = fmt.Sprintf("outputMode: %q in %s", "server", file)
	}
	browser := ""
	if strings.HasSuffix(target.Builder, ":application") {
		browser = "browser"
	}
	folder := path.Join("dist", name)
	switch value := target.Options.OutputPath.(type) {
	case string:
		folder = value
	case map[string]any:
		if base, ok := value["base"].(string); ok {
			folder = base
		}
		if inside, ok := value["browser"].(string); ok {
			browser = inside
		}
	}
	if out, ok := place(root, "", folder, browser); ok {
		c.outputs, c.by = []string{out}, "outputPath in "+file
	}
	return nil
}
