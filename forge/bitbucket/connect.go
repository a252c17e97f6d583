package bitbucket

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// routes are the Connect app's, below a separate address for each installation.
func (f *Forge) routes() []forge.Route {
	const app = connectPrefix + ":state"
	message := func(path string, h func(context.Context, forge.Request, queries.SetupState) (forge.Answer, error)) forge.Route {
		return forge.Route{
			Method: http.MethodPost, Path: app + path, Serve: f.message(h),
			Refusal: "a message to the Connect app was refused", Challenge: "JWT",
		}
	}
	return []forge.Route{
		{Method: http.MethodGet, Path: app + "/connect.json", Serve: f.describe},
		message("/installed", f.installed), message("/uninstalled", f.uninstalled), message("/events", f.event),
	}
}

func stateOfPath(r forge.Request) credentials.State {
	return credentials.State(r.HTTP.PathValue("state"))
}

// setupState looks up the state in the path.
func (f *Forge) setupState(ctx context.Context, r forge.Request) (queries.SetupState, error) {
	none := troy.Errorf(troy.NotFound, "address not found: it was never issued, or not used within an hour")
	state := stateOfPath(r)
	if !state.Valid() {
		return queries.SetupState{}, none
	}
	row, err := queries.New(f.DB).ConnectStateGet(ctx, state.Hash())
	if errors.Is(err, pgx.ErrNoRows) {
		return row, none
	}
	if err != nil {
		return row, fmt.Errorf("look up the state of a Connect app: %w", err)
	}
	return row, nil
}

// Describe returns the descriptor of the Connect app with a key, with the paths
// below its base URL.
func Describe(key, baseURL string) ([]byte, error) {
	return Descriptor{
		Key: key, Name: "Troy", Description: "Deploys static sites", BaseURL: baseURL,
		Installed: "/installed", Uninstalled: "/uninstalled", Events: "/events",
	}.JSON()
}

// describe answers with the descriptor: an installation begins with it, and
// Bitbucket reads it again for updates.
func (f *Forge) describe(ctx context.Context, r forge.Request) (forge.Answer, error) {
	state, err := f.setupState(ctx, r)
	if err != nil {
		return forge.Answer{}, err
	}
	if state.AppKey == nil {
		return forge.Answer{}, troy.Errorf(troy.Unavailable, "Bitbucket is not set up in this installation")
	}
	text, err := Describe(*state.AppKey, strings.TrimSuffix(f.URL, "/")+ConnectPath(stateOfPath(r)))
	if err != nil {
		return forge.Answer{}, fmt.Errorf("describe the Connect app: %w", err)
	}
	return forge.Answer{Status: http.StatusOK, JSON: text}, nil
}

// message makes a route's Serve from a handler of a Connect app's messages,
// which gets the state in the address.
func (f *Forge) message(h func(context.Context, forge.Request, queries.SetupState) (forge.Answer, error)) func(context.Context, forge.Request) (forge.Answer, error) {
	return func(ctx context.Context, r forge.Request) (forge.Answer, error) {
		if f.Secrets == nil {
			return forge.Answer{}, troy.Errorf(troy.Unavailable, "Connect installations can't be stored: TROY_SECRET_KEY is not set")
		}
		state, err := f.setupState(ctx, r)
		if err != nil {
			return forge.Answer{}, err
		}
		if state.ClientKey != nil {
			r.Sender("Connect installation " + *state.ClientKey)
		}
		return h(ctx, r, state)
	}
}

// verify checks a request's token against the secrets of an installation.
func verify(r forge.Request, clientKey string, secrets []string) error {
	token, err := ConnectToken(r.HTTP.Header, r.HTTP.URL.Query())
	if err != nil {
		return err
	}
	issuer, err := ConnectIssuer(token)
	if err != nil {
		return err
	}
	if issuer != clientKey {
		return troy.Errorf(troy.Unauthenticated, "the token's issuer is not the installation's clientKey")
	}
	request := ConnectRequest{
		Method: r.HTTP.Method, Path: r.HTTP.URL.EscapedPath(), Query: r.HTTP.URL.RawQuery, Base: ConnectPath(stateOfPath(r)),
	}
	for i, kept := range secrets {
		verified := VerifyConnect(token, request, clientKey, []byte(kept), time.Now())
		if verified == nil {
			return nil
		}
		if i == 0 {
			err = verified
		}
	}
	return err
}

// caller verifies the sender of a message to the address of an installation,
// with the installation's stored secrets.
func (f *Forge) caller(ctx context.Context, r forge.Request, state queries.SetupState) (queries.Installation, error) {
	unknown := troy.Errorf(troy.Unauthenticated, "this address has no installation yet")
	if state.ClientKey == nil {
		return queries.Installation{}, unknown
	}
	row, err := queries.New(f.DB).InstallationGet(ctx, string(troy.Bitbucket), *state.ClientKey)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Credentials == nil {
		return row, unknown
	}
	if err != nil {
		return row, fmt.Errorf("look up Connect installation %s: %w", *state.ClientKey, err)
	}
	kept, err := OpenConnect(f.Secrets, row.ID, row.Credentials)
	if err != nil {
		return row, err
	}
	return row, verify(r, row.ID, kept.Secrets)
}

// read reads a message to the Connect app.
func read(r forge.Request) ([]byte, error) {
	body, err := r.Read(MaxConnectBody)
	if err != nil {
		return nil, fmt.Errorf("read a message to the Connect app: %w", err)
	}
	return body, nil
}

// installed accepts an installation. The first one is unsigned and is checked
// by the state, which an operator issued. A message that names a known
// installation must be signed with an earlier secret of it, or repeat the
// newest message.
func (f *Forge) installed(ctx context.Context, r forge.Request, state queries.SetupState) (forge.Answer, error) {
	signed := r.HTTP.Header.Get("Authorization") != "" || r.HTTP.URL.Query().Has("jwt")
	if state.ClientKey != nil && signed {
		// Before the body is parsed.
		if _, err := f.caller(ctx, r, state); err != nil {
			return forge.Answer{}, err
		}
	}
	body, err := read(r)
	if err != nil {
		return forge.Answer{}, err
	}
	message, err := ParseInstalled(body)
	if err != nil {
		return forge.Answer{}, err
	}
	given := string(message.SharedSecret)
	account := message.Principal.Name
	if account == "" {
		account = message.Principal.ID
	}
	err = f.Intake.ConnectInstalled(ctx, intake.ConnectInstall{
		State: state.Hash, AppKey: message.AppKey, ClientKey: message.ClientKey, Account: account,
		Seal: func(current []byte) ([]byte, error) {
			kept := Connect{AppKey: message.AppKey}
			if current != nil {
				var err error
				if kept, err = OpenConnect(f.Secrets, message.ClientKey, current); err != nil {
					return nil, err
				}
				if !signed && subtle.ConstantTimeCompare([]byte(kept.Secrets[0]), []byte(given)) == 1 {
					return current, nil // repeated, because our answer was lost
				}
				if !signed {
					return nil, troy.Errorf(troy.Unauthenticated, "the installation is known; a new installation must be signed with its previous secret")
				}
				if err := verify(r, message.ClientKey, kept.Secrets); err != nil {
					return nil, err
				}
				if kept.AppKey != message.AppKey {
					return nil, troy.Errorf(troy.Forbidden, "the installation belongs to another app").At("key")
				}
			}
			return kept.With(given).Seal(f.Secrets, message.ClientKey)
		},
	})
	if err != nil {
		return forge.Answer{}, err
	}
	r.Sender("Connect installation " + message.ClientKey)
	f.Log.InfoContext(ctx, "the Connect app was installed", "request", r.ID, "installation", message.ClientKey,
		"account", account, "api", message.BaseAPIURL, "again", signed)
	return forge.Answer{Status: http.StatusNoContent}, nil
}

func (f *Forge) uninstalled(ctx context.Context, r forge.Request, state queries.SetupState) (forge.Answer, error) {
	installation, err := f.caller(ctx, r, state)
	if err != nil {
		return forge.Answer{}, err
	}
	body, err := read(r)
	if err != nil {
		return forge.Answer{}, err
	}
	message, err := ParseUninstalled(body)
	if err != nil {
		return forge.Answer{}, err
	}
	if message.ClientKey != installation.ID {
		return forge.Answer{}, troy.Errorf(troy.Forbidden, "the message names another installation than the one that signed it").At("clientKey")
	}
	if err := f.Intake.ConnectUninstalled(ctx, installation.ID); err != nil {
		return forge.Answer{}, err
	}
	f.Log.InfoContext(ctx, "the Connect app was uninstalled", "request", r.ID, "installation", installation.ID, "account", installation.Account)
	return forge.Answer{Status: http.StatusNoContent}, nil
}

// event accepts the webhooks of an installation. It verifies the token before
// it reads the body.
func (f *Forge) event(ctx context.Context, r forge.Request, state queries.SetupState) (forge.Answer, error) {
	installation, err := f.caller(ctx, r, state)
	if err != nil {
		return forge.Answer{}, err
	}
	if installation.State != "active" {
		return forge.Answer{}, troy.Errorf(troy.Forbidden, "the app was uninstalled from %s", installation.Account)
	}
	d, err := ConnectHeaders(r.HTTP.Header)
	if err != nil {
		return forge.Answer{}, err
	}
	body, err := r.Read(forge.MaxDelivery)
	if err != nil {
		return forge.Answer{}, fmt.Errorf("read a delivery of %s: %w", troy.Bitbucket, err)
	}
	return forge.Answer{Verified: &forge.Verified{Delivery: d, Body: body, Parse: func(event string, body []byte) (troy.ForgeEvent, error) {
		e, err := Parse(event, body)
		return seenBy(e, installation.ID), err
	}}}, nil
}

// seenBy sets the installation of an event, which Bitbucket's events do not
// contain.
func seenBy(e troy.ForgeEvent, installation string) troy.ForgeEvent {
	switch e := e.(type) {
	case troy.PushEvent:
		e.Installation = installation
		return e
	case troy.RepositoryChange:
		e.Installation = installation
		return e
	}
	return e
}
