// Package mutant names mistakes that Troy can be made to make, so that the
// chaos run is held to noticing them (docs/reliability.md). Only programs that
// are built with the tag `faults` make any, those that TROY_MUTANT lists with
// commas between them.
package mutant

// The mistakes.
const (
	// SweepOff: nobody looks for rows whose ring was lost.
	SweepOff = "sweep-off"
	// EpochOff: a worker whose claim was taken over goes on under the new one.
	EpochOff = "epoch-off"
	// EarlyEvent: that an event came is committed before what it does.
	EarlyEvent = "early-event"
	// DedupeOff: an event that came before is taken in again.
	DedupeOff = "dedupe-off"
	// AdoptionOff: what a lost call has made is not looked for.
	AdoptionOff = "adoption-off"
	// EarlyFlip: the pointer moves before the files are whole.
	EarlyFlip = "early-flip"
	// SentinelRollback: an error that only tells of a transition rolls it back.
	SentinelRollback = "sentinel-rollback"
	// DropWork: a build that is done does not ask for its publishing.
	DropWork = "drop-work"
	// NetOff: nobody looks for rows that nothing would ever move.
	NetOff = "net-off"
)

// All lists them.
func All() []string {
	return []string{SweepOff, EpochOff, EarlyEvent, DedupeOff, AdoptionOff, EarlyFlip, SentinelRollback, DropWork, NetOff}
}
