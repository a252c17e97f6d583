// Package payload reads forges' messages, which are untrusted JSON. It checks
// the fields that events use, and makes texts fit to be stored and shown. The
// packages of the forges call it.
package payload

import (
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
)

// MaxHeader, MaxName and MaxTitle are the maximum lengths of a forge's texts in
// characters.
const (
	MaxHeader = 128
	MaxName   = 255
	MaxTitle  = 255

	maxURL = 1000 // in bytes
)

// Decode reads a forge's JSON. It ignores unused members, since the forge's
// schema grows, and replaces bytes that are not UTF-8, which commits sometimes
// have, by U+FFFD. Errors are *troy.Error of kind Invalid with the field; they
// never quote the body.
func Decode(body []byte, v any) error {
	err := json.Unmarshal(body, v, jsontext.AllowInvalidUTF8(true))
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return troy.Errorf(troy.Invalid, "the value has the wrong type").At(field(e.JSONPointer))
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return troy.Errorf(troy.Invalid, "the body is not valid JSON at byte %d", e.ByteOffset)
	}
	return troy.Errorf(troy.Invalid, "the body is not valid JSON")
}

// field converts a JSON pointer (RFC 6901) to "push.changes[3].new".
func field(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return Clean(b.String(), MaxName)
}

// Text is a member that is a string in known events and may have any type in
// others.
func Text(v jsontext.Value) string {
	if v.Kind() != '"' {
		return ""
	}
	var s string
	if err := Decode(v, &s); err != nil {
		return ""
	}
	return s
}

// Checker checks fields. Err names the first invalid one.
type Checker struct{ Err error }

// Fail records that a field is invalid, unless an earlier one was.
func (c *Checker) Fail(field, format string, args ...any) {
	if c.Err == nil {
		c.Err = troy.Errorf(troy.Invalid, format, args...).At(field)
	}
}

// Line is a required text of one line.
func (c *Checker) Line(field, s string, most int) string {
	switch n := utf8.RuneCountInString(s); {
	case strings.TrimSpace(s) == "":
		c.Fail(field, "the value is missing or empty")
	case n > most:
		c.Fail(field, "the text has %d characters; expected at most %d", n, most)
	case !utf8.ValidString(s):
		c.Fail(field, "the text is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		c.Fail(field, "the text contains a control character")
	}
	return s
}

// Number is a required numeric id.
func (c *Checker) Number(field string, n int64) string {
	if n <= 0 {
		c.Fail(field, "the value is missing or not above 0")
	}
	return strconv.FormatInt(n, 10)
}

// fullCommit is a commit's id: SHA-1 or SHA-256.
var fullCommit = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Commit is a required id of a commit.
func (c *Checker) Commit(field, s string) string {
	if c.CommitOrNone(field, s) == "" {
		c.Fail(field, "the value is all zeros; expected a commit id")
	}
	return s
}

// CommitOrNone is a required id of a commit. It returns the empty string for
// all zeros, by which forges mean none.
func (c *Checker) CommitOrNone(field, s string) string {
	if !fullCommit.MatchString(s) {
		c.Fail(field, "the value is missing or not a commit id: 40 or 64 lower-case hexadecimal digits")
	}
	if strings.Trim(s, "0") == "" {
		return ""
	}
	return s
}

// Ref is a required name of a branch or a tag. It may become the argument of a
// command.
func (c *Checker) Ref(field, s string) string {
	c.Line(field, s, MaxName)
	if troy.CheckBranch(s) != nil {
		c.Fail(field, "the value is not a valid name of a branch or a tag")
	}
	return s
}

var fullNameForm = regexp.MustCompile(`^[^/\s]+/[^/\s]+$`)

// FullName is a required "owner/name".
func (c *Checker) FullName(field, s string) string {
	c.Line(field, s, MaxName)
	if !fullNameForm.MatchString(s) {
		c.Fail(field, "the value is not of the form owner/name")
	}
	return s
}

// Ignored is an event that Troy does not use.
func Ignored(event, action string) troy.Ignored {
	return troy.Ignored{Name: event, Action: Clean(action, MaxName), Reason: "Troy does not use this event"}
}

// Result returns the event, or an error if one of its fields is invalid. It
// reads the checker after the event's own fields were checked, whatever the
// evaluation order of the caller's arguments.
func Result(e troy.ForgeEvent, c *Checker) (troy.ForgeEvent, error) {
	if c.Err != nil {
		return nil, c.Err
	}
	return e, nil
}

// URL returns an http or https address, or "" if s is not a short one.
func URL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || len(s) > maxURL {
		return ""
	}
	return u.String()
}

// Clean makes a text fit to be stored and shown: one line, of at most n
// characters.
func Clean(s string, most int) string {
	return troy.Cut(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), most)
}

// Message makes a commit's message fit to be stored.
func Message(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
	return troy.Cut(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, s)), troy.MaxMessage)
}
