package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// references collects the references in a template's functions.
type references struct {
	t     *testing.T
	names []string // "SitesBucket", "SitesBucket.Arn"
}

var substituted = regexp.MustCompile(`\$\{([^}]+)\}`)

// Visit implements ast.Visitor.
func (r *references) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		r.t.Errorf("line %d: CloudFormation supports no anchors, aliases or merges", n.GetToken().Position.Line)
	case *ast.TagNode:
		text := strings.Trim(n.Value.String(), `"`)
		switch n.Start.Value {
		case "!Ref", "!GetAtt":
			r.names = append(r.names, text)
		case "!Sub":
			for _, m := range substituted.FindAllStringSubmatch(text, -1) {
				r.names = append(r.names, m[1])
			}
		}
	}
	return r
}

// TestTemplate checks deploy/aws/troy.yaml against itself, the settings and its
// page, without CloudFormation.
func TestTemplate(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/aws/troy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Parameters map[string]any `yaml:"Parameters"`
		Resources  map[string]any `yaml:"Resources"`
		Outputs    map[string]struct {
			Description string `yaml:"Description"`
		} `yaml:"Outputs"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := &references{t: t}
	for _, doc := range file.Docs {
		ast.Walk(found, doc.Body)
	}
	if len(found.names) < 25 {
		t.Errorf("only %d references were found: %q", len(found.names), found.names)
	}
	for _, name := range found.names {
		resource, _, attribute := strings.Cut(name, ".")
		_, isResource := template.Resources[resource]
		_, isParameter := template.Parameters[resource]
		if !isResource && !strings.HasPrefix(name, "AWS::") && (!isParameter || attribute) {
			t.Errorf("the template refers to %s, which it does not define", name)
		}
	}
	settings := map[string]bool{}
	for field := range reflect.TypeFor[config]().Fields() {
		settings[field.Tag.Get("env")] = true
	}
	named := regexp.MustCompile(`TROY_[A-Z0-9_]+`)
	for output, o := range template.Outputs {
		setting := named.FindString(o.Description)
		if setting == "" {
			t.Errorf("the output %s names no setting", output)
		}
		if !settings[setting] {
			t.Errorf("the output %s is for %s, which is not a setting", output, setting)
		}
	}
	for _, setting := range []string{
		"TROY_AWS_SITES_BUCKET", "TROY_AWS_WORK_BUCKET", "TROY_AWS_ZONE", "TROY_AWS_CERTIFICATE", "TROY_AWS_POINTER_STORE",
		"TROY_AWS_APPS_QUEUE", "TROY_AWS_BUILDS_QUEUE", "TROY_AWS_PROJECT", "TROY_SNS_TOPICS",
	} {
		if !strings.Contains(string(text), "Description: "+setting+"}") {
			t.Errorf("no output is for %s", setting)
		}
	}

	// EventBridge does not deliver to a topic whose policy has a condition.
	begin := strings.Index(string(text), "  BuildUpdatesPolicy:")
	if policy, _, _ := strings.Cut(string(text)[begin:], "  BuildUpdatesRule:"); begin < 0 || strings.Contains(policy, "Condition") {
		t.Errorf("the policy of the updates' topic has a condition:\n%s", policy)
	}

	// A build can read and write its own files alone: those of caches are not
	// its own.
	role, _, _ := strings.Cut(string(text)[strings.Index(string(text), "  BuildRole:"):], "  BuildLogs:")
	if objects := regexp.MustCompile(`\$\{WorkBucket\.Arn\}/\S*`).FindAllString(role, -1); !slices.Equal(objects, []string{`${WorkBucket.Arn}/builds/*"`}) || strings.Contains(role, `"*"`) {
		t.Errorf("the role of builds may use the objects %q:\n%s", objects, role)
	}

	// The page explains every permission of the roles, and no others.
	manual, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	action := regexp.MustCompile(`\b(acm|cloudfront|cloudfront-keyvaluestore|codebuild|logs|route53|s3|servicequotas|sns|sqs):[A-Z]\w+`)
	policies := string(text[strings.Index(string(text), "# ---- What Troy may do"):])
	actions := action.FindAllString(policies, -1)
	if len(actions) < 20 {
		t.Errorf("only %d actions were found", len(actions))
	}
	for _, a := range actions {
		if !strings.Contains(string(manual), "`"+a+"`") {
			t.Errorf("docs/aws.md does not say what %s is for", a)
		}
	}
	for _, a := range action.FindAllString(string(manual), -1) {
		if !slices.Contains(actions, a) {
			t.Errorf("docs/aws.md explains %s, which no role may use", a)
		}
	}
}
