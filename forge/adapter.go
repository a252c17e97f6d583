package forge

import (
	"context"
	"io/fs"
	"net/http"

	"github.com/troy-iaas/troy"
)

// Adapter is one forge in both directions: Troy's requests to it, and its
// messages to Troy. The forge's package makes it, cmd/troyd lists all of them,
// and web serves the messages.
type Adapter struct {
	Provider troy.Provider
	// API handles requests to the forge. It is nil if Troy has no credentials
	// for it and can't store any.
	API Forge
	// Webhook returns the verifier and parser of deliveries. It is called for
	// each delivery, so that a new secret is used at once.
	Webhook func(ctx context.Context) (Webhook, error)
	// Routes are the forge's routes in addition to its webhook.
	Routes []Route
	// Pages has the html/template files of the routes' pages, or is nil.
	Pages fs.FS
	// Hidden is the prefix of paths whose next segment is a credential, which
	// no log shows. It is empty if there are none.
	Hidden string
}

// Route is a path below Troy's address for setting up a forge, or for messages
// from a forge's app.
type Route struct {
	// Path may have parameters, as in "/bitbucket/connect/:state/events".
	// Handlers read them with http.Request.PathValue.
	Method, Path string
	// Back is set for pages, which only admins of all pipelines see: their
	// failures link to it.
	Back string
	// Refusal is the log message for refused messages, and Challenge their
	// authentication scheme. Both are empty for routes whose refusals are not
	// audited.
	Refusal, Challenge string
	Serve              func(ctx context.Context, r Request) (Answer, error)
}

// Request is a request to a Route.
type Request struct {
	HTTP *http.Request
	ID   string // the request's id in the log
	// Admin is the user of a page, and empty for other routes.
	Admin string
	// Sender records the request's sender in the log.
	Sender func(name string)
	// Read reads the body, of at most most bytes. Its memory is held until the
	// request was answered.
	Read func(most int64) ([]byte, error)
}

// Answer is a Route's answer: the first of its parts that is set, or only the
// status.
type Answer struct {
	Status   int
	Verified *Verified // to accept, and to answer like deliveries
	Page     *Page
	Location string // redirects there
	JSON     []byte
}

// Verified is a delivery with a verified sender, and its parser.
type Verified struct {
	Delivery Delivery
	Body     []byte
	Parse    func(event string, body []byte) (troy.ForgeEvent, error)
}

// Page is a page of an Adapter's Pages.
type Page struct {
	Template string // its file's name
	// View is the template's .View, beside the .Host, .Style and .Script of
	// every page.
	View any
	// FormTo is an address to which a form of the page may be sent, in addition
	// to Troy itself.
	FormTo string
}

// NotSetUp is the error for a forge without credentials, or with removed ones.
// It is an ErrInstallation: readers of the forge's repositories treat it like a
// removed app, which may be installed again.
type NotSetUp string

func (e NotSetUp) Error() string { return string(e) }

// Is reports whether target is ErrInstallation.
func (NotSetUp) Is(target error) bool { return target == ErrInstallation }

// CheckSecret calls wrong for a setting whose secret is too short.
func CheckSecret(setting, secret string, wrong func(setting, format string, args ...any)) {
	if n := len(secret); n > 0 && n < 16 {
		wrong(setting, "has %d characters; expected at least 16", n)
	}
}
