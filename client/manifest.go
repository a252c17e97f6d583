package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/troy-iaas/troy/site"
)

// manifestReader reads a NewRelease as JSON, a few files at a time: the whole
// text of 100,000 files has about 15 MB.
type manifestReader struct {
	files []site.File // those not yet in text
	text  bytes.Buffer
	tail  []byte
	first bool
}

func newManifestReader(n NewRelease) (*manifestReader, error) {
	files := n.Files
	n.Files = nil
	// The rest begins as {"files":null.
	rest, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	const begin, none = `{"files":`, "null"
	m := &manifestReader{files: files, first: true, tail: append([]byte{']'}, rest[len(begin)+len(none):]...)}
	m.text.WriteString(begin + "[")
	return m, nil
}

func (m *manifestReader) Read(p []byte) (int, error) {
	for m.text.Len() < len(p) && len(m.files) > 0 {
		if !m.first {
			m.text.WriteByte(',')
		}
		m.first = false
		text, err := json.Marshal(m.files[0])
		if err != nil {
			return 0, err
		}
		m.text.Write(text)
		m.files = m.files[1:]
	}
	if len(m.files) == 0 {
		m.text.Write(m.tail)
		m.tail = nil
	}
	return m.text.Read(p)
}

// manifestCall returns the call that begins a release.
func manifestCall(path string, n NewRelease) (call, error) {
	k := call{method: http.MethodPost, path: path, header: http.Header{"Content-Type": {"application/json"}}}
	k.body = func() (io.Reader, error) { return newManifestReader(n) }
	r, err := newManifestReader(n)
	if err == nil {
		k.size, err = io.Copy(io.Discard, struct{ io.Reader }{r})
	}
	if err != nil {
		return k, fmt.Errorf("encode the body of %s %s: %w", k.method, path, err)
	}
	return k, nil
}

// decode reads a release from JSON, one missing file at a time.
func (r *Release) decode(d *json.Decoder) error {
	if err := expect(d, '{'); err != nil {
		return err
	}
	err := r.decodeMembers(d)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (r *Release) decodeMembers(d *json.Decoder) error {
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if name == "missing" {
			err = r.decodeMissing(d)
		} else {
			var value json.RawMessage
			if err = d.Decode(&value); err == nil {
				text, _ := json.Marshal(map[string]json.RawMessage{name.(string): value}) // of valid parts
				type plain Release
				err = json.Unmarshal(text, (*plain)(r))
			}
		}
		if err != nil {
			return err
		}
	}
	return expect(d, '}')
}

func (r *Release) decodeMissing(d *json.Decoder) error {
	begin, err := d.Token()
	if err != nil || begin == nil { // null
		return err
	}
	if begin != json.Delim('[') {
		return fmt.Errorf("missing is not a list")
	}
	for d.More() {
		var f site.File
		if err := d.Decode(&f); err != nil {
			return err
		}
		r.Missing = append(r.Missing, f)
	}
	return expect(d, ']')
}

func expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err == nil && token != want {
		err = fmt.Errorf("expected %q, got %v", want, token)
	}
	return err
}
