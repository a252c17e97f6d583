package forge_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/internal/devstack/gittest"
)

// TestMain runs the suite with a hostile git configuration: settings of the
// machine or user must not change what Troy fetches.
func TestMain(m *testing.M) {
	code, err := underHostileGit(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func underHostileGit(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "troy-forge-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hostile, err := gittest.Hostile(dir)
	if err != nil {
		return 1, err
	}
	for _, pair := range hostile {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}
