// Package checkup has what a look at one part of an installation found, as
// `troyd doctor` prints it. Each part is looked at by the package that uses it.
package checkup

import "fmt"

// Finding is what a look at one part of a configuration found.
type Finding struct {
	Part string // "certificate"
	// Said is what was found.
	Said string
	// Remedy is what to do about it; empty means that all is well.
	Remedy string
}

// Tell is called with each finding as it is made.
type Tell func(Finding)

// Well tells of a part that is as it should be.
func (t Tell) Well(part, format string, args ...any) {
	t(Finding{Part: part, Said: fmt.Sprintf(format, args...)})
}

// Wrong tells of a part that is not, and what to do about it.
func (t Tell) Wrong(part, said, remedy string, args ...any) {
	t(Finding{Part: part, Said: said, Remedy: fmt.Sprintf(remedy, args...)})
}
