package codebuild

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
)

// imageNodes returns the major versions of Node.js in CodeBuild's standard
// images, the newest first
// (docs.aws.amazon.com/codebuild/latest/userguide/available-runtimes.html).
func imageNodes() []uint64 { return []uint64{24, 22, 20, 18} }

// findNode chooses the version of Node.js in the image, "" for its default, and
// says what decided it. All other tools are the image's.
func findNode(plan build.Plan, spec builder.Spec, every settings) (major, said string, err error) {
	variables := map[string]string{}
	maps.Copy(variables, plan.Environment)
	maps.Copy(variables, spec.Variables)
	tools, err := plan.ToolsWith(variables, every.environment)
	if err != nil {
		return "", "", err
	}
	for _, tool := range tools {
		if tool.Name != "node" || tool.By == "" {
			continue
		}
		found, ok := tool.Range.MajorOf(imageNodes(), time.Now())
		if !ok {
			return "", fmt.Sprintf("%s asks for Node.js %s, which CodeBuild's images do not have; the image's own version is used.", tool.By, tool.Text), nil
		}
		major = strconv.FormatUint(found, 10)
		return major, fmt.Sprintf("Node.js %s of CodeBuild's image, from %s (%s).", major, tool.By, tool.Text), nil
	}
	return "", "", nil
}
