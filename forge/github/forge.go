package github

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// errNotSetUp is the error of requests without an app.
const errNotSetUp = forge.NotSetUp("GitHub is not set up: troyd github setup")

// Options are the other dependencies of a Forge.
type Options struct {
	// APIURL is the API's address; see Config. It determines the site's
	// address, since a GitHub Enterprise Server has both on one host.
	APIURL    string
	URL       string // Troy's own address
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Forge is GitHub in both directions, before and after Troy's app is made.
type Forge struct {
	*Client
	app App
	url string
	log *slog.Logger
}

// NewForge returns the Forge of an app. Its errors name the invalid setting.
func NewForge(app App, o Options) (*Forge, error) {
	f := &Forge{app: app, url: o.URL, log: o.Log}
	site, enterprise := strings.CutSuffix(strings.TrimSuffix(o.APIURL, "/"), "/api/v3")
	if !enterprise {
		site = ""
	}
	var err error
	f.Client, err = New(Config{APIURL: o.APIURL, SiteURL: site, Transport: o.Transport, App: func(ctx context.Context) (forge.App, error) {
		app, err := app.Current(ctx)
		if err == nil && app.ClientID == "" {
			err = troy.Errorf(troy.Forbidden, "%w", errNotSetUp)
		}
		return app, err
	}})
	if err != nil {
		return nil, fmt.Errorf("TROY_GITHUB_URL: %w", err)
	}
	return f, nil
}

// Adapter returns the forge.Adapter for the rest of Troy.
func (f *Forge) Adapter() forge.Adapter {
	a := forge.Adapter{Provider: troy.GitHub, Webhook: f.webhook, Pages: pages, Routes: []forge.Route{
		{Method: http.MethodGet, Path: setupPath, Back: setupPath, Serve: f.setup},
		{Method: http.MethodGet, Path: setupPath + "/callback", Back: setupPath, Serve: f.callback},
	}}
	if f.app.Possible() {
		a.API = f
	}
	return a
}

// NeedsInstallation implements forge.Installations.
func (f *Forge) NeedsInstallation() bool { return true }

// Failed implements forge.Deliveries. Without an app there are no deliveries.
func (f *Forge) Failed(ctx context.Context, since time.Time) ([]forge.FailedDelivery, error) {
	app, err := f.app.Current(ctx)
	if err != nil || app.ClientID == "" {
		return nil, err
	}
	return f.Client.Failed(ctx, since)
}

// webhook implements forge.Adapter's Webhook with the app's secret.
func (f *Forge) webhook(ctx context.Context) (forge.Webhook, error) {
	app, err := f.app.Current(ctx)
	if err != nil {
		return forge.Webhook{}, fmt.Errorf("look up the GitHub app: %w", err)
	}
	return forge.Webhook{Headers: Headers, Verify: forge.HMAC(app.WebhookSecret), Parse: func(event string, body []byte) (troy.ForgeEvent, error) {
		e, err := Parse(event, body)
		return ours(e, app.ID), err
	}}, nil
}

// ours ignores the re-run button of any app but Troy's, whose number is app, or
// 0 if it is unknown.
func ours(e troy.ForgeEvent, app int64) troy.ForgeEvent {
	r, ok := e.(troy.Rerequest)
	if ok && app != 0 && r.AppID != strconv.FormatInt(app, 10) {
		return troy.Ignored{Name: "rerequested", Action: r.Action, Reason: "the check belongs to another app, " + r.AppID}
	}
	return e
}
