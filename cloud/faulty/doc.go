// Package faulty wraps a cloud with scripted faults, so that tests can make
// any outside call of a started process fail, hang or kill it. It exists
// under the build tag faults only; TROY_FAULTS names the script.
package faulty
