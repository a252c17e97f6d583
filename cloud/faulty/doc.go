// Package faulty wraps a cloud with scripted faults, so that tests can make any
// outside call of a running process fail, hang or kill it. It exists only under
// the build tag faults; TROY_FAULTS names the script.
package faulty
