package hook

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// The most characters that texts of a forge may have.
const (
	maxHeader = 128
	maxName   = 255
	maxTitle  = 255
)

// decode reads a forge's JSON. Members that nobody asks for are passed over,
// since the schema is the forge's and grows, and bytes that are not UTF-8, as
// commits have them now and then, become U+FFFD. What is wrong is a
// *troy.Error of kind Invalid with the field; it never quotes the body.
func decode(body []byte, v any) error {
	err := json.Unmarshal(body, v, jsontext.AllowInvalidUTF8(true))
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return troy.Errorf(troy.Invalid, "it is not of the kind that is expected").At(field(e.JSONPointer))
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return troy.Errorf(troy.Invalid, "the body is not valid JSON at byte %d", e.ByteOffset)
	}
	return troy.Errorf(troy.Invalid, "the body is not valid JSON")
}

// field writes a JSON pointer (RFC 6901) as "push.changes[3].new".
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
	return clean(b.String(), maxName)
}

// text reads a member that is a string in the events that are known and may be
// anything in others.
func text(v jsontext.Value) string {
	if v.Kind() != '"' {
		return ""
	}
	var s string
	if err := decode(v, &s); err != nil {
		return ""
	}
	return s
}

// checker checks fields and keeps the first that is wrong.
type checker struct{ err error }

func (c *checker) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = troy.Errorf(troy.Invalid, format, args...).At(field)
	}
}

// line is a required text of one line.
func (c *checker) line(field, s string, most int) string {
	switch n := utf8.RuneCountInString(s); {
	case strings.TrimSpace(s) == "":
		c.fail(field, "it is missing or empty")
	case n > most:
		c.fail(field, "it has %d characters; at most %d are allowed", n, most)
	case !utf8.ValidString(s):
		c.fail(field, "it is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		c.fail(field, "it has a control character")
	}
	return s
}

// number is a required id of GitHub's.
func (c *checker) number(field string, n int64) string {
	if n <= 0 {
		c.fail(field, "it is missing or not above 0")
	}
	return strconv.FormatInt(n, 10)
}

// uuid is a required id of Bitbucket's, as troy.ForgeRepository has it.
func (c *checker) uuid(field, s string) string {
	id, err := uuid.Parse(s)
	if err != nil || len(s) != len("{}")+36 {
		c.fail(field, "it is missing or not a UUID in braces")
	}
	return "{" + id.String() + "}"
}

// A commit's id: SHA-1 or SHA-256. Bitbucket shortens some.
var (
	fullCommit  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	shortCommit = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
)

// commit is a required id of a commit.
func (c *checker) commit(field, s string) string {
	if c.commitOrNone(field, s) == "" {
		c.fail(field, "it is the id of no commit")
	}
	return s
}

// commitOrNone is a required id of a commit. The one of zeros alone, by which
// forges mean that there is none, becomes empty.
func (c *checker) commitOrNone(field, s string) string {
	if !fullCommit.MatchString(s) {
		c.fail(field, "it is missing or not a commit's id: 40 or 64 lower-case hexadecimal digits")
	}
	if strings.Trim(s, "0") == "" {
		return ""
	}
	return s
}

// ref is a required name of a branch or a tag. It may become the argument of a
// command.
func (c *checker) ref(field, s string) string {
	c.line(field, s, maxName)
	if troy.CheckBranch(s) != nil {
		c.fail(field, "it is not a name that git allows for a branch or a tag")
	}
	return s
}

var fullNameForm = regexp.MustCompile(`^[^/\s]+/[^/\s]+$`)

// fullName is a required "owner/name".
func (c *checker) fullName(field, s string) string {
	c.line(field, s, maxName)
	if !fullNameForm.MatchString(s) {
		c.fail(field, "it is not of the form owner/name")
	}
	return s
}

// clean makes a text that is only shown fit to be kept: one line, of at most
// so many characters.
func clean(s string, most int) string {
	return cut(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), most)
}

// message makes a commit's message fit to be kept.
func message(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
	return cut(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, s)), troy.MaxMessage)
}

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == most {
			return s[:i] + "…"
		}
	}
	return s
}
