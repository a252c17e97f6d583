package devstack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MissingError says that a server is not installed, and how to install it.
type MissingError struct {
	Server  string   // "PostgreSQL"
	Looked  []string // the folders that were searched
	Install string   // the commands that install it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed (looked in %s): %s", e.Server, strings.Join(e.Looked, ", "), e.Install)
}

// ProgramFolders lists where servers are looked for: PATH, then where
// Debian's packages and Homebrew put what they keep out of it, newest first.
func ProgramFolders() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // only a bad pattern is an error
		}
		slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
		dirs = append(dirs, found...)
	}
	return append(dirs, "/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/local/bin")
}

// version is the first number in a path, 0 without one.
func version(path string) int {
	start := strings.IndexFunc(path, isDigit)
	if start < 0 {
		return 0
	}
	digits := path[start:]
	if end := strings.IndexFunc(digits, func(r rune) bool { return !isDigit(r) }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// findPostgres returns the folder that has both initdb and postgres: those of
// two versions do not work together.
func findPostgres(dirs []string) (string, error) {
	for _, dir := range dirs {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", &MissingError{
		Server: "PostgreSQL", Looked: dirs,
		Install: "install it with `apt-get install postgresql` (Debian, Ubuntu) or `brew install postgresql@17` (macOS), or set TROY_DATABASE_URL",
	}
}

// findRedis returns the path of redis-server.
func findRedis(dirs []string) (string, error) {
	for _, dir := range dirs {
		if file := filepath.Join(dir, "redis-server"); executable(file) {
			return file, nil
		}
	}
	return "", &MissingError{
		Server: "Redis", Looked: dirs,
		Install: "install it with `apt-get install redis-server` (Debian, Ubuntu) or `brew install redis` (macOS), or set TROY_REDIS_URL",
	}
}

// executable looks at a file as a command; a relative folder of PATH counts
// as none, as it does in os/exec.
func executable(file string) bool {
	if !filepath.IsAbs(file) {
		return false
	}
	_, err := exec.LookPath(file)
	return err == nil
}

// freePort asks the system for a TCP port of 127.0.0.1 that nobody uses,
// the preferred one if it is free. Another process may take it before it is
// used.
func freePort(preferred int) (int, error) {
	if preferred > 0 {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", preferred)); err == nil {
			return preferred, l.Close()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
