package intake

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
)

// DecodeJSON reads one JSON value into v. It requires exact names that appear
// once, only known members, UTF-8 and no trailing data. It returns a
// *troy.Error of kind Invalid with the field ("files[3].path"), or an error of
// r unchanged.
func DecodeJSON(r io.Reader, v any) error {
	source := &source{r: r}
	err := json.UnmarshalRead(source, v, json.RejectUnknownMembers(true))
	switch {
	case err == nil:
		return nil
	case source.err != nil:
		return source.err
	case source.empty:
		return troy.Errorf(troy.Invalid, "the body is empty; expected a JSON object")
	}
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Kind == troy.TooLarge {
		return e // of a type that bounds itself
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return semantic(e).At(field(e.JSONPointer))
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return troy.Errorf(troy.Invalid, "the field appears twice").At(field(e.JSONPointer))
		}
		return troy.Errorf(troy.Invalid, "the body is not valid JSON at byte %d", e.ByteOffset).At(field(e.JSONPointer))
	}
	return troy.Errorf(troy.Invalid, "the body is not valid JSON")
}

// semantic describes a wrong value without Go's names.
func semantic(e *json.SemanticError) *troy.Error {
	if errors.Is(e, json.ErrUnknownName) {
		return troy.Errorf(troy.Invalid, "the field is unknown")
	}
	if e.Err != nil && e.JSONKind == '"' {
		if known, ok := errors.AsType[*troy.Error](e.Err); ok {
			return troy.Errorf(troy.Invalid, "%s", known.Message)
		}
	}
	if want := wanted(e.GoType); want != "" {
		return troy.Errorf(troy.Invalid, "expected %s, got %s", want, given(e.JSONKind))
	}
	return troy.Errorf(troy.Invalid, "the value is not valid")
}

// given names the kind of a JSON value.
func given(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "another value"
}

// wanted names the JSON values that a Go type accepts.
func wanted(t reflect.Type) string {
	if t == nil {
		return ""
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.String() {
	case "time.Time":
		return `a time like "2026-01-02T15:04:05Z" (RFC 3339)`
	case "uuid.UUID":
		return "an id (UUID)"
	case "site.Digest":
		return "a SHA-256 of 64 lower-case hexadecimal digits"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	}
	return ""
}

// field formats a JSON pointer (RFC 6901) as the API names fields:
// "files[3].path".
func field(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		token = troy.Clip(token)
		if token != "" && strings.Trim(token, "0123456789") == "" {
			fmt.Fprintf(&b, "[%s]", token)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}

// source records the reader's error, to tell it from an error in the text.
type source struct {
	r     io.Reader
	err   error
	empty bool
	some  bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.some = s.some || n > 0
	s.empty = !s.some
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Maximum lengths of texts from outside, in characters.
const (
	maxID      = 128
	maxName    = 200
	maxMessage = 1000
	maxRef     = 255
	maxRoot    = 1024
)

// CheckMessage checks a deployment's message: at most 1,000 characters, and no
// control characters except line ends and tabs.
func CheckMessage(s string) error {
	if s == "" {
		return nil
	}
	if n := utf8.RuneCountInString(s); n > maxMessage {
		return troy.Errorf(troy.Invalid, "the text has %d characters; expected at most %d", n, maxMessage).At("message")
	}
	return troy.CheckText("message", strings.NewReplacer("\n", ".", "\r", ".", "\t", ".").Replace(s)+".", maxMessage+1)
}
