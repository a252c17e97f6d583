package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// Severity is how much a problem matters.
type Severity string

// The severities.
const (
	// Error: the line is ignored, can't work, or its path is not public.
	Error Severity = "error"
	// Warning: the line is obeyed but probably does not do what was meant.
	Warning Severity = "warning"
	// Notice: the line is obeyed, and people should know that it is there. It
	// is not a problem.
	Notice Severity = "notice"
)

// The codes of problems.
const (
	CodeSyntax        = "syntax"         // the line can't be parsed
	CodeUnsupported   = "unsupported"    // a feature that Troy does not have
	CodeLimit         = "limit"          // over a limit
	CodeStatus        = "status"         // not a supported status
	CodeTarget        = "target"         // not a valid target
	CodePattern       = "pattern"        // not a valid path
	CodePlaceholder   = "placeholder"    // the target uses an unknown placeholder
	CodeHeader        = "header"         // a header that can't be set
	CodePassword      = "password"       // the path is protected by a password or refused
	CodeSetting       = "setting"        // a wrong setting
	CodeLoop          = "loop"           // the redirect leads to itself
	CodeChain         = "chain"          // the target redirects again
	CodeNeverMatches  = "never-matches"  // no request can match
	CodeShadowed      = "shadowed"       // an earlier rule matches first
	CodeShadowedFile  = "shadowed-file"  // a file answers first
	CodeTargetMissing = "target-missing" // the target is a 404
	CodeNotObeyed     = "not-obeyed"     // AWS does not obey this rule
)

// Problem is one problem of a line.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line"` // from 1; 0 means the whole file
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	// Message is a sentence. It never has a header's value, which may be secret.
	Message string `json:"message"`
}

func (p Problem) String() string {
	if p.File == "" {
		return fmt.Sprintf("%s: %s (%s)", p.Severity, p.Message, p.Code)
	}
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s: %s (%s)", p.File, p.Severity, p.Message, p.Code)
	}
	return fmt.Sprintf("%s:%d: %s: %s (%s)", p.File, p.Line, p.Severity, p.Message, p.Code)
}

// Report is what the compiler found.
type Report struct {
	// Dialect is netlify or cloudflare.
	Dialect string `json:"dialect"`
	// Redirects and Headers count the rules in force.
	Redirects int `json:"redirects"`
	Headers   int `json:"headers"`
	// Errors and Warnings count all problems, and Notices what is reported
	// besides; Problems has at most maxProblems of each severity, in the files'
	// order.
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Notices  int       `json:"notices"`
	Problems []Problem `json:"problems"`
	// Strict means that a problem keeps the deployment from going live.
	Strict bool `json:"strict,omitempty"`
}

// maxProblems bounds the problems of each severity in a report.
const maxProblems = 100

// Empty reports whether there is nothing to report: no rules and no problems.
func (r Report) Empty() bool {
	return r.Redirects == 0 && r.Headers == 0 && r.Errors == 0 && r.Warnings == 0
}

// Omitted returns the number of problems that are only counted.
func (r Report) Omitted() int { return r.Errors + r.Warnings + r.Notices - len(r.Problems) }

// Clean reports whether there is no problem.
func (r Report) Clean() bool { return r.Errors == 0 && r.Warnings == 0 }

// Refusal returns an Invalid error if the report is strict and not clean. Its
// Details are the problems.
func (r Report) Refusal() error {
	if !r.Strict || r.Clean() {
		return nil
	}
	var details []string
	for _, p := range r.Problems {
		if p.Severity != Notice {
			details = append(details, p.String())
		}
	}
	n := r.Errors + r.Warnings
	e := troy.Errorf(troy.Invalid, "the site's rules have %s, and strict is set; the first is %s", troy.Count(n, "problem", "problems"), details[0])
	e.Details = details
	return e
}

// position is a line of one of the compiler's files.
type position struct{ file, line int }

// order sorts the problems by position.
func (c *compiler) order() {
	slices.SortStableFunc(c.found, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.at.file, b.at.file), cmp.Compare(a.at.line, b.at.line))
	})
	c.report.Problems = make([]Problem, 0, len(c.found))
	for _, f := range c.found {
		f.problem.File, f.problem.Line = c.files[f.at.file], f.at.line
		c.report.Problems = append(c.report.Problems, f.problem)
	}
}

// found is a problem before the files' names are filled in.
type found struct {
	at      position
	problem Problem
}

func (c *compiler) problem(at position, severity Severity, code, format string, args ...any) {
	count := map[Severity]*int{Error: &c.report.Errors, Warning: &c.report.Warnings, Notice: &c.report.Notices}[severity]
	if *count++; *count > maxProblems {
		return
	}
	c.found = append(c.found, found{at, Problem{Severity: severity, Code: code, Message: fmt.Sprintf(format, args...)}})
}

func (c *compiler) error(at position, code, format string, args ...any) {
	c.problem(at, Error, code, format, args...)
}

func (c *compiler) notice(at position, code, format string, args ...any) {
	c.problem(at, Notice, code, format, args...)
}

func (c *compiler) warn(at position, code, format string, args ...any) {
	c.problem(at, Warning, code, format, args...)
}

// where names a position in a message.
func (c *compiler) where(at, from position) string {
	if at.file == from.file {
		return fmt.Sprintf("line %d", at.line)
	}
	return fmt.Sprintf("%s:%d", c.files[at.file], at.line)
}

// clip returns a text for a message: short, valid UTF-8, without control
// characters.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s[:min(len(s), 400)])
	return troy.Clip(s)
}
