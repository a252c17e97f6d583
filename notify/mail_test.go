package notify_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/notify"
)

// operators is the authority that the operator trusts, and strangers another.
var operators, strangers *authority

// TestMain makes the operator's authority the one of SSL_CERT_FILE, which Go
// reads once.
func TestMain(m *testing.M) {
	operators, strangers = newAuthority(), newAuthority()
	dir, err := os.MkdirTemp("", "notify-test-*")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "authorities.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: operators.cert.Raw}), 0o600); err != nil {
		panic(err)
	}
	_ = os.Setenv("SSL_CERT_FILE", file)
	_ = os.Setenv("SSL_CERT_DIR", dir)
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newAuthority() *authority {
	a := &authority{key: newKey()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		panic(err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		panic(err)
	}
	return a
}

// issue returns the settings of a server with a certificate for the loopback
// address or, with a name, for that name alone.
func (a *authority) issue(t *testing.T, name string, until time.Time) *tls.Config {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature}
	if name != "" {
		template.DNSNames = []string{name}
	} else {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)}
	}
	key := newKey()
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
}

// mailServer is an SMTP server.
type mailServer struct {
	tls      *tls.Config
	implicit bool
	auth     string            // the mechanisms that it offers; empty offers none
	answers  map[string]string // by the beginning of a command; "." ends the data. An empty one hangs, "-" breaks off

	mu       sync.Mutex
	commands []string // with what was sent in the clear marked
	mails    int
	open     sync.WaitGroup
	hung     chan struct{} // gets one when the server hangs
}

// hangs waits until the server hangs.
func (s *mailServer) hangs(ctx context.Context) {
	select {
	case <-s.hung:
	case <-ctx.Done():
	}
}

// start returns the server's address. It is not 127.0.0.1, from which Troy
// does not demand TLS.
func (s *mailServer) start(t *testing.T) string { return s.startAt(t, "127.0.0.2:0") }

func (s *mailServer) startAt(t *testing.T, at string) string {
	t.Helper()
	s.hung = make(chan struct{}, 1)
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s.open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Go(func() { s.serve(conn) })
		}
	})
	// Each connection ends because Troy closes it, also after an error.
	t.Cleanup(func() { _ = l.Close(); s.open.Wait() })
	return l.Addr().String()
}

func (s *mailServer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	secure := false
	if s.implicit {
		conn, secure = tls.Server(conn, s.tls), true
	}
	in := bufio.NewReader(conn)
	say := func(text string) bool {
		_, err := io.WriteString(conn, text+"\r\n")
		return err == nil
	}
	// answer answers a command and reports whether the connection goes on.
	answer := func(command, otherwise string) bool {
		for begin, text := range s.answers {
			if !strings.HasPrefix(command, begin) {
				continue
			}
			switch text {
			case "":
				s.hung <- struct{}{}
				_, _ = io.Copy(io.Discard, in)
				return false
			case "-":
				return false
			}
			return say(text)
		}
		return say(otherwise)
	}
	if !answer("greeting", "220 test") {
		return
	}
	data := false
	for {
		command, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command = strings.TrimRight(command, "\r\n")
		if data && command != "." {
			continue
		}
		s.note(command, secure)
		verb := strings.ToUpper(strings.Fields(command + " -")[0])
		var goesOn bool
		switch {
		case data:
			data = false
			if _, refuses := s.answers["."]; !refuses {
				s.mu.Lock()
				s.mails++
				s.mu.Unlock()
			}
			goesOn = answer(".", "250 queued")
		case verb == "EHLO":
			lines := []string{"test"}
			if s.tls != nil && !secure {
				lines = append(lines, "STARTTLS")
			}
			if s.auth != "" {
				lines = append(lines, "AUTH "+s.auth)
			}
			goesOn = say("250-" + strings.Join(lines, "\r\n250-") + "\r\n250 8BITMIME")
		case verb == "STARTTLS":
			if goesOn = answer(command, "220 go on"); goesOn {
				conn, secure = tls.Server(conn, s.tls), true
				in = bufio.NewReader(conn)
			}
		case verb == "AUTH":
			goesOn = answer(command, "235 welcome")
		case verb == "DATA":
			data = true
			goesOn = answer(command, "354 go on")
		case verb == "QUIT":
			answer(command, "221 bye")
			return
		default:
			goesOn = answer(command, "250 ok")
		}
		if !goesOn {
			return
		}
	}
}

func (s *mailServer) note(command string, secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !secure {
		command = "clear " + command
	}
	s.commands = append(s.commands, command)
}

func (s *mailServer) saw() (commands string, mails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n"), s.mails
}

const mailPassword = "s3cret-of-mail"

var plainLogin = base64.StdEncoding.EncodeToString([]byte("\x00ada\x00" + mailPassword))

// mailTo sends a message to a server at the address of TROY_SMTP_URL.
func mailTo(ctx context.Context, t *testing.T, address string, to ...string) (notify.Answer, error) {
	t.Helper()
	mail, err := notify.NewMail(address, "Troy <troy@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	a, err := notify.NewSender(nil, mail).Send(ctx, notify.Email, notify.Target{To: to}, message("deployment.failed", failed))
	if err != nil && (strings.Contains(err.Error(), mailPassword) || strings.Contains(err.Error(), plainLogin)) {
		t.Errorf("the error has the password: %v", err)
	}
	return a, err
}

// TestMailSecurity sends through servers with and without TLS. Whatever goes wrong,
// neither the password nor the message is sent in the clear.
func TestMailSecurity(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	good := operators.issue(t, "", later)
	for name, c := range map[string]struct {
		server *mailServer
		scheme string
		says   string // "" delivers
	}{
		"STARTTLS":                    {server: &mailServer{tls: good, auth: "PLAIN LOGIN"}, scheme: "smtp"},
		"TLS from the start":          {server: &mailServer{tls: good, auth: "PLAIN", implicit: true}, scheme: "smtps"},
		"another login":               {server: &mailServer{tls: good, auth: "LOGIN", answers: map[string]string{"AUTH LOGIN": "535 no"}}, scheme: "smtp", says: `535 "no"`},
		"no STARTTLS":                 {server: &mailServer{auth: "PLAIN LOGIN"}, scheme: "smtp", says: "does not support STARTTLS"},
		"STARTTLS that is refused":    {server: &mailServer{tls: good, auth: "PLAIN", answers: map[string]string{"STARTTLS": "454 no TLS now"}}, scheme: "smtp", says: "no TLS now"},
		"no TLS from the start":       {server: &mailServer{tls: good, auth: "PLAIN"}, scheme: "smtps", says: "tls: "},
		"a stranger's certificate":    {server: &mailServer{tls: strangers.issue(t, "", later), auth: "PLAIN"}, scheme: "smtp", says: "unknown authority"},
		"a stranger's from the start": {server: &mailServer{tls: strangers.issue(t, "", later), auth: "PLAIN", implicit: true}, scheme: "smtps", says: "unknown authority"},
		"another name's certificate":  {server: &mailServer{tls: operators.issue(t, "other.example.com", later), auth: "PLAIN"}, scheme: "smtp", says: "doesn't contain any IP SANs"},
		"another name from the start": {server: &mailServer{tls: operators.issue(t, "other.example.com", later), auth: "PLAIN", implicit: true}, scheme: "smtps", says: "doesn't contain any IP SANs"},
		"an expired certificate":      {server: &mailServer{tls: operators.issue(t, "", time.Now().Add(-time.Hour)), auth: "PLAIN"}, scheme: "smtp", says: "has expired"},
		"no login":                    {server: &mailServer{tls: good}, scheme: "smtp", says: "does not support SMTP AUTH"},
		"a wrong password":            {server: &mailServer{tls: good, auth: "PLAIN", answers: map[string]string{"AUTH": "535 wrong " + plainLogin[:4]}}, scheme: "smtp", says: `535 "wrong`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.server
			address := s.start(t)
			a, err := mailTo(t.Context(), t, c.scheme+"://ada:"+mailPassword+"@"+address, "ops@example.com")
			commands, mails := s.saw()
			for line := range strings.Lines(commands) {
				if command, clear := strings.CutPrefix(strings.TrimSpace(line), "clear "); clear && !strings.HasPrefix(command, "EHLO ") && command != "STARTTLS" && command != "QUIT" && c.scheme == "smtp" {
					t.Errorf("it was sent in the clear: %q", command)
				}
			}
			if c.says == "" {
				if err != nil || a.Status != 250 || mails != 1 || !strings.Contains(commands, "\nAUTH PLAIN "+plainLogin) && !strings.HasPrefix(commands, "AUTH") {
					t.Errorf("%+v, %v; the server got %d messages and\n%s", a, err, mails, commands)
				}
				return
			}
			// The operator can repair all of this, so that it is tried again.
			if err == nil || !strings.Contains(err.Error(), c.says) || mails != 0 || troy.KindOf(err) != troy.Internal {
				t.Errorf("%+v, %v; want %q; the server got %d messages and\n%s", a, err, c.says, mails, commands)
			}
		})
	}
}

// TestMailOnThisMachine sends to a server at 127.0.0.1, which may lack TLS and have
// a certificate of its own, unless there is a password.
func TestMailOnThisMachine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tls    *tls.Config
		auth   string
		user   string
		says   string
		secure bool
	}{
		"without TLS":                         {},
		"with a certificate of its own":       {tls: strangers.issue(t, "localhost.localdomain", time.Now().Add(time.Hour)), secure: true},
		"a password without TLS":              {auth: "PLAIN LOGIN", user: "ada:" + mailPassword + "@", says: "supported authentication"},
		"a password and an unknown authority": {tls: strangers.issue(t, "", time.Now().Add(time.Hour)), auth: "PLAIN", user: "ada:" + mailPassword + "@", says: "unknown authority"},
		"a password and the operator's":       {tls: operators.issue(t, "", time.Now().Add(time.Hour)), auth: "PLAIN", user: "ada:" + mailPassword + "@", secure: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &mailServer{tls: c.tls, auth: c.auth}
			_, port, _ := net.SplitHostPort(s.startAt(t, "127.0.0.1:0"))
			_, err := mailTo(t.Context(), t, "smtp://"+c.user+"127.0.0.1:"+port, "ops@example.com")
			commands, mails := s.saw()
			if strings.Contains(commands, "clear AUTH") {
				t.Errorf("a password was sent in the clear:\n%s", commands)
			}
			if c.says != "" {
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), c.says) || mails != 0 {
					t.Errorf("%v; want %q; the server got %d messages", err, c.says, mails)
				}
				return
			}
			if err != nil || mails != 1 || strings.Contains(commands, "clear MAIL") == c.secure {
				t.Errorf("%v; the server got %d messages and\n%s", err, mails, commands)
			}
		})
	}
}

// TestMailAnswers sends to servers that refuse, hang and break off at each step.
func TestMailAnswers(t *testing.T) {
	t.Parallel()
	good := operators.issue(t, "", time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		answers map[string]string
		status  int
		says    string
		final   bool // it is not tried again
		mails   int
		done    string // those to whom it is not sent again
	}{
		"no service":                          {answers: map[string]string{"greeting": "554 no service"}, status: 554, says: "no service"},
		"too busy":                            {answers: map[string]string{"greeting": "421 busy"}, status: 421, says: "busy"},
		"a sender refused":                    {answers: map[string]string{"MAIL": "550 not you"}, status: 550, says: "not you", final: true},
		"a sender later":                      {answers: map[string]string{"MAIL": "451 later"}, status: 451, says: "later"},
		"a sender who must log in":            {answers: map[string]string{"MAIL": "530 log in"}, status: 530, says: "log in"},
		"recipients refused":                  {answers: map[string]string{"RCPT": "550 no such user"}, status: 550, says: "no such user", final: true},
		"a recipient later":                   {answers: map[string]string{"RCPT TO:<two@": "450 greylisted"}, status: 450, says: "two@example.com: 450 \"greylisted\"", mails: 1, done: "one@example.com"},
		"recipients later":                    {answers: map[string]string{"RCPT": "450 greylisted"}, status: 450, says: "greylisted"},
		"a recipient breaks off":              {answers: map[string]string{"RCPT TO:<two@": "-"}, says: "EOF"},
		"a recipient later, then the message": {answers: map[string]string{"RCPT TO:<two@": "450 greylisted", ".": "451 disk full"}, status: 451, says: "disk full"},
		"a recipient refused":                 {answers: map[string]string{"RCPT TO:<two@": "550 no such user"}, status: 250, mails: 1},
		"one refused, one later":              {answers: map[string]string{"RCPT TO:<two@": "550 no such user", "RCPT TO:<one@": "452 full"}, status: 452, says: "full", done: "two@example.com"},
		"data refused":                        {answers: map[string]string{"DATA": "554 no data"}, status: 554, says: "no data", final: true},
		"a message refused":                   {answers: map[string]string{".": "554 spam"}, status: 554, says: "spam", final: true},
		"a message later":                     {answers: map[string]string{".": "451 disk full"}, status: 451, says: "disk full"},
		"no answer to the end":                {answers: map[string]string{"QUIT": "-"}, status: 250, mails: 1},
		"the end refused":                     {answers: map[string]string{"QUIT": "500 what"}, status: 250, mails: 1},
		"hangs at once":                       {answers: map[string]string{"greeting": ""}, says: "no answer within 10s"},
		"hangs at STARTTLS":                   {answers: map[string]string{"STARTTLS": ""}, says: "no answer within 10s"},
		"hangs at MAIL":                       {answers: map[string]string{"MAIL": ""}, says: "no answer within 10s"},
		"hangs after the data":                {answers: map[string]string{".": ""}, says: "no answer within 10s"},
		"hangs at the end":                    {answers: map[string]string{"QUIT": ""}, status: 250, mails: 1},
		"breaks off at once":                  {answers: map[string]string{"greeting": "-"}, says: "EOF"},
		"breaks off at RCPT":                  {answers: map[string]string{"RCPT": "-"}, says: "EOF"},
		"breaks off after data":               {answers: map[string]string{".": "-"}, says: "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &mailServer{tls: good, answers: c.answers}
			address := s.start(t)
			ctx, end := context.WithCancel(t.Context())
			defer end()
			if strings.HasPrefix(name, "hangs") {
				// The end of the context stands for that of the ten seconds.
				go func() { s.hangs(ctx); end() }()
			}
			a, err := mailTo(ctx, t, "smtp://"+address, "one@example.com", "two@example.com")
			_, mails := s.saw()
			if a.Status != c.status || mails != c.mails || (err == nil) != (c.says == "") {
				t.Fatalf("%+v, %v; the server got %d messages", a, err, mails)
			}
			if err != nil && (!strings.Contains(err.Error(), c.says) || (troy.KindOf(err) == troy.Conflict) != c.final) {
				t.Errorf("%v, kind %s; want %q, final %t", err, troy.KindOf(err), c.says, c.final)
			}
			if err != nil && !c.final && strings.Join(a.Done, " ") != c.done {
				t.Errorf("it is done for %q, want %q", a.Done, c.done)
			}
			if name == "a recipient refused" && a.Text != "accepted by the mail server, but not for two@example.com: 550 \"no such user\"" {
				t.Errorf("the answer is %q", a.Text)
			}
		})
	}
	mail, err := notify.NewMail("smtp://127.0.0.2:1", "troy@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := notify.NewSender(nil, mail).Send(t.Context(), notify.Email, notify.Target{To: []string{"ops@example.com"}}, message("deployment.failed", failed)); err == nil || a.Status != 0 || errors.Is(err, context.Canceled) {
		t.Errorf("no server: %+v, %v", a, err)
	}
}
