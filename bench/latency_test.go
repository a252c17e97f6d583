package bench

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// latencyChunks bounds the chunks of up to 64 KiB that are under way in one
// direction of a connection: 64 MiB, which throttles no transfer measured here.
const latencyChunks = 1024

// delayed returns the address of a proxy to a server, with this round trip.
// Half of it passes in each direction, and a new connection takes one round
// trip before its first byte leaves, as TCP's handshake does. Bytes wait in a
// queue for each direction, so the bandwidth is not limited. The proxy ends
// with the test.
func delayed(t testing.TB, server string, roundTrip time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	ended := make(chan struct{})
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open[c] = true
		select {
		case <-ended:
			_ = c.Close()
		default:
		}
	}
	drop := func(c net.Conn) {
		_ = c.Close()
		mu.Lock()
		defer mu.Unlock()
		delete(open, c)
	}
	connections.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() {
				keep(near)
				defer drop(near)
				far, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				keep(far)
				defer drop(far)
				var both sync.WaitGroup
				begun := time.Now().Add(roundTrip)
				both.Go(func() { carry(far, near, begun, roundTrip/2) })
				both.Go(func() { carry(near, far, begun, roundTrip/2) })
				both.Wait()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		close(ended)
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		connections.Wait()
	})
	return l.Addr().String()
}

// carry copies one direction of a connection. Each chunk leaves at the time
// begun or later, and arrives after the delay.
func carry(to, from net.Conn, begun time.Time, delay time.Duration) {
	type chunk struct {
		data []byte
		due  time.Time
	}
	queue := make(chan chunk, latencyChunks)
	go func() {
		defer close(queue)
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				left := time.Now()
				if left.Before(begun) {
					left = begun
				}
				queue <- chunk{append([]byte(nil), buffer[:n]...), left.Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	var failed error
	for c := range queue {
		if failed != nil {
			continue // so that the reader ends
		}
		if wait := time.Until(c.due); wait > 0 {
			<-time.After(wait)
		}
		if _, failed = to.Write(c.data); failed != nil {
			_ = from.Close()
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// The proxy changes no byte, and each exchange takes a round trip or longer.
func TestDelayed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	const roundTrip = 20 * time.Millisecond
	c, err := net.Dial("tcp", delayed(t, l.Addr().String(), roundTrip))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * 31 >> 3)
	}
	begun := time.Now()
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-wrote); err != nil {
		t.Fatal(err)
	}
	if string(got) != string(sent) {
		t.Errorf("%d bytes came back, expected the %d that were sent", len(got), len(sent))
	}
	// The handshake and the exchange.
	if took := time.Since(begun); took < 2*roundTrip {
		t.Errorf("the exchange took %s, expected at least %s", took, 2*roundTrip)
	}
}
