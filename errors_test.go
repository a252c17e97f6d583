package troy_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestErrorf(t *testing.T) {
	t.Parallel()
	err := troy.Errorf(troy.Invalid, "read %q: %w", "a.txt", io.ErrUnexpectedEOF)
	if got, want := err.Error(), `read "a.txt": unexpected EOF`; got != want {
		t.Errorf("the error reads %q, want %q", got, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if plain := troy.Errorf(troy.Conflict, "taken"); plain.Unwrap() != nil {
		t.Errorf("an error without a cause unwraps to %v", plain.Unwrap())
	}
	at := err.At("files[0].path")
	if got, want := at.Error(), `files[0].path: read "a.txt": unexpected EOF`; got != want || at.Field != "files[0].path" {
		t.Errorf("with its field the error reads %q, want %q", got, want)
	}
	if !errors.Is(at, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost with the field")
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	notFound := troy.Errorf(troy.NotFound, "no such pipeline")
	for _, c := range []struct {
		name string
		err  error
		want troy.ErrorKind
	}{
		{"an Error", notFound, troy.NotFound},
		{"a wrapped one", fmt.Errorf("read the pipeline: %w", notFound), troy.NotFound},
		{"one of several", errors.Join(io.EOF, notFound), troy.NotFound},
		{"the outer of two", troy.Errorf(troy.Unavailable, "try again: %w", notFound), troy.Unavailable},
		{"another error", io.EOF, troy.Internal},
		{"its text alone", errors.New(notFound.Error()), troy.Internal},
	} {
		if got := troy.KindOf(c.err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
