package generate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pressly/goose/v3"
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,59}$`)

// New writes an empty migration with the next number to dir and returns its
// path. The name consists of lower-case letters, digits and underscores.
func New(dir, name string) (string, error) {
	number, err := next(dir, name)
	if err != nil {
		return "", err
	}
	const text = `-- +goose Up

-- +goose Down
`
	return create(dir, number, name, text)
}

// Write writes a planned migration to dir and returns the paths of its one or
// two files. Indexes of existing tables are built in a separate file, which
// goose runs without a transaction.
func Write(dir, name string, m Migration) ([]string, error) {
	number, err := next(dir, name)
	if err != nil {
		return nil, err
	}
	var paths []string
	if len(m.Up) > 0 {
		path, err := create(dir, number, name, text("", m.Up, m.Down))
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
		number, name = number+1, name+"_indexes"
	}
	if len(m.ConcurrentUp) > 0 {
		path, err := create(dir, number, name, text("-- +goose NO TRANSACTION\n", m.ConcurrentUp, m.ConcurrentDown))
		if err != nil {
			for _, p := range paths {
				err = errors.Join(err, os.Remove(p))
			}
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// next validates the name and returns the number after the highest one in dir.
func next(dir, name string) (int64, error) {
	if !nameForm.MatchString(name) {
		return 0, fmt.Errorf("NAME is %q; expected 1 to 60 lower-case letters, digits and underscores, beginning with a letter, like add_previews", name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("read the migrations' folder: %w", err)
	}
	var last int64
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".sql" {
			continue
		}
		n, err := goose.NumericComponent(e.Name())
		if err != nil {
			return 0, fmt.Errorf("%s: expected a name like 00002_add_previews.sql: %w", filepath.Join(dir, e.Name()), err)
		}
		last = max(last, n)
	}
	return last + 1, nil
}

func create(dir string, number int64, name, text string) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("%05d_%s.sql", number, name))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", fmt.Errorf("write the migration: %w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write the migration %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return path, nil
}

func text(header string, up, down []string) string {
	var b strings.Builder
	b.WriteString(header)
	for _, part := range []struct {
		name  string
		stmts []string
	}{{"Up", up}, {"Down", down}} {
		if b.Len() > len(header) {
			b.WriteByte('\n')
		}
		b.WriteString("-- +goose " + part.name + "\n")
		for _, s := range part.stmts {
			// goose would take a semicolon inside a statement for its end.
			if strings.Contains(s, ";") {
				b.WriteString("-- +goose StatementBegin\n" + s + ";\n-- +goose StatementEnd\n")
				continue
			}
			b.WriteString(s + ";\n")
		}
	}
	return b.String()
}
