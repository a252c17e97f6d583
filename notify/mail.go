package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/troy-iaas/troy"
)

// Mail sends e-mail through the operator's SMTP server.
type Mail struct {
	host    string
	options []gomail.Option
	// implicit means TLS from the start.
	implicit *tls.Config
	from     *mail.Address
}

// NewMail returns a Mail for an address like smtp://user:password@host:587,
// which uses STARTTLS, or smtps://…, which uses TLS from the start, and the
// sender's address. Only a server on this machine may lack TLS. Certificates
// are verified with the authorities of the system or of SSL_CERT_FILE.
func NewMail(server, from string) (*Mail, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "smtp" && u.Scheme != "smtps") || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("it is not an address like smtp://user:password@mail.example.com:587 or smtps://…")
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("%q is not a sender like Troy <troy@example.com>", from)
	}
	m := &Mail{host: u.Hostname(), from: sender}
	security := &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}
	policy, port := gomail.TLSMandatory, 587
	switch {
	case u.Scheme == "smtps":
		// go-mail then finds that the connection is encrypted.
		m.implicit, policy, port = security, gomail.TLSOpportunistic, 465
	case m.host == "localhost" || m.host == "127.0.0.1" || m.host == "::1":
		policy = gomail.TLSOpportunistic
		// What may go without TLS may also go with a certificate for another name,
		// such as one that a mail server made for itself. A password may not.
		security.InsecureSkipVerify = u.User == nil
	}
	if text := u.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("its port %q is not a number", text)
		}
	}
	m.options = []gomail.Option{gomail.WithTimeout(sendTimeout), gomail.WithTLSPolicy(policy), gomail.WithPort(port), gomail.WithTLSConfig(security)}
	if u.User != nil {
		password, _ := u.User.Password()
		m.options = append(m.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	if _, err := gomail.NewClient(m.host, m.options...); err != nil {
		return nil, errors.New("its host or port can't be used")
	}
	return m, nil
}

func (s *Mail) send(ctx context.Context, to []string, m Message) (Answer, error) {
	if s == nil {
		return Answer{}, troy.Errorf(troy.Conflict, "this installation sends no e-mail (TROY_SMTP_URL is not set)")
	}
	msg, err := s.message(to, m)
	if err != nil {
		return Answer{}, err
	}
	answer, err := s.deliver(ctx, to, msg)
	if err == nil {
		return answer, nil
	}
	if refused, ok := errors.AsType[*textproto.Error](err); ok {
		answer.Status = refused.Code
	}
	kind, text := troy.KindOf(err), line(err.Error(), 300)
	if ctx.Err() != nil {
		text = fmt.Sprintf("no answer within %s", sendTimeout)
	}
	if kind == troy.Conflict {
		return answer, troy.Errorf(kind, "send e-mail: %s", text)
	}
	return answer, fmt.Errorf("send e-mail: %s", text)
}

func (s *Mail) message(to []string, m Message) (*gomail.Msg, error) {
	title, lines, page, err := m.words()
	if err != nil {
		return nil, err
	}
	msg := gomail.NewMsg()
	msg.FromMailAddress(s.from)
	if err := msg.To(to...); err != nil {
		return nil, errors.New("an e-mail address of the notifier can't be used")
	}
	msg.Subject(title)
	_, domain, _ := strings.Cut(s.from.Address, "@")
	msg.SetMessageIDWithValue(m.ID.String() + "@" + domain)
	msg.SetDateWithValue(m.Time)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nothing answers it by itself
	msg.SetBodyString(gomail.TypeTextPlain, strings.Join(append(lines, "", page, ""), "\n"))
	return msg, nil
}

// deliver sends a message over a connection of its own, which the end of the
// context breaks off. The error is Conflict if the server refuses the message
// for good. A refused login is not a Conflict, because the operator can repair it.
func (s *Mail) deliver(ctx context.Context, to []string, msg *gomail.Msg) (Answer, error) {
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close() // go-mail leaves it open after an error
		}
	}()
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		dialed, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn = dialed
		context.AfterFunc(ctx, func() { _ = dialed.Close() })
		if s.implicit == nil {
			return dialed, nil
		}
		secure := tls.Client(dialed, s.implicit)
		return secure, secure.HandshakeContext(ctx)
	}
	client, err := gomail.NewClient(s.host, append(s.options[:len(s.options):len(s.options)], gomail.WithDialContextFunc(dial))...)
	if err != nil {
		return Answer{}, err
	}
	c, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return Answer{}, err
	}
	answer, err := s.transfer(c, to, msg)
	if err == nil {
		_ = c.Quit() // the server has the message, whatever it answers now
	}
	return answer, err
}

// transfer sends a message to those recipients whom the server accepts. The error
// says whom it refuses for now.
func (s *Mail) transfer(c *smtp.Client, to []string, msg *gomail.Msg) (Answer, error) {
	if err := c.Mail((&mail.Address{Address: s.from.Address}).String()); err != nil {
		return Answer{}, forGood(err)
	}
	var done, refused []string
	var last, later error
	for _, address := range to {
		switch err := c.Rcpt((&mail.Address{Address: address}).String()); {
		case err == nil:
			done = append(done, address)
		case isForGood(err):
			done, refused, last = append(done, address), append(refused, address), err
		case isAnswer(err):
			later = fmt.Errorf("%s: %w", address, err)
		default:
			return Answer{}, err
		}
	}
	if len(refused) == len(done) {
		return Answer{Done: done}, cmp.Or(later, forGood(last))
	}
	w, err := c.Data()
	if err != nil {
		return Answer{}, forGood(err)
	}
	if _, err := msg.WriteTo(w); err != nil {
		return Answer{}, err
	}
	if err := w.Close(); err != nil {
		return Answer{}, forGood(err)
	}
	text := "accepted by the mail server"
	if later != nil {
		text = "the others have it"
	}
	if last != nil {
		text += line(fmt.Sprintf(", but not for %s: %s", strings.Join(refused, ", "), last), maxAnswer)
	}
	return Answer{Status: 250, Text: text, Done: done}, later
}

// isForGood reports whether the server's answer is one that repetitions do not
// change (RFC 5321, section 4.2.1).
func isForGood(err error) bool {
	answer, ok := errors.AsType[*textproto.Error](err)
	return ok && answer.Code >= 500 && answer.Code != 530 // wants a login, which the operator may set
}

// isAnswer reports whether an error is the server's answer.
func isAnswer(err error) bool {
	_, ok := errors.AsType[*textproto.Error](err)
	return ok
}

// forGood makes such an answer a Conflict, which is not tried again.
func forGood(err error) error {
	if isForGood(err) {
		return troy.Errorf(troy.Conflict, "%w", err)
	}
	return err
}
