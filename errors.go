package troy

import (
	"errors"
	"fmt"
)

// ErrorKind sorts errors by what the caller can do about them. The API maps
// each kind to one HTTP status, the CLI to one exit code.
type ErrorKind string

const (
	// Invalid: the input is wrong; change it.
	Invalid ErrorKind = "invalid"
	// Unauthenticated: no credential, or one that is not known.
	Unauthenticated ErrorKind = "unauthenticated"
	// Forbidden: the credential does not allow it.
	Forbidden ErrorKind = "forbidden"
	// NotFound: there is no such thing (or none that the caller may see).
	NotFound ErrorKind = "not_found"
	// Conflict: the thing's present status does not allow it.
	Conflict ErrorKind = "conflict"
	// Moved: a stated precondition no longer holds.
	Moved ErrorKind = "precondition_failed"
	// TooLarge: over a limit; send less.
	TooLarge ErrorKind = "too_large"
	// Unavailable: try again later; nothing was done.
	Unavailable ErrorKind = "unavailable"
	// Unsure: it may have been done or not; look, or ask again in a way that
	// is carried out once.
	Unsure ErrorKind = "unsure"
	// Internal: a fault of Troy's own. Strangers see no details.
	Internal ErrorKind = "internal"
)

// Error is an error that a stranger may read.
type Error struct {
	Kind    ErrorKind
	Message string
	// Field names the part of the input that is wrong, as the input spells
	// it ("app.name"), or is empty.
	Field string
	// Details are further lines for the reader: the files that are missing.
	Details []string
	cause   error
}

// Errorf makes an Error. A %w in the format keeps the cause for the log; its
// text becomes part of the message.
func Errorf(kind ErrorKind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), cause: errors.Unwrap(err)}
}

// At names the field and returns the error itself.
func (e *Error) At(field string) *Error {
	e.Field = field
	return e
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of the first Error in err's chain, and Internal
// when there is none.
func KindOf(err error) ErrorKind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
