package secret

import (
	"crypto/rand"
	"fmt"
)

// App returns the subject of the credentials of Troy's app at a forge.
func App(provider string) Subject {
	return Subject{Kind: "forge_app", ID: provider, Name: "credentials"}
}

// NewSigningKey returns a random key for signatures.
func NewSigningKey() []byte {
	key := make([]byte, KeyBytes)
	rand.Read(key) // never fails (crypto/rand)
	return key
}

// Access returns the subject of a password of a protected site.
func Access(pipeline fmt.Stringer, name string) Subject {
	return Subject{Kind: "access", ID: pipeline.String(), Name: name}
}

// PreviewKey returns the subject of the key with which people who have a session
// of the dashboard are signed in to a pipeline's previews.
func PreviewKey(pipeline fmt.Stringer) Subject {
	return Subject{Kind: "preview_key", ID: pipeline.String(), Name: "key"}
}

// Installation returns the subject of an installation's credentials. id is the
// forge's id of the installation.
func Installation(provider, id string) Subject {
	return Subject{Kind: "installation", ID: provider + "/" + id, Name: "credentials"}
}

// Notifier returns the subject of where a notifier's messages go and what signs
// them.
func Notifier(id fmt.Stringer) Subject {
	return Subject{Kind: "notifier", ID: id.String(), Name: "target"}
}

// NotifierKeys returns the subject of the keys that signed a notifier's webhooks
// before the present one.
func NotifierKeys(id fmt.Stringer) Subject {
	return Subject{Kind: "notifier_key", ID: id.String(), Name: "earlier"}
}
