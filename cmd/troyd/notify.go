package main

import (
	"errors"
	"net/netip"

	"github.com/troy-iaas/troy/notify"
)

// notifyPrivate returns the networks of TROY_NOTIFY_PRIVATE.
func (c config) notifyPrivate() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range c.NotifyPrivate {
		n, err := network(text)
		if err != nil {
			return nil, err
		}
		networks = append(networks, n)
	}
	return networks, nil
}

// mail returns what sends e-mail, or nil if TROY_SMTP_URL is not set.
func (c config) mail() (*notify.Mail, error) {
	if c.SMTPURL == "" {
		return nil, nil
	}
	if c.SMTPFrom == "" {
		return nil, errors.New("TROY_SMTP_FROM is not set; expected the sender, like Troy <troy@example.com>")
	}
	return notify.NewMail(c.SMTPURL, c.SMTPFrom)
}

// noEmail says why notifications can't be sent by e-mail.
func (c config) noEmail() string {
	if c.SMTPURL == "" {
		return "this installation sends no e-mail; the operator can set TROY_SMTP_URL"
	}
	return ""
}

func (c config) checkNotify(wrong wrongly) {
	if _, err := c.notifyPrivate(); err != nil {
		wrong("TROY_NOTIFY_PRIVATE", "%s", err)
	}
	if _, err := c.mail(); err != nil {
		wrong("TROY_SMTP_URL", "%s", err)
	}
	if c.SMTPURL == "" && c.SMTPFrom != "" {
		wrong("TROY_SMTP_FROM", "is set without TROY_SMTP_URL")
	}
}

// notifier returns what sends notifications. The settings have been checked.
func (c config) notifier() (*notify.Sender, error) {
	private, err := c.notifyPrivate()
	if err != nil {
		return nil, err
	}
	mail, err := c.mail()
	if err != nil {
		return nil, err
	}
	return notify.NewSender(private, mail), nil
}
