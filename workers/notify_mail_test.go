package workers

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/tasks"
)

// mailbox is a mail server that refuses a recipient for now, until it does not.
type mailbox struct {
	mu    sync.Mutex
	later string
	got   []string // the recipients of its messages
}

// serve answers the clients of l.
func (m *mailbox) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go m.talk(conn)
	}
}

func (m *mailbox) talk(conn net.Conn) {
	defer conn.Close()
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 hello")
	data := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch line := lines.Text(); {
		case data:
			if data = line != "."; !data {
				say("250 accepted")
			}
		case line == "DATA":
			data = true
			say("354 go on")
		case strings.HasPrefix(line, "RCPT TO:<"):
			say(m.recipient(strings.Trim(line[len("RCPT TO:"):], "<>")))
		default:
			say("250 fine")
		}
	}
}

func (m *mailbox) recipient(to string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if to == m.later {
		return "450 greylisted"
	}
	m.got = append(m.got, to)
	return "250 fine"
}

func (m *mailbox) reached() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.got, " ")
}

// TestNotifyDeferredRecipient sends to a mail server that refuses one of two
// recipients for now: each gets the message once.
func TestNotifyDeferredRecipient(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	box := &mailbox{later: "two@example.com"}
	go box.serve(l)
	r := newRig(t)
	r.secrets = newSealer(t)
	w := r.workers()
	mail, err := notify.NewMail("smtp://"+l.Addr().String(), "troy@example.com")
	if err != nil {
		t.Fatal(err)
	}
	w.deps.Notify = notify.NewSender(nil, mail)
	n := r.addNotifier(notify.Email, nil, notify.Target{To: []string{"one@example.com", "two@example.com"}}, "two people", notify.Events())
	d, err := r.in.TestNotifier(t.Context(), n, notify.Test)
	if err != nil {
		t.Fatal(err)
	}
	attempt := func(want string) {
		t.Helper()
		r.hurryNotify(w)
		_ = w.work(t.Context(), w.handlers[tasks.TypeNotify], tasks.Task{Kind: tasks.TypeNotify, Subject: d.ID})
		if got := box.reached(); got != want {
			t.Errorf("the message has reached %q, want %q", got, want)
		}
	}
	attempt("one@example.com")
	attempt("one@example.com")
	box.mu.Lock()
	box.later = ""
	box.mu.Unlock()
	attempt("one@example.com two@example.com")
	if r.count("SELECT count(*) FROM notifications WHERE delivered AND attempts = 3") != 1 {
		t.Error("the notification is not delivered with the third attempt")
	}
	// People who ask for it again want it for all.
	if _, err := r.in.Redeliver(t.Context(), n, d.ID); err != nil {
		t.Fatal(err)
	}
	attempt("one@example.com two@example.com one@example.com two@example.com")
}
