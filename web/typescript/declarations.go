package main

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

const header = `// The types of Troy's HTTP API, generated from its OpenAPI document. DO NOT EDIT.

`

// document is the part of an OpenAPI document that has types. MapSlice keeps
// the order of the members.
type document struct {
	Paths      yaml.MapSlice `yaml:"paths"`
	Components struct {
		Parameters    map[string]parameter `yaml:"parameters"`
		RequestBodies map[string]body      `yaml:"requestBodies"`
		Responses     map[string]body      `yaml:"responses"`
		Schemas       yaml.MapSlice        `yaml:"schemas"`
	} `yaml:"components"`
}

type operation struct {
	ID          string        `yaml:"operationId"`
	Summary     string        `yaml:"summary"`
	Role        string        `yaml:"x-role"`
	Parameters  []parameter   `yaml:"parameters"`
	RequestBody *body         `yaml:"requestBody"`
	Responses   yaml.MapSlice `yaml:"responses"`
}

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name        string `yaml:"name"`
	In          string `yaml:"in"`
	Required    bool   `yaml:"required"`
	Description string `yaml:"description"`
	Schema      schema `yaml:"schema"`
}

// body is a request body or a response.
type body struct {
	Ref      string        `yaml:"$ref"`
	Required bool          `yaml:"required"`
	Content  yaml.MapSlice `yaml:"content"`
}

type media struct {
	Schema schema `yaml:"schema"`
}

// declarations returns the TypeScript of a document.
func declarations(text []byte) ([]byte, error) {
	var d document
	if err := yaml.UnmarshalWithOptions(text, &d, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(header)
	for _, item := range d.Components.Schemas {
		s, err := as[schema](item.Value)
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return nil, fmt.Errorf("schema %v: %w", item.Key, err)
		}
		comment(&out, "", s.Description)
		if s.object() {
			fmt.Fprintf(&out, "export interface %v %s\n\n", item.Key, s.typescript(""))
			continue
		}
		fmt.Fprintf(&out, "export type %v = %s;\n\n", item.Key, s.typescript(""))
	}
	comment(&out, "", "The operations of the API by their ids. An error is answered with a Problem.")
	out.WriteString("export interface Operations {\n")
	for _, item := range d.Paths {
		if err := d.path(&out, fmt.Sprint(item.Key), item.Value); err != nil {
			return nil, fmt.Errorf("path %v: %w", item.Key, err)
		}
	}
	out.WriteString("}\n")
	return out.Bytes(), nil
}

// as reads a part of the document into a type.
func as[T any](value any) (v T, err error) {
	text, err := yaml.Marshal(value)
	if err != nil {
		return v, err
	}
	return v, yaml.UnmarshalWithOptions(text, &v, yaml.UseOrderedMap())
}

func (d *document) path(out *bytes.Buffer, where string, value any) error {
	item, err := as[struct {
		Parameters []parameter `yaml:"parameters"`
	}](value)
	if err != nil {
		return err
	}
	members, ok := value.(yaml.MapSlice)
	if !ok {
		return errors.New("expected an object")
	}
	for _, m := range members {
		if m.Key == "parameters" {
			continue
		}
		o, err := as[operation](m.Value)
		if err != nil {
			return err
		}
		o.Parameters = slices.Concat(item.Parameters, o.Parameters)
		if err := d.operation(out, where, strings.ToUpper(fmt.Sprint(m.Key)), o); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) operation(out *bytes.Buffer, where, method string, o operation) error {
	said := o.Summary + "."
	if o.Role != "" {
		said += " The token needs the role " + o.Role + "."
	}
	comment(out, "  ", said)
	fmt.Fprintf(out, "  %s: {\n    method: %q;\n    route: %q;\n", o.ID, method, where)
	if err := d.parameters(out, o.Parameters); err != nil {
		return err
	}
	if o.RequestBody != nil {
		b := *o.RequestBody
		if b.Ref != "" {
			b = d.Components.RequestBodies[path.Base(b.Ref)]
		}
		types, err := content(b.Content)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "    body%s: %s;\n", optional(b.Required), strings.Join(types, " | "))
	}
	answer, err := d.answer(o.Responses)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "    answer: %s;\n  };\n", answer)
	return nil
}

// parameters writes those of the path, the query and the header as objects.
func (d *document) parameters(out *bytes.Buffer, all []parameter) error {
	for _, in := range []string{"path", "query", "header"} {
		var members schema
		required := false
		for _, p := range all {
			if p.Ref != "" {
				p = d.Components.Parameters[path.Base(p.Ref)]
			}
			if p.In != in {
				continue
			}
			if err := p.Schema.check(); err != nil {
				return fmt.Errorf("parameter %s: %w", p.Name, err)
			}
			p.Schema.Description = p.Description
			members.Properties = append(members.Properties, yaml.MapItem{Key: p.Name, Value: p.Schema})
			if p.Required {
				members.Required, required = append(members.Required, p.Name), true
			}
		}
		if len(members.Properties) > 0 {
			fmt.Fprintf(out, "    %s%s: %s;\n", in, optional(required), members.typescript("    "))
		}
	}
	return nil
}

// answer is the union of the bodies of successful answers.
func (d *document) answer(responses yaml.MapSlice) (string, error) {
	var all []string
	for _, item := range responses {
		if !strings.HasPrefix(fmt.Sprint(item.Key), "2") {
			continue
		}
		r, err := as[body](item.Value)
		if err != nil {
			return "", err
		}
		if r.Ref != "" {
			r = d.Components.Responses[path.Base(r.Ref)]
		}
		types, err := content(r.Content)
		if err != nil {
			return "", err
		}
		if len(types) == 0 {
			types = []string{"void"}
		}
		for _, t := range types {
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
	}
	return strings.Join(all, " | "), nil
}

// content returns the types of the media types of a body.
func content(c yaml.MapSlice) (types []string, err error) {
	for _, item := range c {
		kind := fmt.Sprint(item.Key)
		if kind == "application/octet-stream" {
			types = append(types, "Blob | ArrayBuffer")
			continue
		}
		m, err := as[media](item.Value)
		if err == nil {
			err = m.Schema.check()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		if t := m.Schema.typescript("    "); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types, nil
}

func optional(required bool) string {
	if required {
		return ""
	}
	return "?"
}

// comment writes a comment of one or more lines.
func comment(out *bytes.Buffer, indent, text string) {
	text = strings.ReplaceAll(strings.TrimSpace(text), "*/", "*\\/")
	if text == "" {
		return
	}
	if !strings.Contains(text, "\n") {
		fmt.Fprintf(out, "%s/** %s */\n", indent, text)
		return
	}
	fmt.Fprintf(out, "%s/**\n", indent)
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(out, "%s *%s\n", indent, strings.TrimRight(" "+line, " "))
	}
	fmt.Fprintf(out, "%s */\n", indent)
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
