package credentials

import (
	"crypto/rand"
	"regexp"
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
