package main

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// schema is a JSON schema with the keywords that the document uses.
type schema struct {
	Ref                  string
	Types                []string
	Description          string
	Enum                 []any
	Required             []string
	Properties           yaml.MapSlice
	AdditionalProperties any
	Items                *schema
	OneOf                []schema

	unknown []string // keywords that have no type here
}

// noType are the keywords that restrict values and change no type.
var noType = []string{"format", "default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "examples"}

// UnmarshalYAML reads each keyword, so that none is overlooked.
func (s *schema) UnmarshalYAML(text []byte) error {
	var members yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &members, yaml.UseOrderedMap()); err != nil {
		return err
	}
	for _, m := range members {
		if err := s.keyword(fmt.Sprint(m.Key), m.Value); err != nil {
			return fmt.Errorf("%v: %w", m.Key, err)
		}
	}
	return nil
}

func (s *schema) keyword(name string, value any) (err error) {
	switch name {
	case "$ref":
		s.Ref = fmt.Sprint(value)
	case "description":
		s.Description = fmt.Sprint(value)
	case "type":
		s.Types, err = texts(value)
	case "enum":
		s.Enum, _ = value.([]any)
	case "required":
		s.Required, err = texts(value)
	case "properties":
		properties, ok := value.(yaml.MapSlice)
		if !ok {
			return errors.New("expected an object")
		}
		for _, p := range properties {
			one, err := as[schema](p.Value)
			if err != nil {
				return err
			}
			s.Properties = append(s.Properties, yaml.MapItem{Key: p.Key, Value: one})
		}
	case "additionalProperties":
		s.AdditionalProperties = value
		if _, ok := value.(bool); !ok {
			s.AdditionalProperties, err = as[schema](value)
		}
	case "items":
		s.Items = new(schema)
		*s.Items, err = as[schema](value)
	case "oneOf":
		s.OneOf, err = as[[]schema](value)
	default:
		if !slices.Contains(noType, name) {
			s.unknown = append(s.unknown, name)
		}
	}
	return err
}

// texts reads a text or a list of texts.
func texts(value any) ([]string, error) {
	if one, ok := value.(string); ok {
		return []string{one}, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, errors.New("expected a text or a list of texts")
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = fmt.Sprint(v)
	}
	return out, nil
}

// check refuses keywords that would change the type and are not known here.
func (s schema) check() error {
	if len(s.unknown) > 0 {
		return fmt.Errorf("the keyword %s has no translation", s.unknown[0])
	}
	for _, p := range s.Properties {
		if err := p.Value.(schema).check(); err != nil {
			return fmt.Errorf("%v: %w", p.Key, err)
		}
	}
	if s.Items != nil {
		if err := s.Items.check(); err != nil {
			return err
		}
	}
	for _, one := range s.OneOf {
		if err := one.check(); err != nil {
			return err
		}
	}
	return nil
}

// object reports whether the type is an object and nothing else.
func (s schema) object() bool {
	return len(s.Types) == 1 && s.Types[0] == "object" && len(s.Properties) > 0
}

// typescript returns the type. indent is that of its first line.
func (s schema) typescript(indent string) string {
	switch {
	case s.Ref != "":
		return path.Base(s.Ref)
	case len(s.Enum) > 0:
		return joined(s.Enum, func(v any) string { return fmt.Sprintf("%q", v) })
	case len(s.OneOf) > 0:
		return joined(s.OneOf, func(one schema) string { return one.typescript(indent) })
	case len(s.Types) == 0 && len(s.Properties) == 0:
		return "unknown"
	case len(s.Types) == 0:
		return s.members(indent)
	}
	return joined(s.Types, func(kind string) string { return s.one(kind, indent) })
}

// one returns the type for one of the schema's types.
func (s schema) one(kind, indent string) string {
	switch {
	case kind == "integer":
		return "number"
	case kind == "array" && s.Items == nil:
		return "unknown[]"
	case kind == "array":
		if item := s.Items.typescript(indent); !strings.ContainsAny(item, " ") {
			return item + "[]"
		}
		return "Array<" + s.Items.typescript(indent) + ">"
	case kind != "object":
		return kind
	case len(s.Properties) > 0:
		return s.members(indent)
	case s.AdditionalProperties == false:
		return "Record<string, never>"
	}
	if values, ok := s.AdditionalProperties.(schema); ok {
		return "Record<string, " + values.typescript(indent) + ">"
	}
	return "Record<string, unknown>"
}

func (s schema) members(indent string) string {
	var out bytes.Buffer
	out.WriteString("{\n")
	for _, p := range s.Properties {
		name, value := fmt.Sprint(p.Key), p.Value.(schema)
		comment(&out, indent+"  ", value.Description)
		shown := name
		if !identifier.MatchString(name) {
			shown = fmt.Sprintf("%q", name)
		}
		fmt.Fprintf(&out, "%s  %s%s: %s;\n", indent, shown, optional(slices.Contains(s.Required, name)), value.typescript(indent+"  "))
	}
	out.WriteString(indent + "}")
	return out.String()
}

func joined[T any](list []T, text func(T) string) string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = text(one)
	}
	return strings.Join(all, " | ")
}
