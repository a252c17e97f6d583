package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// accessOptions are the flags of troy access.
type accessOptions struct {
	generate, yes, noWait bool
	timeout               duration
}

func newAccess(a *app) *cobra.Command {
	o := accessOptions{timeout: duration{Duration: time.Minute}}
	cmd := &cobra.Command{
		Use:   "access P [CHANGE]",
		Short: "Show or change who may see a pipeline's site",
		Long: `Show or change who may see a pipeline's site. Without passwords and networks
everyone may. With both, a visitor must come from one of the networks and know
one of the passwords. CHANGE is one of:

  password add NAME     set the password NAME. You type it or, without a
                        terminal, pass it on stdin. Changing a password signs
                        out everyone who used it
  password remove NAME  remove the password NAME and sign out everyone who
                        used it
  allow NETWORK         let visitors from a network in, such as 203.0.113.0/24,
                        2001:db8::/32 or a single address, and no others
  disallow NETWORK      remove a network from the list
  protect previews      let everyone see the site, but protect its previews
  protect site          protect the site and its previews, as at first
  previews signed-in    show previews only to people who are signed in to Troy
                        and may see the pipeline. Programs may send a
                        password. A repetition signs everyone out
  previews password     show previews to those who know a password or come
                        from a listed network, as without signed-in
  previews public       show previews to everyone, if nothing else protects
                        them
  off                   remove all passwords and networks, and let everyone
                        see the site and its previews

A change returns when it holds, so that no visitor sees the site otherwise.
Changes always need P, also in a linked folder.`,
		Example: `  troy access blog
  troy access blog password add client --generate
  troy access blog allow 203.0.113.0/24
  troy access blog previews signed-in
  troy access blog off`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(1, "a pipeline", "a change", "", "")(cmd, args); err != nil {
				return err
			}
			_, err := parseAccess(a, &o, args[1:])
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := parseAccess(a, &o, args[1:])
			if err != nil {
				return err
			}
			return access(cmd.Context(), a, args[0], change, o)
		},
	}
	cmd.Flags().BoolVar(&o.generate, "generate", false, "make the password that is added, and print it once")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return at once, before the change holds")
	cmd.Flags().Var(&o.timeout, "timeout", "wait at most this `long`; 0: no limit")
	return cmd
}

// accessChange carries out a change. It returns the text to say once the change
// holds.
type accessChange func(ctx context.Context, c *client.Client, p client.Pipeline) (after client.Access, said string, err error)

// parseAccess returns the change that arguments ask for, or nil to show the
// state.
func parseAccess(a *app, o *accessOptions, args []string) (accessChange, error) {
	given := strings.Join(args, " ")
	is := func(words string) bool {
		fields := strings.Fields(words)
		return len(args) == len(fields)+1 && slices.Equal(args[:len(fields)], fields) && args[len(fields)] != ""
	}
	if o.generate && !is("password add") {
		return nil, troy.Errorf(troy.Invalid, "it can be used only with password add").At("--generate")
	}
	if o.generate && a.json {
		return nil, troy.Errorf(troy.Invalid, "it can't be combined with --json or --format, because the server's answer does not have the password").At("--generate")
	}
	switch {
	case len(args) == 0:
		return nil, nil
	case given == "off":
		return a.unprotect(o), nil
	case is("password add"):
		return a.addPassword(o, args[2]), nil
	case is("password remove"):
		return a.removePassword(o, args[2]), nil
	case is("allow"):
		return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
			after, err := c.AllowNetwork(ctx, p.Slug, args[1])
			return after, fmt.Sprintf("%s lists %s.", p.Slug, clean(args[1])), err
		}, nil
	case is("protect"):
		return a.protect(o, args[1]), nil
	case is("previews"):
		return a.setPreviews(o, args[1]), nil
	case is("disallow"):
		return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
			after, err := c.DisallowNetwork(ctx, p.Slug, args[1])
			return after, fmt.Sprintf("%s no longer lists %s.", p.Slug, clean(args[1])), err
		}, nil
	}
	return nil, troy.Errorf(troy.Invalid, "troy access: %q is not a change; expected password add NAME, password remove NAME, allow NETWORK, disallow NETWORK, protect previews, protect site, previews signed-in, previews password, previews public or off", clean(given))
}

func access(ctx context.Context, a *app, pipeline string, change accessChange, o accessOptions) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	if change == nil {
		now, err := c.Access(ctx, p.Slug)
		if err != nil {
			return err
		}
		return a.printAccess(p, now)
	}
	after, said, err := change(ctx, c, p)
	if err != nil {
		return err
	}
	if !o.noWait {
		if after, err = waitInForce(ctx, c, p, after, o.timeout.Duration); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(after)
	}
	if !after.InForce {
		said = "Accepted, but it does not hold yet. To check, run: troy access " + p.Slug
	}
	if after.InForce && after.Protected {
		if len(after.Passwords) > 0 || len(after.Networks) > 0 {
			said += fmt.Sprintf("\nWho may see %s: %s.", seen(p, after), whoMaySee(after))
		}
		if after.Previews == "signed-in" {
			said += "\nWho may see its previews: " + whoMaySeePreviews(after) + "."
			if len(after.Passwords) > 0 {
				said += "\nPrograms may send a password."
			}
		}
	}
	_, err = fmt.Fprintln(a.err, said)
	return err
}

// accessPoll is the time between two looks at whether a change holds.
const accessPoll = 200 * time.Millisecond

// waitInForce waits until a change holds.
func waitInForce(ctx context.Context, c *client.Client, p client.Pipeline, now client.Access, most time.Duration) (client.Access, error) {
	if most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	for !now.InForce {
		pause := time.NewTimer(accessPoll)
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-pause.C:
			var next client.Access
			if next, err = c.Access(ctx, p.Slug); err == nil {
				now = next
			}
		}
		pause.Stop()
		if errors.Is(err, context.DeadlineExceeded) {
			err = &timeoutError{fmt.Sprintf("the change is accepted, but does not hold yet after %s", most)}
			if now.Problem != "" {
				err = &timeoutError{err.Error() + ": " + now.Problem}
			}
		}
		if err != nil {
			return now, &hintError{err, fmt.Sprintf("the site may still be shown as before; to check, run: troy access %s", p.Slug)}
		}
	}
	return now, nil
}

func (a *app) addPassword(o *accessOptions, name string) accessChange {
	return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
		before, err := c.Access(ctx, p.Slug)
		if err != nil {
			return before, "", err
		}
		known := slices.ContainsFunc(before.Passwords, func(w client.AccessPassword) bool { return w.Name == name })
		if known && !o.yes {
			warning := fmt.Sprintf("%s has a password %s. This changes it and signs out everyone who used it.", p.Slug, clean(name))
			if err := a.sure(ctx, warning, name); err != nil {
				return before, "", err
			}
		}
		text := generated()
		if !o.generate {
			if text, err = a.readValue(ctx, "the password "+name, false); err != nil {
				return before, "", err
			}
		}
		after, err := c.SetAccessPassword(ctx, p.Slug, name, text, o.generate)
		if err != nil {
			return after, "", err
		}
		if o.generate && !a.json {
			_, _ = fmt.Fprintln(a.err, "The password is shown only now:")
			_, _ = fmt.Fprintln(a.out, text)
		}
		if known {
			return after, fmt.Sprintf("The password %s of %s is changed; everyone who used it is signed out.", clean(name), p.Slug), nil
		}
		return after, fmt.Sprintf("%s asks for a password; %s is one.", p.Slug, clean(name)), nil
	}
}

func (a *app) removePassword(o *accessOptions, name string) accessChange {
	return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
		if !o.yes {
			warning := fmt.Sprintf("This removes the password %s of %s and signs out everyone who used it.", clean(name), p.Slug)
			if err := a.sure(ctx, warning, name); err != nil {
				return client.Access{}, "", err
			}
		}
		after, err := c.RemoveAccessPassword(ctx, p.Slug, name)
		return after, fmt.Sprintf("%s does not accept the password %s any more.", p.Slug, clean(name)), err
	}
}

func (a *app) protect(o *accessOptions, scope string) accessChange {
	return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
		if scope == "previews" && !o.yes {
			if err := a.sure(ctx, fmt.Sprintf("This lets everyone see %s. Its previews stay protected.", p.Slug), p.Slug); err != nil {
				return client.Access{}, "", err
			}
		}
		after, err := c.SetAccessScope(ctx, p.Slug, scope)
		if scope == "previews" {
			return after, fmt.Sprintf("Everyone can see %s. Its previews are protected.", p.Slug), err
		}
		return after, fmt.Sprintf("%s and its previews are protected.", p.Slug), err
	}
}

func (a *app) setPreviews(o *accessOptions, previews string) accessChange {
	return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
		if previews == "public" && !o.yes {
			if err := a.sure(ctx, fmt.Sprintf("This lets everyone see the previews of %s.", p.Slug), p.Slug); err != nil {
				return client.Access{}, "", err
			}
		}
		after, err := c.SetPreviewAccess(ctx, p.Slug, previews)
		switch previews {
		case "signed-in":
			return after, fmt.Sprintf("People see previews of %s once they sign in to Troy.", p.Slug), err
		case "password":
			return after, fmt.Sprintf("The passwords and networks of %s decide who may see its previews.", p.Slug), err
		}
		return after, fmt.Sprintf("Everyone can see %s and its previews.", p.Slug), err
	}
}

func (a *app) unprotect(o *accessOptions) accessChange {
	return func(ctx context.Context, c *client.Client, p client.Pipeline) (client.Access, string, error) {
		if !o.yes {
			if err := a.sure(ctx, fmt.Sprintf("This removes all passwords and networks of %s, so that everyone can see the site.", p.Slug), p.Slug); err != nil {
				return client.Access{}, "", err
			}
		}
		after, err := c.Unprotect(ctx, p.Slug)
		return after, fmt.Sprintf("Everyone can see %s.", p.Slug), err
	}
}

// generated returns a random password of about 103 bits, without letters and
// digits that look alike, in groups that people can read to each other.
func generated() string {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789"
	raw := make([]byte, 64)
	rand.Read(raw) // never fails (crypto/rand)
	var out strings.Builder
	n := 0
	for _, b := range raw {
		// 248 is a multiple of 31, so that each letter is equally likely.
		if b >= 248 {
			continue
		}
		if n > 0 && n%5 == 0 {
			out.WriteByte('-')
		}
		out.WriteByte(letters[int(b)%len(letters)])
		if n++; n == 20 {
			return out.String()
		}
	}
	return generated() // once in about 10^30 calls
}

// seen names what whoMaySee is about.
func seen(p client.Pipeline, now client.Access) string {
	if now.Scope == "previews" {
		return "them"
	}
	return p.Slug
}

// whoMaySee says who may see what is protected.
func whoMaySee(now client.Access) string {
	switch {
	case len(now.Passwords) > 0 && len(now.Networks) > 0:
		return "those who know a password and come from a listed network"
	case len(now.Passwords) > 0:
		return "those who know a password"
	case len(now.Networks) > 0:
		return "those who come from a listed network"
	}
	return "everyone"
}

// whoMaySeePreviews says who may see the previews.
func whoMaySeePreviews(now client.Access) string {
	if now.Previews != "signed-in" {
		return whoMaySee(now)
	}
	if len(now.Networks) > 0 {
		return "people signed in to Troy, from a listed network"
	}
	return "people signed in to Troy"
}

func (a *app) printAccess(p client.Pipeline, now client.Access) error {
	if a.json {
		return a.printJSON(now)
	}
	inForce := "yes"
	if !now.InForce {
		inForce = "not yet"
		if now.Problem != "" {
			inForce += ": " + now.Problem
		}
	}
	protected := "the site and its previews"
	if now.Scope == "previews" {
		protected = "the previews; everyone may see the site"
	}
	if !now.Protected {
		protected = "nothing"
	}
	who := []field{{"Pipeline", p.Slug}, {"Protected", protected}, {"Who may see", whoMaySee(now)}}
	if now.Previews == "signed-in" {
		who = []field{{"Pipeline", p.Slug}, {"Protected", protected}, {"Who may see previews", whoMaySeePreviews(now)}}
		if now.Scope == "site" {
			who = append(who, field{"Who may see the site", whoMaySee(now)})
		}
	}
	a.out.view(append(who, field{"In force", inForce}, field{"Networks", strings.Join(now.Networks, ", ")})...)
	if len(now.Passwords) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(a.out)
	rows := make([][]cell, len(now.Passwords))
	for i, w := range now.Passwords {
		rows[i] = []cell{{text: w.Name}, {text: a.out.when(w.ChangedAt, time.Now())}}
	}
	a.out.table([]column{{title: "PASSWORD", least: 12}, {title: "CHANGED"}}, rows)
	return nil
}
