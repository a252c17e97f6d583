package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// Rotates a key: the new one first, everything sealed again, the old one
// removed.
func TestReseal(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	db, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, q := t.Context(), queries.New(db)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := db.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	older, newer, lost := secret.NewKey(), secret.NewKey(), secret.NewKey()
	seal := func(key string, of secret.Subject, value string) []byte {
		t.Helper()
		s, err := secret.New(key)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := s.Seal([]byte(value), of)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	pipeline := uuid.New()
	exec("INSERT INTO pipelines (id, name, slug) VALUES ($1, 'Blog', 'blog')", pipeline)
	// More than one page of them.
	for i := range 450 {
		name := "V" + uuid.NewString()
		exec("INSERT INTO variables (pipeline_id, name, value) VALUES ($1, $2, $3)", pipeline, name,
			seal([]string{older, newer}[i%2], secret.Variable(pipeline, name, ""), name))
	}
	// One for each context of a name, over a page's end.
	for i := range 250 {
		of := fmt.Sprintf("preview:%d@%d", i%25, i/25)
		exec("INSERT INTO variables_by_context (pipeline_id, name, context, value, secret) VALUES ($1, $2, $3, $4, true)", pipeline, fmt.Sprintf("C%d", i%10), of,
			seal(older, secret.Variable(pipeline, fmt.Sprintf("C%d", i%10), of), of))
	}
	exec("INSERT INTO installations (provider, id, credentials) VALUES ('bitbucket', 'key', $1), ('github', '1', NULL)",
		seal(older, secret.Installation("bitbucket", "key"), "shared"))
	exec("INSERT INTO forge_apps (provider, app_id, name, url, credentials, actor) VALUES ('github', '1', 'n', 'u', $1, 'a')",
		seal(older, secret.App("github"), "key"))
	exec("INSERT INTO access (pipeline_id, salt, preview_key) VALUES ($1, '', $2)", pipeline, seal(older, secret.PreviewKey(pipeline), "a key"))
	exec("INSERT INTO access_passwords (pipeline_id, name, id, secret) VALUES ($1, 'client', gen_random_uuid(), $2)", pipeline, seal(older, secret.Access(pipeline, "client"), "a hash"))
	hook := uuid.New()
	exec("INSERT INTO notifiers (id, kind, label, target, earlier_keys, earlier_until, events, created_by) VALUES ($1, 'webhook', 'l', $2, $3, now(), '{}', 'a')", hook,
		seal(older, secret.Notifier(hook), "a target"), seal(older, secret.NotifierKeys(hook), "earlier keys"))

	settings := []string{"TROY_DATABASE_URL=" + url, "TROY_REDIS_URL=redis://127.0.0.1:1/0", "TROY_SECRET_KEY=" + newer + "," + older}
	status, stdout, stderr := finish(t, troyd(t, settings, "secrets", "reseal", "--dry-run"))
	if status != 0 || !strings.Contains(stdout, "225") || strings.Contains(stdout, "may be the newest alone") {
		t.Errorf("a dry run: exit status %d, %q, %q", status, stdout, stderr)
	}
	for range 2 { // the second finds nothing to do
		if status, stdout, stderr = finish(t, troyd(t, settings, "secrets", "reseal")); status != 0 || !strings.Contains(stdout, "may be the newest alone") {
			t.Fatalf("exit status %d, %q, %q", status, stdout, stderr)
		}
	}
	if !strings.Contains(stdout, "450") {
		t.Errorf("the second run counts %q", stdout)
	}
	alone, err := secret.New(newer)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(ctx, "SELECT name, value FROM variables")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			t.Fatal(err)
		}
		if plain, err := alone.Open(value, secret.Variable(pipeline, name, "")); err != nil || string(plain) != name {
			t.Fatalf("the variable %s is %q, %v", name, plain, err)
		}
	}
	inContexts, err := db.Query(ctx, "SELECT name, context, value FROM variables_by_context")
	if err != nil {
		t.Fatal(err)
	}
	defer inContexts.Close()
	for inContexts.Next() {
		var name, of string
		var value []byte
		if err := inContexts.Scan(&name, &of, &value); err != nil {
			t.Fatal(err)
		}
		if plain, err := alone.Open(value, secret.Variable(pipeline, name, of)); err != nil || string(plain) != of {
			t.Fatalf("the variable %s for %s is %q, %v", name, of, plain, err)
		}
	}
	app, err := q.ForgeAppGet(ctx, "github")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := alone.Open(app.Credentials, secret.App("github")); err != nil || string(plain) != "key" {
		t.Errorf("the app's credentials are %q, %v", plain, err)
	}

	var password []byte
	if err := db.QueryRow(ctx, "SELECT secret FROM access_passwords").Scan(&password); err != nil {
		t.Fatal(err)
	}
	if plain, err := alone.Open(password, secret.Access(pipeline, "client")); err != nil || string(plain) != "a hash" {
		t.Errorf("the site's password is %q, %v", plain, err)
	}
	var key []byte
	if err := db.QueryRow(ctx, "SELECT preview_key FROM access").Scan(&key); err != nil {
		t.Fatal(err)
	}
	if plain, err := alone.Open(key, secret.PreviewKey(pipeline)); err != nil || string(plain) != "a key" {
		t.Errorf("the key of previews is %q, %v", plain, err)
	}
	var target, earlier []byte
	if err := db.QueryRow(ctx, "SELECT target, earlier_keys FROM notifiers").Scan(&target, &earlier); err != nil {
		t.Fatal(err)
	}
	if plain, err := alone.Open(target, secret.Notifier(hook)); err != nil || string(plain) != "a target" {
		t.Errorf("the notifier's target is %q, %v", plain, err)
	}
	if plain, err := alone.Open(earlier, secret.NotifierKeys(hook)); err != nil || string(plain) != "earlier keys" {
		t.Errorf("the notifier's earlier keys are %q, %v", plain, err)
	}

	// A value that no key opens is named, counted and not changed.
	value := seal(lost, secret.Variable(pipeline, "LOST", ""), "lost value")
	exec("INSERT INTO variables (pipeline_id, name, value) VALUES ($1, 'LOST', $2)", pipeline, value)
	status, stdout, stderr = finish(t, troyd(t, settings, "secrets", "reseal"))
	if status != 1 || !strings.Contains(stderr, "LOST") || !strings.Contains(stderr, "1 could not be opened") || strings.Contains(stdout, "newest alone") {
		t.Errorf("with one that is lost: exit status %d, %q, %q", status, stdout, stderr)
	}
	var kept []byte
	if err := db.QueryRow(ctx, "SELECT value FROM variables WHERE name = 'LOST'").Scan(&kept); err != nil || !bytes.Equal(kept, value) {
		t.Errorf("an undecryptable value was changed, %v", err)
	}

	if status, _, stderr = finish(t, troyd(t, settings[:2], "secrets", "reseal")); status != 2 || !strings.Contains(stderr, "TROY_SECRET_KEY") {
		t.Errorf("without a key: exit status %d, %q", status, stderr)
	}
}

// An interrupted check says nothing about the older keys.
func TestResealThatBreaksOff(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	db, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(t.Context(), "DROP TABLE forge_apps"); err != nil {
		t.Fatal(err)
	}
	status, stdout, _ := finish(t, troyd(t, []string{
		"TROY_DATABASE_URL=" + url, "TROY_REDIS_URL=redis://127.0.0.1:1/0", "TROY_SECRET_KEY=" + secret.NewKey(),
	}, "secrets", "reseal"))
	if status != 1 || strings.Contains(stdout, "newest alone") {
		t.Errorf("exit status %d, %q", status, stdout)
	}
}

// troyd dev has its own key, so that variables can be set at once.
func TestDevKeepsAKey(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	var name string
	for i := range 2 {
		s := serving(t, devSettings(dir), "dev")
		address, token := s.answer("API:"), s.answer("Admin token:")
		if i == 0 {
			wantStatus(t, http.MethodPost, address+"/v1/pipelines", token, `{"name":"Blog"}`, http.StatusCreated)
			wantStatus(t, http.MethodPut, address+"/v1/pipelines/blog/variables/NPM_TOKEN", token, `{"value":"correct-horse-battery"}`, http.StatusOK)
		}
		name = wantStatus(t, http.MethodGet, address+"/v1/pipelines/blog/variables", token, "", http.StatusOK)
		if !strings.Contains(name, "NPM_TOKEN") || strings.Contains(name, "correct-horse") {
			t.Errorf("the variables are %s", name)
		}
		s.stop(syscall.SIGINT)
	}
}
