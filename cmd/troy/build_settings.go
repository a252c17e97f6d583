package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/pflag"

	"github.com/troy-iaas/troy"
)

// addBuildSettings adds a flag for each field of troy.BuildSettings. The
// returned function returns the values of the given flags by their JSON names.
func addBuildSettings(flags *pflag.FlagSet) (given func() map[string]any) {
	var s troy.BuildSettings
	v := reflect.ValueOf(&s).Elem()
	for field, value := range v.Fields() {
		help := field.Tag.Get("help")
		switch p := value.Addr().Interface().(type) {
		case *string:
			flags.StringVar(p, field.Tag.Get("flag"), "", quoteArgument(help, field.Tag.Get("arg")))
		case *bool:
			flags.BoolVar(p, field.Tag.Get("flag"), false, help)
		case *int:
			flags.IntVar(p, field.Tag.Get("flag"), 0, quoteArgument(help, field.Tag.Get("arg")))
		default:
			panic(fmt.Sprintf("a flag can't set the field %s", field.Name))
		}
	}
	return func() map[string]any {
		var values map[string]any
		for field, value := range v.Fields() {
			if !flags.Changed(field.Tag.Get("flag")) {
				continue
			}
			if values == nil {
				values = map[string]any{}
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			values[name] = value.Interface()
		}
		return values
	}
}

// quoteArgument marks the name of a flag's argument in its help, in pflag's
// form.
func quoteArgument(help, argument string) string {
	return strings.Replace(help, argument, "`"+argument+"`", 1)
}

// buildSettingFields returns the fields of a view that show build settings.
func buildSettingFields(s troy.BuildSettings) (fields []field) {
	for f, value := range reflect.ValueOf(s).Fields() {
		text := ""
		if !value.IsZero() {
			text = fmt.Sprint(value.Interface())
		}
		if value.Kind() == reflect.Bool && text != "" {
			text = "yes"
		}
		fields = append(fields, field{f.Tag.Get("label"), text})
	}
	return fields
}
