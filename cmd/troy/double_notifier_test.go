package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func (d *double) listNotifiers(*http.Request) (answer, error) {
	return answer{200, map[string]any{"notifiers": append([]client.Notifier{}, d.notifiers...)}}, nil
}

// addNotifier disables at once what leads to gone.example.com.
func (d *double) addNotifier(r *http.Request) (answer, error) {
	var n client.NewNotifier
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	made := client.Notifier{ID: uuid.New(), Kind: n.Kind, Label: "example.com", Events: []string{"deployment.failed"}, CreatedAt: time.Now(), CreatedBy: "token ada"}
	if n.Pipeline != "" {
		made.PipelineID, made.Slug = new(uuid.New()), n.Pipeline
	}
	switch {
	case n.Kind == "pager":
		return answer{}, troy.Errorf(troy.Invalid, `"pager" is not a kind; expected webhook, slack, discord, teams or email`).At("kind")
	case n.Kind == "email":
		made.Label = n.To[0]
	case n.URL == "https://gone.example.com":
		now := time.Now()
		made.DisabledAt, made.DisabledReason = &now, "the receiver answered 410 Gone"
	case n.Kind == "webhook":
		made.SigningKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	}
	d.notifiers = append(d.notifiers, made)
	d.notifiers[len(d.notifiers)-1].SigningKey = ""
	return answer{201, made}, nil
}

func (d *double) onNotifier(status int, f func(*client.Notifier) any) func(*http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		i := slices.IndexFunc(d.notifiers, func(n client.Notifier) bool { return n.ID.String() == r.PathValue("n") })
		if i < 0 {
			return fail(troy.NotFound, "notifier not found: %s", r.PathValue("n"))
		}
		return answer{status, f(&d.notifiers[i])}, nil
	}
}

func (d *double) removeNotifier(r *http.Request) (answer, error) {
	d.notifiers = slices.DeleteFunc(d.notifiers, func(n client.Notifier) bool { return n.ID.String() == r.PathValue("n") })
	return answer{204, nil}, nil
}

func rotated(n *client.Notifier) any {
	until := time.Now().Add(24 * time.Hour)
	n.EarlierKeysUntil = &until
	shown := *n
	shown.SigningKey = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	return shown
}

func (d *double) testNotifier(*client.Notifier) any {
	now := time.Now()
	d.sent = append(d.sent, client.Delivery{
		ID: uuid.New(), Event: "test", Details: []byte(`{}`), CreatedAt: now, State: "failed", Attempts: 13, TriedAt: &now, Status: 500,
		Answer: "given up: failed 13 times: the receiver answered 500",
	})
	return d.sent[len(d.sent)-1]
}
