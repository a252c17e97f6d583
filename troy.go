// Package troy holds the nouns of Troy, a deployment service for static
// sites: a pipeline's statuses and the transitions between them, a
// deployment's states, slugs, and the kinds of errors. It does no I/O and
// imports nothing of the module; every other package may import it.
package troy
