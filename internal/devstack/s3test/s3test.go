// Package s3test starts a real S3 server (versitygw, which stores files in a
// folder) for tests. The first use builds it, from the Go proxy.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Key and Secret are the server's only credentials.
const (
	Key    = "AKIDTROYTEST"
	Secret = "the secret of the test's S3 server"
)

// Server is a running S3 server.
type Server struct {
	// URL is the endpoint; buckets are addressed by path.
	URL string
	dir string
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	program := build(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "http://" + address, dir: t.TempDir()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "--port", address, "--access", Key, "--secret", Secret, "--quiet",
		"--keep-alive", // as S3 does
		"posix", s.dir)
	cmd.Dir = s.dir
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 1)
	go func() { ended <- fmt.Sprint(cmd.Wait()) }()
	t.Cleanup(func() { cancel(); <-ended })
	deadline, tick := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		res, err := http.Get(s.URL) // a running server answers with a refusal, because the signature is missing
		if err == nil {
			_ = res.Body.Close()
			return s
		}
		select {
		case how := <-ended:
			ended <- how
			t.Fatalf("the S3 server ended: %s\n%s", how, output)
		case <-deadline:
			t.Fatalf("the S3 server does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// Bucket creates a bucket, which is a folder in this server.
func (s *Server) Bucket(t testing.TB, name string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// build returns the server's program, which the go command caches.
func build(t testing.TB) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	cmd := exec.Command("go", "tool", "-modfile="+filepath.Join(root, "tools/s3/go.mod"), "-n", "versitygw")
	cmd.Dir = root
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("build the S3 server: %v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("build the S3 server: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// File returns the file of an object.
func (s *Server) File(bucket, key string) string {
	return filepath.Join(s.dir, bucket, filepath.FromSlash(key))
}

// Read reads an object from the server's folder.
func (s *Server) Read(bucket, key string) ([]byte, bool) {
	data, err := os.ReadFile(s.File(bucket, key))
	return data, err == nil
}

// Keys returns the keys of a bucket's objects.
func (s *Server) Keys(t testing.TB, bucket string) []string {
	t.Helper()
	var keys []string
	root := filepath.Join(s.dir, bucket)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file != root {
			return nil // removed meanwhile
		}
		if err == nil && d.Type().IsRegular() {
			key, relErr := filepath.Rel(root, file)
			keys, err = append(keys, filepath.ToSlash(key)), relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
