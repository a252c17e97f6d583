package edge

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// reply is the response to a plain request. It implements http.ResponseWriter,
// io.ReaderFrom and what http.ResponseController needs.
type reply struct {
	conn     *conn
	header   http.Header
	head     bool   // the request is HEAD
	status   int    // 0 before WriteHeader
	sent     bool   // whether the header was written
	held     []byte // the start of a body of unknown length
	length   int64  // of the body, or -1 if it is unknown
	written  int64
	closing  bool // the connection ends with this response
	err      error
	deadline time.Time
	kept     *kept
}

func (r *reply) Header() http.Header { return r.header }

// keep implements hotWriter.
func (r *reply) keep(k kept) { r.kept = &k }

// SetWriteDeadline implements the method of http.ResponseController.
func (r *reply) SetWriteDeadline(t time.Time) error {
	r.deadline = t
	return nil
}

// WriteHeader implements http.ResponseWriter. An informational response is sent
// at once.
func (r *reply) WriteHeader(status int) {
	if r.status != 0 {
		return
	}
	if status >= 100 && status < 200 {
		var b bytes.Buffer
		statusLine(&b, status)
		_ = r.header.WriteSubset(&b, map[string]bool{"Content-Length": true, "Transfer-Encoding": true})
		b.WriteString("\r\n")
		r.fail(r.conn.write(r.deadline, 0, b.Bytes()))
		return
	}
	r.status, r.length = status, 0
	if !r.hasBody() {
		delete(r.header, "Content-Length")
		return
	}
	n, err := strconv.ParseInt(r.header.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		delete(r.header, "Content-Length")
		n = -1
	}
	r.length = n
}

func statusLine(b *bytes.Buffer, status int) {
	b.WriteString("HTTP/1.1 ")
	b.WriteString(strconv.Itoa(status))
	b.WriteByte(' ')
	b.WriteString(http.StatusText(status))
	b.WriteString("\r\n")
}

// fields returns the status line and the header. The header does not change
// after it.
func (r *reply) fields() []byte {
	if r.length < 0 && !r.head || r.conn.loop.front.stopping.Load() {
		r.closing = true
	}
	if r.header.Get("Connection") == "close" {
		r.closing = true
	} else if r.closing {
		r.header["Connection"] = []string{"close"}
	}
	var b bytes.Buffer
	b.Grow(512)
	statusLine(&b, r.status)
	if r.header.Get("Date") == "" {
		b.WriteString("Date: ")
		b.WriteString(r.conn.loop.front.server.clock.now())
		b.WriteString("\r\n")
	}
	_ = r.header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// hasBody reports whether a response with this status has a body (RFC 9110
// §6.4.1).
func (r *reply) hasBody() bool {
	return r.status != http.StatusNoContent && r.status != http.StatusNotModified
}

func (r *reply) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// begin prepares the write of n bytes of the body. send is false if they must
// not be written.
func (r *reply) begin(n int64) (send bool, err error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	switch {
	case r.err != nil:
		return false, r.err
	case !r.hasBody():
		return false, http.ErrBodyNotAllowed
	case r.head:
		return false, nil
	case r.length >= 0 && r.written+n > r.length:
		return false, http.ErrContentLength
	}
	return true, nil
}

func (r *reply) Write(p []byte) (int, error) {
	send, err := r.begin(int64(len(p)))
	if err != nil {
		return 0, err
	}
	if !send {
		return len(p), nil
	}
	switch {
	case r.sent:
		r.fail(r.conn.write(r.deadline, 0, p))
	case r.length < 0 && len(r.held)+len(p) <= maxHeld:
		r.held = append(r.held, p...)
	default:
		r.sent = true
		r.fail(r.conn.write(r.deadline, 0, r.fields(), r.held, p))
	}
	if r.err != nil {
		return 0, r.err
	}
	r.written += int64(len(p))
	return len(p), nil
}

// maxHeld is the size in bytes up to which the body of a response without
// Content-Length is held to count it.
const maxHeld = 64 << 10

// ReadFrom implements io.ReaderFrom. The bytes of a file go from the page cache
// to the socket.
func (r *reply) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if ok {
		if file, ok := limited.R.(*os.File); ok {
			return r.sendFile(file, limited)
		}
	}
	return io.Copy(struct{ io.Writer }{r}, src)
}

func (r *reply) sendFile(file *os.File, limited *io.LimitedReader) (int64, error) {
	send, err := r.begin(limited.N)
	if err != nil || !send {
		return 0, err
	}
	if !r.sent {
		r.sent = true
		r.fail(r.conn.write(r.deadline, unix.MSG_MORE, r.fields(), r.held))
	}
	var total int64
	for limited.N > 0 && r.err == nil {
		n, err := unix.Sendfile(r.conn.fd, int(file.Fd()), nil, int(min(limited.N, 1<<30)))
		switch {
		case err == unix.EAGAIN:
			r.fail(r.conn.wait(r.deadline))
		case err == unix.EINTR:
		case total == 0 && (err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP || err == unix.EPERM):
			// The file system or a filter of system calls does not allow it.
			return io.Copy(struct{ io.Writer }{r}, limited)
		case err != nil:
			r.fail(os.NewSyscallError("sendfile", err))
		case n == 0:
			r.fail(io.ErrUnexpectedEOF)
		default:
			total += int64(n)
			limited.N -= int64(n)
		}
	}
	r.written += total
	return total, r.err
}

// finish completes the response. It returns false if the connection must be
// closed.
func (r *reply) finish() bool {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.sent {
		if r.length < 0 && (!r.head || len(r.held) > 0) {
			r.length = int64(len(r.held))
			r.header["Content-Length"] = []string{strconv.Itoa(len(r.held))}
		}
		r.sent = true
		r.fail(r.conn.write(r.deadline, 0, r.fields(), r.held))
	}
	whole := r.head || r.length < 0 || r.written == r.length
	return r.err == nil && whole && !r.closing
}
