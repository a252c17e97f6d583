package client

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy/site"
)

// manifestReader reads a NewRelease as JSON, a few files at a time: the whole
// text of 100,000 files has about 15 MB.
type manifestReader struct {
	files []site.File // those not yet in text
	text  []byte
	tail  []byte
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
	return &manifestReader{files: files, text: []byte(begin + "["), tail: append([]byte{']'}, rest[len(begin)+len(none):]...)}, nil
}

func (m *manifestReader) Read(p []byte) (int, error) {
	for len(m.text) < len(p) && len(m.files) > 0 {
		var err error
		if m.text, err = appendFile(m.text, m.files[0]); err != nil {
			return 0, err
		}
		if m.files = m.files[1:]; len(m.files) > 0 {
			m.text = append(m.text, ',')
		}
	}
	if len(m.files) == 0 {
		m.text = append(m.text, m.tail...)
		m.tail = nil
	}
	if len(m.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.text)
	m.text = m.text[:copy(m.text, m.text[n:])]
	return n, nil
}

// appendFile appends a file as JSON. A manifest has up to 100,000 of them, for
// which reflection would take longer than all else.
func appendFile(b []byte, f site.File) ([]byte, error) {
	b, err := jsontext.AppendQuote(append(b, `{"path":`...), f.Path)
	if err != nil {
		return b, fmt.Errorf("the path %q: %w", f.Path, err)
	}
	b = hex.AppendEncode(append(b, `,"sha256":"`...), f.SHA256[:])
	return append(strconv.AppendInt(append(b, `","size":`...), f.Size, 10), '}'), nil
}

// manifestCall returns the call that begins a release.
func manifestCall(path string, n NewRelease) (call, error) {
	k := call{method: http.MethodPost, path: path, header: http.Header{"Content-Type": {"application/json"}}, query: url.Values{"brief": {"true"}}}
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
