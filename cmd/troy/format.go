package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"

	"github.com/troy-iaas/troy"
)

// useFormat parses the template of --format, if there is one.
func (a *app) useFormat() (err error) {
	if a.format == "" {
		return nil
	}
	a.json = true
	a.template, err = parseFormat(a.format)
	return err
}

// parseFormat parses the template of --format.
func parseFormat(text string) (*template.Template, error) {
	t, err := template.New("--format").Option("missingkey=error").Funcs(template.FuncMap{
		"join": func(sep string, list []any) string {
			texts := make([]string, len(list))
			for i, v := range list {
				texts[i] = fmt.Sprint(v)
			}
			return strings.Join(texts, sep)
		},
		"json": func(v any) (string, error) {
			text, err := json.Marshal(v)
			return string(text), err
		},
	}).Parse(text)
	if err != nil {
		message := strings.TrimPrefix(err.Error(), "template: --format:")
		return nil, troy.Errorf(troy.Invalid, "it is not a valid template: %s", message).At("--format")
	}
	return t, nil
}

// printFormatted prints a value, or each item of a list, with the template, each
// followed by a line end.
func printFormatted(w io.Writer, t *template.Template, v any) error {
	data, err := fieldsOf(v)
	if err != nil {
		return err
	}
	items, isList := data.([]any)
	if !isList {
		items = []any{data}
	}
	var text bytes.Buffer
	for _, item := range items {
		if err := t.Execute(&text, item); err != nil {
			return badField(err, item)
		}
		text.WriteByte('\n')
	}
	_, err = w.Write(text.Bytes())
	return err
}

// badField lists the fields that a template can use.
func badField(err error, item any) error {
	message := err.Error()
	if _, cause, ok := strings.Cut(message, ": executing "); ok {
		message = "executing " + cause
	}
	e := troy.Errorf(troy.Invalid, "%s", message).At("--format")
	if fields, ok := item.(map[string]any); ok {
		e.Details = []string{"the fields are ." + strings.Join(slices.Sorted(maps.Keys(fields)), ", .")}
	}
	return e
}

// fieldsOf returns the fields of a value's JSON. Fields that the JSON omits
// because they are empty are "", and whole numbers are int64.
func fieldsOf(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	return complete(reflect.TypeOf(v), out), nil
}

func complete(t reflect.Type, v any) any {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = complete(elementOf(t), v[i])
		}
	case map[string]any:
		completeFields(t, v)
	}
	return v
}

func elementOf(t reflect.Type) reflect.Type {
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		return t.Elem()
	}
	return nil
}

func completeFields(t reflect.Type, fields map[string]any) {
	types := map[string]reflect.Type{}
	if t != nil && t.Kind() == reflect.Struct {
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "-" {
				types[name] = f.Type
			}
		}
	}
	for name := range types {
		if fields[name] == nil {
			fields[name] = empty(types[name])
		}
	}
	for name, v := range fields {
		fields[name] = complete(types[name], v)
	}
}

// empty returns the value that a template sees for an empty field.
func empty(t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice {
		return []any{}
	}
	if t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Tag.Get("json") != "" {
		return map[string]any{} // completed by the caller
	}
	return ""
}
