package edge

import (
	"bytes"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scratchSize is the size of the buffer into which a loop reads.
const scratchSize = 16 << 10

// firstSize is enough for a status line and a date.
const firstSize = 64

// loop waits for the events of many connections.
type loop struct {
	front     *front
	epoll     int
	listener  int
	event     int // an eventfd that interrupts the wait
	accepting bool
	scratch   []byte
	first     []byte // the start of a response

	// What the last request accepted, because most clients accept the same.
	encoding string
	accepts  codings

	mu    sync.Mutex
	conns map[int]*conn // by fd
}

func newLoop(f *front, listener int) (*loop, error) {
	l := &loop{front: f, epoll: -1, listener: -1, event: -1, scratch: make([]byte, scratchSize), first: make([]byte, 0, firstSize), conns: make(map[int]*conn)}
	var err error
	if l.listener, err = unix.FcntlInt(uintptr(listener), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		err = unix.SetNonblock(l.listener, true)
	}
	if err == nil {
		l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	}
	if err == nil {
		l.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		err = l.watch(l.event, unix.EPOLLIN|unix.EPOLLET)
	}
	if err == nil {
		err = l.accept(true)
	}
	if err != nil {
		l.free()
		return nil, os.NewSyscallError("epoll", err)
	}
	return l, nil
}

func (l *loop) watch(fd int, events uint32) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// accept starts or stops to accept connections.
func (l *loop) accept(on bool) error {
	if on == l.accepting {
		return nil
	}
	var err error
	if on {
		err = l.watch(l.listener, unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	} else {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, l.listener, nil)
	}
	if err == nil {
		l.accepting = on
	}
	return err
}

func (l *loop) free() {
	for _, fd := range []int{l.epoll, l.listener, l.event} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// interrupt ends the wait of the loop.
func (l *loop) interrupt() { _, _ = unix.Write(l.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (l *loop) run() {
	// The thread then stays on the processor that has the sockets' data.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, 256)
	var swept uint64
	for !l.front.stopping.Load() {
		l.handle(l.next(events))
		if now := l.front.server.clock.ticks.Load(); now != swept {
			swept = now
			l.sweep(now)
		}
	}
	l.retire()
	for !l.front.ended.Load() {
		l.handle(l.next(events))
	}
}

// retire accepts no more connections and closes the idle ones. No request
// begins after it.
func (l *loop) retire() {
	_ = l.accept(false)
	_ = unix.Close(l.listener)
	l.listener = -1
	for _, c := range l.list() {
		if c.state.CompareAndSwap(idle, busy) {
			c.close()
		}
	}
	l.front.working.Done()
}

// next waits for events, a second at most.
func (l *loop) next(events []unix.EpollEvent) []unix.EpollEvent {
	// The first call is cheap, because it never blocks.
	n := l.poll(events)
	if n <= 0 {
		var err error
		if n, err = unix.EpollWait(l.epoll, events, 1000); err != nil && err != unix.EINTR {
			l.front.server.log.Error("can't wait for connections", "error", err)
			// Log at most ten times a second. A stop ends the pause.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(l.event), Events: unix.POLLIN}}, 100)
		}
	}
	return events[:max(0, n)]
}

func (l *loop) handle(events []unix.EpollEvent) {
	for i := range events {
		switch fd := int(events[i].Fd); fd {
		case l.listener:
			l.acceptAll()
		case l.event:
		default:
			l.touch(fd, events[i].Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
		}
	}
}

// rescue keeps a panic from ending the process, because a loop has the
// connections of all sites. It closes the connection that caused the panic.
func (l *loop) rescue(c *conn) {
	if p := recover(); p != nil {
		l.front.server.log.Error("a request failed", "panic", p, "stack", string(debug.Stack()))
		c.close()
	}
}

// poll returns the events that are there already. It makes the system call
// without the scheduler's bookkeeping.
func (l *loop) poll(events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

func (l *loop) acceptAll() {
	for range 64 {
		fd, peer, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.front.limits.refuse(noFiles)
			_ = l.accept(false) // until the next sweep
			return
		case unix.ECONNABORTED, unix.EINTR, unix.EPERM, unix.EPROTO:
			continue
		default:
			return
		}
		l.add(fd, address(peer))
	}
}

// add takes a new connection, or refuses it by closing it.
func (l *loop) add(fd int, from netip.AddrPort) {
	if !l.front.limits.admit(from.Addr()) {
		_ = unix.Close(fd)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	c := &conn{loop: l, fd: fd, from: from, wake: make(chan struct{}, 1), since: l.front.server.clock.ticks.Load(), awaited: true}
	l.mu.Lock()
	l.conns[fd] = c
	l.mu.Unlock()
	if err := l.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		l.front.limits.refuse(noFiles)
		c.close()
	}
}

// forget removes a connection from the loop, so that its fd may be reused.
func (l *loop) forget(c *conn) {
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, c.fd, nil)
	l.mu.Lock()
	delete(l.conns, c.fd)
	l.mu.Unlock()
}

func (l *loop) list() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, len(l.conns))
	for _, c := range l.conns {
		all = append(all, c)
	}
	return all
}

// touch handles an event of a connection. ended means that the client sends no
// more, or that the connection failed.
func (l *loop) touch(fd int, ended bool) {
	l.mu.Lock()
	c := l.conns[fd]
	l.mu.Unlock()
	if c == nil {
		return
	}
	for {
		switch c.state.Load() {
		case idle:
			if c.state.CompareAndSwap(idle, busy) {
				if l.front.stopping.Load() {
					c.close()
				} else {
					l.serve(c, ended)
				}
				return
			}
		case busy:
			if !c.state.CompareAndSwap(busy, touched) {
				continue
			}
			fallthrough
		default:
			select {
			case c.wake <- struct{}{}:
			default:
			}
			return
		}
	}
}

// serve reads what a connection has sent. If that is one plain request that has
// a kept response, and the socket takes all of it, the connection is idle again.
// In every other case a goroutine takes over. That includes a client that has
// stopped sending: epoll reports no further event, so the goroutine must read to
// the end.
func (l *loop) serve(c *conn, ended bool) {
	defer l.rescue(c)
	if len(c.begun) > 0 {
		// A client that sends often enough is never idle when sweep looks.
		if c.late() {
			c.close()
			return
		}
		// Rare; the goroutine reads the rest.
		c.state.Store(touched)
		data := c.begun
		c.begun = nil
		c.work(data)
		return
	}
	n, errno := l.read(c.fd)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		c.state.Store(idle)
		return
	case errno != 0 || n == 0:
		c.close()
		return
	}
	data := l.scratch[:n]
	ended = ended || n == len(l.scratch)
	if ended {
		c.state.Store(touched) // there may be more, without another event
	}
	var q request
	verdict := q.read(data)
	if verdict == plain && q.size == n && !ended && l.front.hot {
		if l.encoding != string(q.encoding) || q.encoding == nil {
			l.encoding = string(q.encoding)
			l.accepts = accepted(l.encoding)
		}
		clock := l.front.server.clock
		if a := l.front.server.hot.find(&q, l.accepts, clock.stamp()); a != nil {
			c.awaited = false
			l.send(c, a, &q, clock)
			return
		}
	}
	if verdict == incomplete && !ended {
		c.begun = append([]byte(nil), data...)
		c.release()
		return
	}
	c.work(append([]byte(nil), data...))
}

// send writes a kept response. It allocates nothing: the collector would run many
// times a second, and each run would delay requests.
func (l *loop) send(c *conn, a *hotAnswer, q *request, clock *clock) {
	first, fields, body := a.parts(l.first, q, clock.now())
	l.front.server.observeKept(q, a, c.from.Addr())
	parts := [...]unix.Iovec{iovec(first), iovec(fields), iovec(body)}
	var written int
	var errno unix.Errno
	if a.file != nil && q.noneMatch == nil {
		written, errno = write(c.fd, parts[:2], unix.MSG_MORE)
		if written == len(first)+len(fields) {
			var n int
			n, errno = sendFile(c.fd, a.file, len(body))
			written += n
		}
	} else {
		written, errno = write(c.fd, parts[:], 0)
	}
	if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
		c.close()
		return
	}
	if written < len(first)+len(fields)+len(body) {
		c.work(nil, cut(written, first, fields, body)...)
		return
	}
	c.since = clock.ticks.Load()
	c.state.Store(idle)
}

// write writes parts to a socket, and returns how many bytes it took.
func write(socket int, parts []unix.Iovec, flags int) (int, unix.Errno) {
	message := unix.Msghdr{Iov: unsafe.SliceData(parts)}
	message.SetIovlen(len(parts))
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(socket), uintptr(unsafe.Pointer(&message)), uintptr(flags|unix.MSG_NOSIGNAL))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// cut returns what is left of parts after n bytes. It copies the first part, which
// the next response overwrites. The others never change.
func cut(n int, parts ...[]byte) [][]byte {
	var rest [][]byte
	for i, p := range parts {
		k := min(n, len(p))
		n -= k
		switch {
		case len(p) == k:
		case i == 0:
			rest = append(rest, bytes.Clone(p[k:]))
		default:
			rest = append(rest, p[k:])
		}
	}
	return rest
}

func iovec(p []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(p)}
	v.SetLen(len(p))
	return v
}

func (l *loop) read(fd int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&l.scratch[0])), uintptr(len(l.scratch)))
	return int(n), errno
}

// sweep closes idle connections whose time is over.
func (l *loop) sweep(now uint64) {
	if err := l.accept(true); err != nil {
		l.front.limits.refuse(noFiles)
	}
	times := l.front.server.times
	idleFor := ticks(times.idle)
	if l.front.limits.crowded() {
		idleFor = ticks(times.crowded)
	}
	for _, c := range l.list() {
		if !c.state.CompareAndSwap(idle, busy) {
			continue
		}
		if c.late() || !c.awaited && now-c.since >= idleFor {
			c.close()
		} else {
			c.state.Store(idle)
		}
	}
}

// late reports whether a whole header should have come by now.
func (c *conn) late() bool {
	server := c.loop.front.server
	return c.awaited && server.clock.ticks.Load()-c.since >= ticks(server.times.header)
}

func ticks(d time.Duration) uint64 { return uint64(d / time.Second) }

// address returns the address of a peer.
func address(peer unix.Sockaddr) netip.AddrPort {
	switch a := peer.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
