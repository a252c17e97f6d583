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

// MissingError means that a server is not installed. It says how to install it.
type MissingError struct {
	Server  string   // "PostgreSQL"
	Looked  []string // the folders that were searched
	Install string   // the commands that install it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed (looked in %s): %s", e.Server, strings.Join(e.Looked, ", "), e.Install)
}

// ProgramFolders returns the folders to search for servers: PATH, then the
// folders outside PATH of Debian's packages and Homebrew, newest first.
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

// version returns the first number in a path, or 0.
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

// findPostgres returns a folder that has both initdb and postgres, because
// those of different versions don't work together.
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

// executable returns the path of a program in dir, or an error. It ignores
// relative folders of PATH, like os/exec.
func executable(file string) bool {
	if !filepath.IsAbs(file) {
		return false
	}
	_, err := exec.LookPath(file)
	return err == nil
}

// freePort returns a free TCP port of 127.0.0.1, the preferred one if possible.
// Another process may take it before its use.
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
