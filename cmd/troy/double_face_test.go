package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/troy-iaas/troy/client"
)

// more are the routes that concern more than one pipeline.
func (d *double) more() map[string]func(*http.Request) (answer, error) {
	return map[string]func(*http.Request) (answer, error){
		"GET /v1/whoami": d.whoami,
	}
}

func (d *double) whoami(r *http.Request) (answer, error) {
	w := client.Whoami{
		Token:  client.Holder{ID: uuid.New(), Name: "laptop", Role: "admin"},
		Server: client.Server{URL: "http://" + r.Host, Version: "v1.2.3"},
	}
	if r.Header.Get("Authorization") == "Bearer viewer" {
		at := time.Now().Add(30*24*time.Hour + time.Hour)
		w.Token.Name, w.Token.Role, w.Token.ExpiresAt = "reader", "viewer", &at
		w.Token.Pipelines, w.Token.Slugs = []uuid.UUID{d.pipelines[0].ID}, []string{"old"}
	}
	return answer{200, w}, nil
}

// makeDev writes what troyd dev leaves in its data folder: dev .troy URL.
func makeDev(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	text, err := json.Marshal(map[string]any{"pid": 1, "settings": map[string]string{"TROY_URL": args[1]}})
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "dev.json"), text, 0o600))
	ts.Check(os.WriteFile(filepath.Join(dir, "admin-token"), []byte("admin\n"), 0o600))
}

// wantMode checks a file's permissions: mode 0600 FILE.
func wantMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("the mode of %s is %s; expected %s", args[1], got, args[0])
	}
}
