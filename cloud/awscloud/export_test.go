package awscloud

import (
	"context"
	"io"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// CodeVersion is for tests.
const CodeVersion = codeVersion

// ReadPointers reads the pointers' store, at the address that flips use.
func (c *CDN) ReadPointers(ctx context.Context) error { return c.pointers.probe(ctx) }

// PublishedCode returns the functions' code by their kind, for Troy's address.
func PublishedCode(signIn string) map[string][]byte {
	all := map[string][]byte{}
	for _, p := range append(programs(), previewProgram()) {
		all[p.kind] = (&CDN{cfg: Config{SignIn: signIn}}).code(p)
	}
	return all
}

// GuardValues returns the KeyValueStore's values for a protection.
func GuardValues(p site.Protection, host string) ([]string, error) { return guardValues(p, host) }

// ServedValues returns the KeyValueStore's values for a program and keys.
func ServedValues(program []byte, keys map[string]bool) (map[string]string, error) {
	s, err := newServed(program, keys)
	return s.values("E1", site.Pointer{}), err
}

// ReadLog reads a compressed access log.
func ReadLog(ctx context.Context, stored io.Reader, each func(cloud.Request)) (int, error) {
	return readLog(ctx, stored, each)
}

// LabelsFit reports whether the values for a site's labels can hold these.
func LabelsFit(slug string, all []string) bool {
	var parts [labelParts]labels
	for _, label := range all {
		l := &parts[labelPart(label)]
		l.slug, l.all = slug, append(l.all, label)
		if len(l.value()) > maxValue {
			return false
		}
	}
	return true
}

// AgePreviews makes the next use look again at what previews share.
func (c *CDN) AgePreviews() {
	if was := c.prepared.Load(); was != nil {
		c.prepared.Store(&prepared{d: was.d})
	}
}
