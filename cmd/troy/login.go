package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

// maxToken is the maximum length of a token in bytes.
const maxToken = 4 << 10

func newLogin(a *app) *cobra.Command {
	var name string
	var stdin bool
	cmd := &cobra.Command{
		Use:   "login [URL]",
		Short: "Store a token for a server",
		Long: `Store a token for a server, so that commands need no TROY_TOKEN. The token is
typed, or read from stdin with --token-stdin. The server checks it before it is
stored in $XDG_CONFIG_HOME/troy/config.json, which only you can read.
Each server is a context; the new one becomes the current one. The default for
URL is --url or TROY_URL, then the current context's server, then
` + defaultURL + `.

Create a token with troy token create or, on the server, troyd token create.`,
		Example: `  troy login https://troy.example.com
  troy login https://troy.example.com --context work --token-stdin < token.txt`,
		Args: arguments(0, "an address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				a.url = args[0]
			}
			return login(cmd.Context(), a, name, stdin)
		},
	}
	cmd.Flags().StringVar(&name, "context", "", "the context's `name`; the default is the server's host")
	cmd.Flags().BoolVar(&stdin, "token-stdin", false, "read the token from stdin")
	return cmd
}

func login(ctx context.Context, a *app, name string, stdin bool) error {
	all, err := a.contexts()
	if err != nil {
		return err
	}
	e := endpoint{}
	e.url, e.field = a.givenURL()
	if a.url != "" {
		e.field = ""
	}
	if e.url == "" {
		e.url = all.Contexts[all.Current].URL
	}
	if e.url == "" {
		e.url = defaultURL
	}
	c, err := newClient(e) // report a wrong address before the question
	if err != nil {
		return err
	}
	if name == "" {
		if name = all.of(c.BaseURL); name == "" {
			name = hostOf(c.BaseURL)
		}
		if taken, ok := all.Contexts[name]; ok && !sameServer(taken.URL, c.BaseURL) {
			name = c.BaseURL // the host has another server, over http or https
		}
	}
	if name != clean(name) || strings.TrimSpace(name) == "" || len(name) > 100 {
		return troy.Errorf(troy.Invalid, "the name must have 1 to 100 printable characters").At("--context")
	}
	if e.token, err = a.readToken(ctx, c.BaseURL, stdin); err != nil {
		return err
	}
	e.from = "the token"
	if c, err = newClient(e); err != nil {
		return err
	}
	who, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	all.Current = name
	all.Contexts[name] = server{URL: c.BaseURL, Token: c.Token}
	if err := a.save(all); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(who)
	}
	_, _ = fmt.Fprintf(a.err, "Logged in to %s with the token %s (%s), as the context %s.\n", c.BaseURL, clean(who.Token.Name), clean(who.Token.Role), name)
	if a.env("TROY_TOKEN") != "" {
		_, _ = fmt.Fprintln(a.err, "Note: TROY_TOKEN is set and takes precedence.")
	}
	return nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host + strings.TrimSuffix(u.Path, "/")
}

// readToken reads a token without showing it.
func (a *app) readToken(ctx context.Context, server string, stdin bool) (string, error) {
	var token string
	switch {
	case stdin:
		text, err := io.ReadAll(io.LimitReader(a.in, maxToken+1))
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token = string(text)
	case !a.canAsk():
		return "", troy.Errorf(troy.Invalid, "there is no terminal to type the token on; use --token-stdin")
	default:
		var err error
		if token, err = a.ask(ctx, "Token for "+server, true); err != nil {
			return "", err
		}
	}
	token = strings.TrimSpace(token)
	switch {
	case token == "":
		return "", troy.Errorf(troy.Invalid, "the token is empty")
	case len(token) > maxToken:
		return "", troy.Errorf(troy.Invalid, "the token has more than %d characters", maxToken)
	}
	return token, nil
}

func newLogout(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "logout [NAME]",
		Short: "Forget the token of the current context, or of the one with NAME",
		Long: `Forget the token of the current context, or of the one with NAME. The token
stays valid: to revoke it, use troy token revoke.`,
		Args: arguments(0, "a context"),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := a.contexts()
			if err != nil {
				return err
			}
			name := all.Current
			if len(args) > 0 {
				name = args[0]
			}
			known, ok := all.Contexts[name]
			if !ok {
				return noContext(all, name)
			}
			delete(all.Contexts, name)
			if all.Current == name {
				all.Current = ""
			}
			if err := a.save(all); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.err, "Forgot the token for %s. It stays valid until it expires or is revoked.\n", clean(known.URL))
			return err
		},
	}
}

func noContext(all contexts, name string) error {
	if name == "" {
		return troy.Errorf(troy.NotFound, "there is no current context; to create one, run: troy login URL")
	}
	e := troy.Errorf(troy.NotFound, "there is no context %q", troy.Clip(name))
	if near := nearest(name, all.names()); near != "" {
		e.Message += "; did you mean " + near + "?"
	}
	return e
}
