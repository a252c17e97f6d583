package site_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/troy-iaas/troy/site"
)

// TestCertificateState reads the states of hosts and wildcards, which have
// files of their own, and a file that is not JSON.
func TestCertificateState(t *testing.T) {
	t.Parallel()
	layout := site.Layout{Root: t.TempDir()}
	if _, err := layout.ReadCertificateState("www.example.com"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v, want fs.ErrNotExist", err)
	}
	write := func(name, text string) {
		t.Helper()
		dir := filepath.Join(layout.Certificates(), "state")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("www.example.com.json", `{"state":"failed","problem":"the certificate authority is down","next_try":"2026-12-01T10:00:00Z"}`)
	write("_wildcard.example.com.json", `{"state":"active","not_after":"2027-01-01T00:00:00Z"}`)
	write("broken.example.com.json", `{"state":`)
	for host, want := range map[string]site.CertificateState{
		"www.example.com": {State: site.CertificateFailed, Problem: "the certificate authority is down", NextTry: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)},
		"*.example.com":   {State: site.CertificateActive, NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if got, err := layout.ReadCertificateState(host); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", host, got, err, want)
		}
	}
	if state, err := layout.ReadCertificateState("broken.example.com"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a broken file: %+v, %v, want an error", state, err)
	}
}
