package thumbnail

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// conn speaks the Chrome DevTools Protocol over Chromium's pipe: JSON messages,
// each followed by a NUL (chromedevtools.github.io/devtools-protocol).
type conn struct {
	out   io.Writer
	ended chan struct{}

	mu       sync.Mutex
	last     int64
	waiting  map[int64]chan message
	onEvent  func(method string, params json.RawMessage)
	endError error
}

type message struct {
	ID        int64           `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

func newConn(in io.Reader, out io.Writer) *conn {
	c := &conn{out: out, ended: make(chan struct{}), waiting: map[int64]chan message{}}
	go c.read(in)
	return c
}

func (c *conn) read(in io.Reader) {
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxMessage)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		for i, b := range data {
			if b == 0 {
				return i + 1, data[:i], nil
			}
		}
		return 0, nil, nil
	})
	for s.Scan() {
		var m message
		if json.Unmarshal(s.Bytes(), &m) != nil {
			continue
		}
		c.mu.Lock()
		answer, asked := c.waiting[m.ID]
		delete(c.waiting, m.ID)
		event := c.onEvent
		c.mu.Unlock()
		switch {
		case asked:
			answer <- m
		case m.Method != "" && event != nil:
			event(m.Method, m.Params)
		}
	}
	c.mu.Lock()
	c.endError = errors.New("the browser ended")
	if err := s.Err(); err != nil {
		c.endError = fmt.Errorf("read Chromium's messages: %w", err)
	}
	c.mu.Unlock()
	close(c.ended)
}

func (c *conn) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endError
}

func (c *conn) handle(f func(method string, params json.RawMessage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onEvent = f
}

// send sends a command and does not wait for its answer. If Chromium has ended,
// ended is closed.
func (c *conn) send(session, method string, params any) { _, _ = c.write(session, method, params, nil) }

func (c *conn) write(session, method string, params any, answer chan message) (int64, error) {
	encoded, err := json.Marshal(params)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", method, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	text, err := json.Marshal(message{ID: c.last, SessionID: session, Method: method, Params: encoded})
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", method, err)
	}
	if answer != nil {
		c.waiting[c.last] = answer
	}
	if _, err := c.out.Write(append(text, 0)); err != nil {
		return 0, fmt.Errorf("send %s: %w", method, err)
	}
	return c.last, nil
}

// call sends a command and reads its result.
func (c *conn) call(ctx context.Context, session, method string, params map[string]any, result any) error {
	if params == nil {
		params = map[string]any{}
	}
	answer := make(chan message, 1)
	if _, err := c.write(session, method, params, answer); err != nil {
		return err
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return fmt.Errorf("%s: %.200s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(m.Result, result); err != nil {
			return fmt.Errorf("read the result of %s: %w", method, err)
		}
		return nil
	case <-c.ended:
		return fmt.Errorf("%s: %w", method, c.err())
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}
