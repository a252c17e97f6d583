package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
)

// line is a connection for requests one after another. It takes far less CPU time
// than an http.Client: what sends the requests runs on the same cores as what is
// measured.
type line struct {
	conn net.Conn
	in   *bufio.Reader
	hang func() bool
}

// dial opens a line, which closes when the context ends.
func dial(ctx context.Context, address string) (*line, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &line{conn, bufio.NewReader(conn), context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// ask sends a request, in the form of RFC 9112, and returns the answer.
func (l *line) ask(request []byte) (status int, body []byte, err error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, nil, err
	}
	res, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

func (l *line) close() {
	l.hang()
	_ = l.conn.Close()
}
