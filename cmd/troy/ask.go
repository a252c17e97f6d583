package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// ask asks for a line of text on the terminal. The terminal does not show the
// text if hidden is set. Call ask only if canAsk returns true.
func (a *app) ask(ctx context.Context, question string, hidden bool) (string, error) {
	_, _ = fmt.Fprintf(a.err, "%s: ", clean(question))
	type result struct {
		text string
		err  error
	}
	typed := make(chan result, 1)
	terminal, ok := a.in.(*os.File)
	if !ok {
		return "", errors.New("stdin is not a terminal")
	}
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	go func() {
		if !hidden {
			line, err := bufio.NewReader(io.LimitReader(a.in, mostValue)).ReadString('\n')
			typed <- result{strings.TrimRight(line, "\r\n"), err}
			return
		}
		text, err := term.ReadPassword(int(terminal.Fd()))
		typed <- result{string(text), err}
	}()
	select {
	case <-ctx.Done():
		// Restore the terminal's echo.
		_ = term.Restore(int(terminal.Fd()), before)
		return "", context.Cause(ctx)
	case r := <-typed:
		if hidden {
			_, _ = fmt.Fprintln(a.err)
		}
		if r.err != nil {
			return "", fmt.Errorf("read from the terminal: %w", r.err)
		}
		return r.text, nil
	}
}
