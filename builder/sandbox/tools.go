package sandbox

import (
	"maps"
	"path"
	"path/filepath"
	"slices"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder/toolchain"
)

// toolsFolder is where an isolated build sees its tools.
const toolsFolder = "/build/tools"

// tools chooses the build's tools and says which they are.
func (r *run) tools(plan build.Plan) (*toolchain.Set, error) {
	if r.b.cfg.Tools == nil {
		return &toolchain.Set{}, nil
	}
	variables := maps.Clone(plan.Environment)
	if variables == nil {
		variables = map[string]string{}
	}
	maps.Copy(variables, r.spec.Variables)
	tools, err := plan.ToolsWith(variables, r.b.cfg.Environment)
	if err != nil {
		return nil, err
	}
	return r.b.cfg.Tools.Prepare(r.ctx, tools, r.b.programFolders(), func(sentence string) { r.log.say("%s", sentence) })
}

// toolPath puts the folders of tools before those of the machine: first those
// of the store, then those of the machine's chosen programs. at returns the
// folder of a tool in the store as the build sees it.
func toolPath(tools []toolchain.Ready, at func(toolchain.Ready) string, machine []string) []string {
	var stored, own []string
	for _, tool := range tools {
		if tool.Dir != "" {
			stored = append(stored, path.Join(at(tool), tool.Bin))
		} else if !slices.Contains(own, tool.Folder) && firstWith(tool, machine) != tool.Folder {
			own = append(own, tool.Folder)
		}
	}
	return slices.Concat(stored, own, machine)
}

// firstWith returns the folder in which a build would find a program.
func firstWith(tool toolchain.Ready, folders []string) string {
	if file := findProgram(toolchain.Program(tool.Name), folders); file != "" {
		return filepath.Dir(file)
	}
	return ""
}
