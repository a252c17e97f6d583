package notify

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"github.com/troy-iaas/troy"
)

// Mail sends e-mail through the operator's SMTP server.
type Mail struct {
	client *gomail.Client
	from   *mail.Address
}

// NewMail returns a Mail for an address like smtp://user:password@host:587,
// which uses STARTTLS, or smtps://…, which uses TLS from the start, and the
// sender's address. Only a server on this machine may lack TLS.
func NewMail(server, from string) (*Mail, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "smtp" && u.Scheme != "smtps") || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("it is not an address like smtp://user:password@mail.example.com:587 or smtps://…")
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("%q is not a sender like Troy <troy@example.com>", from)
	}
	options := []gomail.Option{gomail.WithTimeout(sendTimeout), gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithPort(587)}
	if u.Scheme == "smtps" {
		options = append(options, gomail.WithSSL(), gomail.WithPort(465))
	} else if host := u.Hostname(); host == "localhost" || host == "127.0.0.1" || host == "::1" {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if text := u.Port(); text != "" {
		port, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("its port %q is not a number", text)
		}
		options = append(options, gomail.WithPort(port))
	}
	if u.User != nil {
		password, _ := u.User.Password()
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	client, err := gomail.NewClient(u.Hostname(), options...)
	if err != nil {
		return nil, errors.New("its host or port can't be used")
	}
	return &Mail{client, sender}, nil
}

func (s *Mail) send(ctx context.Context, to []string, m Message) (Answer, error) {
	if s == nil {
		return Answer{}, troy.Errorf(troy.Conflict, "this installation sends no e-mail (TROY_SMTP_URL is not set)")
	}
	title, lines, page, err := m.words()
	if err != nil {
		return Answer{}, err
	}
	msg := gomail.NewMsg()
	msg.FromMailAddress(s.from)
	if err := msg.To(to...); err != nil {
		return Answer{}, errors.New("an e-mail address of the notifier can't be used")
	}
	msg.Subject(title)
	_, domain, _ := strings.Cut(s.from.Address, "@")
	msg.SetMessageIDWithValue(m.ID.String() + "@" + domain)
	msg.SetDateWithValue(m.Time)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nothing answers it by itself
	msg.SetBodyString(gomail.TypeTextPlain, strings.Join(append(lines, "", page, ""), "\n"))
	if err := s.client.DialAndSendWithContext(ctx, msg); err != nil {
		answer := Answer{}
		if refused, ok := errors.AsType[*gomail.SendError](err); ok {
			answer.Status = refused.ErrorCode()
		}
		return answer, fmt.Errorf("send e-mail: %s", line(err.Error(), 300))
	}
	return Answer{Status: 250, Text: "accepted by the mail server"}, nil
}
