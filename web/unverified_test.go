package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// from is a client whose connections come from an address of this machine.
func (w *world) from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, w.server.Listener.Addr().String())
	}}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// stall sends a message of this size except for its last byte, and returns the
// server's answer.
func (w *world) stall(path string, size int) (status int, text string) {
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Error(err)
		return 0, ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.t.Error(err)
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: troy.test\r\nContent-Length: %d\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: d\r\nX-Hub-Signature-256: sha256=%064x\r\n\r\n", path, size, 0); err != nil {
		w.t.Error(err)
	}
	// The server may answer, and close, before everything was sent.
	_, _ = io.WriteString(conn, strings.Repeat(" ", size-1))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// Stalled messages use a bounded part of memory for a bounded time, and leave
// room for other senders.
func TestStalledMessagesLeaveRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const senders, size = 48, 1 << 20 // in total more than one address may use
	var mu sync.Mutex
	refused, late := 0, 0
	var done sync.WaitGroup
	for range senders {
		done.Go(func() {
			status, text := w.stall("/events/apps", size)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case status == 503 && strings.Contains(text, "too many messages arrive at once"), status == 0:
				refused++ // 0: the connection was cut while it sent
			case status == 503 && strings.Contains(text, "took longer than 10s to arrive"):
				late++
			default:
				t.Errorf("%d %s", status, text)
			}
		})
	}
	w.eventually("some are refused", func() bool { mu.Lock(); defer mu.Unlock(); return refused > 0 })
	const event = `{"id":"evt-1","type":"Created","time":"2026-01-02T15:04:05Z","app":{"id":"app-1","name":"Blog"}}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/events/apps", strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "troy.test"
	request.Header.Set("X-Troy-Signature-256", sign(appsSecret, event))
	response, err := w.from("127.0.0.2").Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 202 {
		t.Errorf("a message of another address, while %d stall: %d %s %v", senders-refused, response.StatusCode, body, err)
	}
	done.Wait()
	if late == 0 || refused < senders-32 {
		t.Errorf("%d were refused at once and %d after their time; one address has room for 32", refused, late)
	}
	// Their memory is free again.
	w.send("POST", "/events/apps", event, header("X-Troy-Signature-256", sign(appsSecret, event))).into(t, 202, nil)
}
