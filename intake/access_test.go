package intake_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
)

func TestProtect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	set := func(name string) error {
		return w.in.SetAccessPassword(w.ctx(), p.ID, intake.AccessPassword{Name: name, Salt: []byte("salt"), Sealed: []byte("sealed " + name)}, "ada")
	}
	net := netip.MustParsePrefix
	state := func() string {
		var text string
		if err := w.db.QueryRow(w.ctx(), `SELECT coalesce(max(text), '') FROM (SELECT concat_ws(' ', a.generation, nullif(a.scope, 'site'), a.networks::text, (SELECT string_agg(name, ',' ORDER BY name) FROM access_passwords), (SELECT count(*) FROM work WHERE kind = 'access'),
			(SELECT string_agg(action || ':' || subject || ':' || detail || ':' || actor, ',' ORDER BY time) FROM audit)) AS text FROM access a) s`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	steps := []struct {
		name string
		do   func() error
		kind troy.ErrorKind // "" without an error
		says string
		want string // part of the state, if not empty
	}{
		{"remove before", func() error { return w.in.RemoveAccessPassword(w.ctx(), p.ID, "client", "ada") }, troy.NotFound, `no password "client"`, ""},
		{"off before", func() error { return w.in.Unprotect(w.ctx(), p.ID, "ada") }, "", "", ""},
		{"add", func() error { return set("client") }, "", "", "1 {} client 1 access.password-set:client::ada"},
		{"change", func() error { return set("client") }, "", "", "2 {} client 1 "},
		{"remove the last", func() error { return w.in.RemoveAccessPassword(w.ctx(), p.ID, "client", "ada") }, troy.Conflict, "everyone could see it", "2 {} client"},
		{"allow", func() error { return w.in.AllowNetwork(w.ctx(), p.ID, net("203.0.113.0/24"), "ada") }, "", "", "3 {203.0.113.0/24} client"},
		{"allow again", func() error { return w.in.AllowNetwork(w.ctx(), p.ID, net("203.0.113.0/24"), "ada") }, "", "", "3 {203.0.113.0/24} client"},
		{"remove", func() error { return w.in.RemoveAccessPassword(w.ctx(), p.ID, "client", "ada") }, "", "", "4 {203.0.113.0/24} 1 "},
		{"disallow another", func() error { return w.in.DisallowNetwork(w.ctx(), p.ID, net("10.0.0.0/8"), "ada") }, troy.NotFound, "does not list the network 10.0.0.0/8", "4 "},
		{"disallow the last", func() error { return w.in.DisallowNetwork(w.ctx(), p.ID, net("203.0.113.0/24"), "ada") }, troy.Conflict, "troy access blog off", "4 "},
		{"add again", func() error { return set("client") }, "", "", "5 "},
		{"disallow", func() error { return w.in.DisallowNetwork(w.ctx(), p.ID, net("203.0.113.0/24"), "ada") }, "", "", "6 {} client"},
		{"a bad scope", func() error { return w.in.SetAccessScope(w.ctx(), p.ID, "drafts", "ada") }, troy.Invalid, "expected site or previews", "6 {}"},
		{"previews", func() error { return w.in.SetAccessScope(w.ctx(), p.ID, intake.ScopePreviews, "ada") }, "", "", "7 previews {} client 1 "},
		{"previews again", func() error { return w.in.SetAccessScope(w.ctx(), p.ID, intake.ScopePreviews, "ada") }, "", "", "7 previews {} client 1 "},
		{"the site", func() error { return w.in.SetAccessScope(w.ctx(), p.ID, intake.ScopeSite, "ada") }, "", "", "8 {} client 1 "},
		{"previews anew", func() error { return w.in.SetAccessScope(w.ctx(), p.ID, intake.ScopePreviews, "ada") }, "", "", "9 previews {} client 1 "},
		{"a bad name", func() error { return set("Client X") }, troy.Invalid, `"Client X" is not a valid name`, "9 "},
		{"a long name", func() error { return set(strings.Repeat("a", 41)) }, troy.Invalid, "at most 40", "9 "},
		{"off", func() error { return w.in.Unprotect(w.ctx(), p.ID, "ada") }, "", "", "10 {} 1 "},
		{"scope of nothing", func() error { return w.in.SetAccessScope(w.ctx(), p.ID, intake.ScopePreviews, "ada") }, troy.Conflict, "add a password or a network first", "10 {} 1 "},
		{"off again", func() error { return w.in.Unprotect(w.ctx(), p.ID, "ada") }, "", "", "10 {} 1 "},
	}
	for _, s := range steps {
		err := s.do()
		if s.kind == "" && err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.kind != "" {
			wantKind(t, err, s.kind, s.says)
		}
		if got := state(); !strings.HasPrefix(got, s.want) {
			t.Fatalf("%s: the state is %q, want %q…", s.name, got, s.want)
		}
	}
	if got := state(); !strings.HasSuffix(got, "access.allow:203.0.113.0/24::ada,access.password-remove:client::ada,access.password-set:client::ada,access.disallow:203.0.113.0/24::ada,access.scope:previews::ada,access.scope:site::ada,access.scope:previews::ada,access.off:blog::ada") || strings.Contains(got, "sealed") {
		t.Errorf("the audit trail is %q", got)
	}

	wantKind(t, w.in.SetAccessPassword(w.ctx(), p.ID, intake.AccessPassword{Name: "salted", Salt: []byte("another"), Sealed: []byte("x")}, "ada"), troy.Moved, "try again")

	// The bounds.
	for i := range 20 {
		if err := set(fmt.Sprintf("p%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, set("one-more"), troy.Conflict, "has 20 passwords")
	if err := set("p3"); err != nil {
		t.Errorf("changing one of 20: %v", err)
	}
	w.exec("UPDATE access SET networks = (SELECT array_agg('10.0.' || n || '.0/24') FROM generate_series(1, 100) n)")
	wantKind(t, w.in.AllowNetwork(w.ctx(), p.ID, net("203.0.113.0/24"), "ada"), troy.Conflict, "has 100 networks")

	wantKind(t, w.in.AllowNetwork(w.ctx(), uuid.New(), net("203.0.113.0/24"), "ada"), troy.NotFound, "pipeline not found")
	w.put(p, troy.Deleting)
	wantKind(t, set("late"), troy.Conflict, "")
	wantKind(t, w.in.Unprotect(w.ctx(), p.ID, "ada"), troy.Conflict, "")
}

func TestPreviewAccess(t *testing.T) {
	t.Parallel()
	var keys int
	w := newWorld(t, func(cfg *intake.Config) {
		cfg.PreviewKey = func(uuid.UUID) ([]byte, error) { keys++; return fmt.Appendf(nil, "key-%d", keys), nil }
	})
	p := w.create("Blog")
	set := func(previews string) func() error {
		return func() error { return w.in.SetPreviewAccess(w.ctx(), p.ID, previews, "ada") }
	}
	password := func() error {
		return w.in.SetAccessPassword(w.ctx(), p.ID, intake.AccessPassword{Name: "ci", Salt: []byte("salt"), Sealed: []byte("sealed")}, "ada")
	}
	remove := func() error { return w.in.RemoveAccessPassword(w.ctx(), p.ID, "ci", "ada") }
	scope := func(scope string) func() error {
		return func() error { return w.in.SetAccessScope(w.ctx(), p.ID, scope, "ada") }
	}
	// state is the scope, the number of passwords, and the key or -.
	state := func() string {
		row, passwords, ok, err := intake.Protection(w.ctx(), w.q, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		key := "-"
		if row.Access.PreviewKey != nil {
			key = string(row.Access.PreviewKey)
		}
		return fmt.Sprintf("%s %d %s %s", row.Access.Scope, len(passwords), key, intake.PreviewsOf(row.Access, len(passwords)))
	}
	for _, s := range []struct {
		name string
		do   func() error
		kind troy.ErrorKind
		says string
		want string
	}{
		{"nonsense", set("private"), troy.Invalid, "expected public, password or signed-in", "none"},
		{"public already", set("public"), "", "", "none"},
		{"password without one", set("password"), troy.Conflict, "add a password or a network first", "none"},
		{"signed in", set("signed-in"), "", "", "previews 0 key-1 signed-in"},
		{"signed in again, which ends the sessions", set("signed-in"), "", "", "previews 0 key-2 signed-in"},
		{"the site without a password", scope("site"), troy.Conflict, "add a password or a network first", "previews 0 key-2 signed-in"},
		{"a password for programs", password, "", "", "previews 1 key-2 signed-in"},
		{"public with a password", set("public"), troy.Conflict, "turn the protection off", "previews 1 key-2 signed-in"},
		{"without the password", remove, "", "", "previews 0 key-2 signed-in"},
		{"with it", password, "", "", "previews 1 key-2 signed-in"},
		{"the site too", scope("site"), "", "", "site 1 key-2 signed-in"},
		{"the last password of the site", remove, troy.Conflict, "everyone could see it", "site 1 key-2 signed-in"},
		{"signed in with a password", set("signed-in"), "", "", "site 1 key-3 signed-in"},
		{"password", set("password"), "", "", "site 1 - password"},
		{"password again", set("password"), "", "", "site 1 - password"},
		{"signed in anew", set("signed-in"), "", "", "site 1 key-4 signed-in"},
		{"off", func() error { return w.in.Unprotect(w.ctx(), p.ID, "ada") }, "", "", "site 0 - public"},
		{"signed in after off", set("signed-in"), "", "", "previews 0 key-5 signed-in"},
		{"public", set("public"), "", "", "site 0 - public"},
		{"the next password protects the site", password, "", "", "site 1 - password"},
	} {
		err := s.do()
		if s.kind == "" && err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.kind != "" {
			wantKind(t, err, s.kind, s.says)
		}
		if got := state(); got != s.want {
			t.Fatalf("%s: the state is %q, want %q", s.name, got, s.want)
		}
	}
	var audit string
	if err := w.db.QueryRow(w.ctx(), `SELECT string_agg(subject || ':' || actor, ' ' ORDER BY time) FROM audit WHERE action = 'access.previews'`).Scan(&audit); err != nil {
		t.Fatal(err)
	}
	if audit != "signed-in:ada signed-in:ada signed-in:ada password:ada signed-in:ada signed-in:ada public:ada" {
		t.Errorf("the audit trail is %q", audit)
	}
	w.put(p, troy.Deleting)
	wantKind(t, set("signed-in")(), troy.Conflict, "")

	for name, change := range map[string]func(*intake.Config){
		"CloudFront":  func(cfg *intake.Config) { cfg.NoSignedIn = "not on CloudFront" },
		"no previews": func(cfg *intake.Config) { cfg.NoPreviews = "not on CloudFront" },
	} {
		w := newWorld(t, change)
		p := w.create("Blog")
		t.Log(name)
		wantKind(t, w.in.SetPreviewAccess(w.ctx(), p.ID, "signed-in", "ada"), troy.Conflict, "not on CloudFront")
	}
	bare := newWorld(t)
	wantKind(t, bare.in.SetPreviewAccess(bare.ctx(), bare.create("Blog").ID, "signed-in", "ada"), troy.Unavailable, "TROY_SECRET_KEY is not set")
}

// TestNewPipelinesAreProtected creates pipelines where the operator wishes that
// their previews ask for a session.
func TestNewPipelinesAreProtected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *intake.Config) {
		cfg.PreviewsSignedIn = true
		cfg.PreviewKey = func(id uuid.UUID) ([]byte, error) { return []byte("key of " + id.String()), nil }
	})
	p := w.create("Blog")
	wanted, err := w.q.AccessWanted(w.ctx(), p.ID)
	if err != nil || string(wanted.PreviewKey) != "key of "+p.ID.String() || wanted.Scope != intake.ScopePreviews || wanted.Generation != 1 || wanted.Applied != 0 {
		t.Errorf("the protection is %+v, %v", wanted, err)
	}
	bare := newWorld(t, func(cfg *intake.Config) { cfg.PreviewsSignedIn = true })
	_, err = bare.in.CreatePipeline(bare.ctx(), intake.NewPipeline{Name: "Blog"}, "ada")
	wantKind(t, err, troy.Unavailable, "TROY_SECRET_KEY")
}
