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
	// ConnectPrefix begins the paths of all Connect apps. A state follows it.
	ConnectPrefix = "/bitbucket/connect/"
	// connectValid is how long the address of a Connect app is good for a first
	// installation.
	connectValid = time.Hour
)

// stateForm is what rand.Text makes, with more than 128 random bits.
var stateForm = regexp.MustCompile(`^[A-Z2-7]{26,64}$`)

// State is a random text that says who began a set-up at a forge. The address
// of a Connect app contains one, and is a credential until the first
// installation.
type State string

// NewState draws a state.
func NewState() State { return State(rand.Text()) }

// Valid reports whether the state has the form of those that NewState draws.
func (s State) Valid() bool { return stateForm.MatchString(string(s)) }

// Hash is what is stored of the state.
func (s State) Hash() []byte { return hash(string(s)) }

// ConnectPath is where the Connect app with the state is, below Troy's address.
func (s State) ConnectPath() string { return ConnectPrefix + string(s) }

// DescriptorPath is where the descriptor of that app is.
func (s State) DescriptorPath() string { return s.ConnectPath() + "/connect.json" }

// IssueConnect makes an address that a Connect app, known by appKey, can be
// installed from once within an hour. The state is a credential until then.
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
