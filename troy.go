// Package troy defines the domain of Troy, a deployment service for static
// sites: the statuses of a pipeline and their transitions, the states of a
// deployment, slugs, and the kinds of errors. It does no I/O and imports no
// other package of the module; every other package may import it.
package troy
