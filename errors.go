package troy

import (
	"errors"
	"fmt"
)

// ErrorKind classifies errors by what the caller can do about them. The API
// maps each kind to one HTTP status, the CLI to one exit code.
type ErrorKind string

const (
	// Invalid: the input is wrong; change it.
	Invalid ErrorKind = "invalid"
	// Unauthenticated: the credential is missing or unknown.
	Unauthenticated ErrorKind = "unauthenticated"
	// Forbidden: the credential does not allow it.
	Forbidden ErrorKind = "forbidden"
	// NotFound: the thing does not exist, or the caller may not see it.
	NotFound ErrorKind = "not_found"
	// Conflict: the current status of the thing does not allow it.
	Conflict ErrorKind = "conflict"
	// Moved: a stated precondition no longer holds.
	Moved ErrorKind = "precondition_failed"
	// TooLarge: the input is over a limit; send less.
	TooLarge ErrorKind = "too_large"
	// OverQuota: what is stored would exceed the pipeline's quota; remove
	// something, or ask for a higher one.
	OverQuota ErrorKind = "over_quota"
	// Unavailable: nothing was done; try again later.
	Unavailable ErrorKind = "unavailable"
	// Unsure: it is unknown whether the request took effect. Check, or repeat
	// it in a way that is carried out only once.
	Unsure ErrorKind = "unsure"
	// Internal: a fault in Troy. Clients see no details.
	Internal ErrorKind = "internal"
)

// Error is an error whose text is safe to show to clients.
type Error struct {
	Kind    ErrorKind
	Message string
	// Field names the wrong part of the input, in the input's spelling
	// ("app.name"). It may be empty.
	Field string
	// Details are further lines for the reader, such as the missing files.
	Details []string
	cause   error
}

// Errorf returns an Error. A %w in the format wraps the cause; its text becomes
// part of the message.
func Errorf(kind ErrorKind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), cause: errors.Unwrap(err)}
}

// At sets the field and returns e.
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

// KindOf returns the kind of the first Error in err's chain, or Internal if
// there is none.
func KindOf(err error) ErrorKind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
