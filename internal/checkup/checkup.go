// Package checkup defines the findings that `troyd doctor` prints. Each part of
// an installation is checked by the package that uses it.
package checkup

import "fmt"

// Finding is the result of checking one part of an installation.
type Finding struct {
	Part string // "certificate"
	// Said describes the result.
	Said string
	// Remedy says how to fix a problem. It is empty if there is none.
	Remedy string
}

// Tell receives each finding.
type Tell func(Finding)

// Well reports a part without a problem.
func (t Tell) Well(part, format string, args ...any) {
	t(Finding{Part: part, Said: fmt.Sprintf(format, args...)})
}

// Wrong reports a part with a problem and its remedy.
func (t Tell) Wrong(part, said, remedy string, args ...any) {
	t(Finding{Part: part, Said: said, Remedy: fmt.Sprintf(remedy, args...)})
}
