package forge

import (
	"context"
	"io/fs"
	"net/http"

	"github.com/troy-iaas/troy"
)

// Adapter is one forge in both directions: what Troy asks of it, and what it
// sends. The forge's package makes it, cmd/troyd lists all of them, and web
// serves what they receive.
type Adapter struct {
	Provider troy.Provider
	// API is what Troy asks of the forge. It is nil if no credentials for it are
	// there or can be kept.
	API Forge
	// Webhook returns how deliveries are verified and parsed. It is asked for
	// each delivery, so that a secret that was just made is used at once.
	Webhook func(ctx context.Context) (Webhook, error)
	// Routes are what Troy serves for the forge beside its webhook.
	Routes []Route
	// Pages has the html/template files of the routes' pages, or is nil.
	Pages fs.FS
	// Hidden begins the paths whose next segment is a credential, which no log
	// shows. It is empty if there are none.
	Hidden string
}

// Route is a path below Troy's address where a forge is set up, or where a
// forge's app sends messages.
type Route struct {
	// Path may have parameters, as in "/bitbucket/connect/:state/events".
	// Handlers read them by http.Request.PathValue.
	Method, Path string
	// Back is set for pages, which only admins of all pipelines see: where their
	// failures lead back to.
	Back string
	// Refusal is what the log calls a message that is refused, and Challenge the
	// scheme that it has to authenticate by. Both are empty for routes whose
	// refusals are not audited.
	Refusal, Challenge string
	Serve              func(ctx context.Context, r Request) (Answer, error)
}

// Request is a request to a Route.
type Request struct {
	HTTP *http.Request
	ID   string // names the request in the log
	// Admin is who asked for a page, and empty for other routes.
	Admin string
	// Sender notes in the log who sent the request.
	Sender func(name string)
	// Read reads the body, of at most most bytes. Its memory is held until the
	// request was answered.
	Read func(most int64) ([]byte, error)
}

// Answer is what a Route answers with: the first of its parts that is set, or
// the status alone.
type Answer struct {
	Status   int
	Verified *Verified // is taken in, and answered as deliveries are
	Page     *Page
	Location string // redirects there
	JSON     []byte
}

// Verified is a delivery whose sender was verified, with how it is parsed.
type Verified struct {
	Delivery Delivery
	Body     []byte
	Parse    func(event string, body []byte) (troy.ForgeEvent, error)
}

// Page is a page of an Adapter's Pages.
type Page struct {
	Template string // its file's name
	// View is what the template calls .View, beside the .Host, .Style and .Script
	// that every page has.
	View any
	// FormTo is an address that a form of the page may be sent to, besides Troy
	// itself.
	FormTo string
}

// NotSetUp is an error that says that there are no credentials for a forge, or
// no longer. It is an ErrInstallation: for those who read the forge's
// repositories it is as if an app was removed, which may be put right.
type NotSetUp string

func (e NotSetUp) Error() string { return string(e) }

// Is reports whether target is ErrInstallation.
func (NotSetUp) Is(target error) bool { return target == ErrInstallation }

// CheckSecret reports by wrong a setting that has too short a secret.
func CheckSecret(setting, secret string, wrong func(setting, format string, args ...any)) {
	if n := len(secret); n > 0 && n < 16 {
		wrong(setting, "has %d characters; at least 16 are needed", n)
	}
}
