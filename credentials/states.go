package credentials

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	// ConnectPrefix begins the paths of all Connect apps. A State follows it.
	ConnectPrefix = "/bitbucket/connect/"
	// connectValid is how long the address of a Connect app accepts a first
	// installation.
	connectValid = time.Hour
)

// stateForm matches the results of rand.Text, which have more than 128 random
// bits.
var stateForm = regexp.MustCompile(`^[A-Z2-7]{26,64}$`)

// State is a random text that identifies a set-up that was begun at a forge.
// The address of a Connect app contains one; it is a credential until the first
// installation.
type State string

// NewState returns a random state.
func NewState() State { return State(rand.Text()) }

// Valid reports whether the state has the form of NewState's results.
func (s State) Valid() bool { return stateForm.MatchString(string(s)) }

// Hash returns the digest of the state that is stored.
func (s State) Hash() []byte { return hash(string(s)) }

// ConnectPath returns the path of the Connect app with this state, relative to
// Troy's address.
func (s State) ConnectPath() string { return ConnectPrefix + string(s) }

// DescriptorPath returns the path of that app's descriptor.
func (s State) DescriptorPath() string { return s.ConnectPath() + "/connect.json" }

// IssueConnect creates an address from which a Connect app, identified by
// appKey, can be installed once within an hour. The state is a credential until
// then.
func IssueConnect(ctx context.Context, db queries.DBTX, appKey, actor string) (State, error) {
	state := NewState()
	err := queries.New(db).SetupStateIssue(ctx, queries.SetupStateIssueParams{
		Hash: state.Hash(), Provider: string(troy.Bitbucket), Actor: actor, AppKey: &appKey, ValidSeconds: connectValid.Seconds(),
	})
	if err != nil {
		return "", fmt.Errorf("issue the address of the Connect app %s: %w", appKey, err)
	}
	return state, nil
}
