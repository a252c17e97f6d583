package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// front accepts connections and answers plain requests. A few loops wait for
// all connections at once and write kept responses themselves. A request that
// has none gets a goroutine, which calls the handler. A connection with any
// other request goes to net/http for the rest of its life.
type front struct {
	server  *Server
	limits  *connections
	handoff *handoff
	loops   []*loop
	hot     bool // whether kept responses may be used
	files   *bodyFiles
	// stopping means that no more connections are accepted and no request
	// begins, and ended that no connection is left.
	stopping, ended atomic.Bool
	working         sync.WaitGroup // goroutines of requests, and loops that may start one
	killed          chan struct{}  // closed when the goroutines must end
}

// Serve answers requests from a listener's connections until ctx is done. Then
// it completes the requests that it has read, but takes no longer than grace.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer s.background(ctx)()
	tcp, ok := l.(*net.TCPListener)
	if !ok || s.noLoop {
		return s.serveOthers(ctx, s.limits.listener(l), grace)
	}
	f := &front{
		server: s, limits: s.limits, handoff: newHandoff(l.Addr()), killed: make(chan struct{}),
		hot: !s.log.Enabled(ctx, slog.LevelDebug), files: newBodyFiles(s.limits.max),
	}
	s.checkFiles()
	if err := f.open(tcp); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	var loops sync.WaitGroup
	f.working.Add(len(f.loops))
	for _, loop := range f.loops {
		loops.Go(loop.run)
	}
	others := make(chan error, 1)
	go func() { others <- s.serveOthers(ctx, f.handoff, grace) }()
	<-ctx.Done()
	f.stop(&loops, grace)
	return <-others
}

// checkFiles warns if the process can't have as many connections as it is
// allowed.
func (s *Server) checkFiles() {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < uint64(s.limits.max+otherFiles) {
		s.log.Warn("the process may not open enough files for its connections; raise its limit (ulimit -n) or allow fewer connections",
			"files", files.Cur, "connections", s.limits.max, "expected_files", s.limits.max+otherFiles)
	}
}

// open creates the loops, which share the listening socket.
func (f *front) open(tcp *net.TCPListener) error {
	file, err := tcp.File()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	// The loops' copy is the only one that accepts.
	if err := tcp.Close(); err != nil {
		return err
	}
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		l, err := newLoop(f, int(file.Fd()))
		if err != nil {
			for _, l := range f.loops {
				l.free()
			}
			return err
		}
		f.loops = append(f.loops, l)
	}
	return nil
}

// stop waits for the requests that have begun, until grace is over, and ends
// the loops. They run until then, because they tell the requests when their
// clients can take more.
func (f *front) stop(loops *sync.WaitGroup, grace time.Duration) {
	f.tell(&f.stopping)
	timer := time.AfterFunc(grace, func() { close(f.killed) })
	f.working.Wait()
	timer.Stop()
	f.tell(&f.ended)
	loops.Wait()
	for _, l := range f.loops {
		l.free()
	}
}

// tell sets a flag and has the loops look at it.
func (f *front) tell(flag *atomic.Bool) {
	flag.Store(true)
	for _, l := range f.loops {
		l.interrupt()
	}
}

// conn is a connection with plain requests.
type conn struct {
	loop *loop
	fd   int
	from netip.AddrPort
	// state says who owns the fields below: the loop if idle, one goroutine
	// otherwise.
	state atomic.Int32
	wake  chan struct{} // has an item after each event while a goroutine owns it
	begun []byte        // the first bytes of an incomplete request
	since uint64        // the tick at which the connection became idle or a request began
	// awaited means that a whole header has to come in time: a request has
	// begun, or none has come yet.
	awaited bool
}

// The states of a connection.
const (
	idle    int32 = iota // waits for a request
	busy                 // a goroutine has it
	touched              // a goroutine has it, and an event came meanwhile
)

// release gives the connection back to its loop, unless there is more to read.
// If the server is stopping, it closes the connection instead.
func (c *conn) release() bool {
	if len(c.begun) == 0 || !c.awaited {
		c.since = c.loop.front.server.clock.ticks.Load()
	}
	c.awaited = c.awaited || len(c.begun) > 0
	if !c.state.CompareAndSwap(busy, idle) {
		return false
	}
	// The loop may have closed its idle connections before this was one.
	if c.loop.front.stopping.Load() && c.state.CompareAndSwap(idle, busy) {
		c.close()
	}
	return true
}

// close ends the connection. Its owner calls it.
func (c *conn) close() {
	c.loop.forget(c)
	_ = unix.Close(c.fd)
	c.loop.front.limits.release(c.from.Addr())
}

// wait blocks until the socket may accept more bytes.
func (c *conn) wait(deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-c.wake:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	case <-c.loop.front.killed:
		return errStopped
	}
}

// write writes all bytes, and waits for the client until the deadline.
func (c *conn) write(deadline time.Time, flags int, parts ...[]byte) error {
	for len(parts) > 0 {
		if len(parts[0]) == 0 {
			parts = parts[1:]
			continue
		}
		n, err := unix.SendmsgBuffers(c.fd, parts, nil, nil, flags)
		switch {
		case err == unix.EAGAIN:
			if err := c.wait(deadline); err != nil {
				return err
			}
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("sendmsg", err)
		}
		for n > 0 {
			k := min(n, len(parts[0]))
			parts[0] = parts[0][k:]
			if n -= k; len(parts[0]) == 0 {
				parts = parts[1:]
			}
		}
	}
	return nil
}

// deadline returns when a response must be written.
func (c *conn) deadline(parts ...[]byte) time.Time {
	var size int64
	for _, p := range parts {
		size += int64(len(p))
	}
	return time.Now().Add(c.loop.front.server.times.writing(size))
}

// work answers the requests in data in a goroutine, first the rest of a response
// that the loop began.
func (c *conn) work(data []byte, rest ...[]byte) {
	c.loop.front.working.Go(func() {
		open := false
		defer func() {
			if p := recover(); p != nil {
				c.loop.front.server.log.Error("a request failed", "panic", p, "stack", string(debug.Stack()))
			}
			if !open {
				c.close()
			}
		}()
		if len(rest) > 0 && c.write(c.deadline(rest...), 0, rest...) != nil {
			return
		}
		open = c.answerAll(data)
	})
}

// answerAll answers requests until the connection has no more data. It reports
// whether the loop or net/http owns the connection afterwards.
func (c *conn) answerAll(data []byte) bool {
	var buffer []byte
	for {
		var q request
		switch q.read(data) {
		case other:
			return c.handOver(data)
		case plain:
			if !c.answer(&q) {
				return false
			}
			data = data[q.size:]
			if len(data) > 0 {
				continue
			}
		}
		// Incomplete, or empty.
		c.begun = data
		for {
			if c.release() {
				return true
			}
			c.state.Store(busy)
			buffer = slices.Grow(append(buffer[:0], c.begun...), 4<<10)
			n, err := unix.Read(c.fd, buffer[len(buffer):cap(buffer)])
			if err == unix.EAGAIN {
				continue
			}
			if err != nil || n <= 0 {
				return false
			}
			if buffer = buffer[:len(buffer)+n]; len(buffer) == cap(buffer) {
				c.state.Store(touched) // there may be more, without another event
			}
			data, c.begun = buffer, nil
			break
		}
	}
}

// answer answers one request. It returns false if the connection must end.
func (c *conn) answer(q *request) bool {
	f := c.loop.front
	c.awaited = false
	stamp := f.server.clock.stamp()
	accepts := accepted(string(q.encoding))
	if f.hot && !f.stopping.Load() { // a kept response can't tell that the connection ends
		if a := f.server.hot.find(q, accepts, stamp); a != nil {
			first, fields, body := a.parts(make([]byte, 0, firstSize), q, f.server.clock.now())
			f.server.observeKept(q, a, c.from.Addr())
			return c.write(c.deadline(body), 0, first, fields, body) == nil
		}
	}
	r := q.http(c.from)
	if r == nil {
		return false
	}
	w := &reply{conn: c, header: make(http.Header, 12), head: q.head, deadline: c.deadline()}
	f.server.ServeHTTP(w, r)
	open := w.finish()
	if open && w.kept != nil && f.hot && q.neutral && q.anonymous && !q.head && w.status == http.StatusOK {
		f.server.hot.put(q, accepts, w.kept, w.header, f.files.file(w.kept.body))
	}
	return open
}

// handOver gives the connection to net/http, which reads data first. It returns
// true, because net/http now owns the connection. net/http's time limit for a
// header starts anew.
func (c *conn) handOver(data []byte) bool {
	c.loop.forget(c)
	file := os.NewFile(uintptr(c.fd), "")
	nc, err := net.FileConn(file)
	_ = file.Close()
	limits, from := c.loop.front.limits, c.from.Addr()
	if err != nil {
		limits.release(from)
		return true
	}
	c.loop.front.handoff.give(&begun{Conn: nc, first: append([]byte(nil), data...), ended: func() { limits.release(from) }})
	return true
}
