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
		if err := w.db.QueryRow(w.ctx(), `SELECT coalesce(max(text), '') FROM (SELECT concat_ws(' ', a.generation, a.networks::text, (SELECT string_agg(name, ',' ORDER BY name) FROM access_passwords), (SELECT count(*) FROM work WHERE kind = 'access'),
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
		{"a bad name", func() error { return set("Client X") }, troy.Invalid, `"Client X" is not a valid name`, "6 "},
		{"a long name", func() error { return set(strings.Repeat("a", 41)) }, troy.Invalid, "at most 40", "6 "},
		{"off", func() error { return w.in.Unprotect(w.ctx(), p.ID, "ada") }, "", "", "7 {} 1 "},
		{"off again", func() error { return w.in.Unprotect(w.ctx(), p.ID, "ada") }, "", "", "7 {} 1 "},
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
	if got := state(); !strings.HasSuffix(got, "access.allow:203.0.113.0/24::ada,access.password-remove:client::ada,access.password-set:client::ada,access.disallow:203.0.113.0/24::ada,access.off:blog::ada") || strings.Contains(got, "sealed") {
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
