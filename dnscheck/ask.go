package dnscheck

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The bounds of a check and of a message.
const (
	maxQueries   = 100      // questions of a check
	maxAtOnce    = 32       // questions of all checks of a Checker at the same time
	maxServers   = 4        // name servers of a zone that are asked
	maxResolvers = 4        // resolvers that are asked
	maxChain     = 8        // CNAMEs in a row, as common resolvers follow
	maxRRs       = 500      // records in a message
	maxMessage   = 32 << 10 // bytes of a message over TCP
	maxStray     = 16       // packets that are not the answer
	udpSize      = 1232     // bytes over UDP (dnsflagday.net/2020)
)

// question is what a server is asked.
type question struct {
	name      string // without the last dot
	typ       uint16
	recurse   bool // for a resolver
	unchecked bool // without DNSSEC validation (RFC 4035, section 3.2.2)
}

// message returns the question as a message.
func (q question) message() *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.name), q.typ)
	m.RecursionDesired = q.recurse
	m.CheckingDisabled = q.unchecked
	m.AuthenticatedData = q.recurse // asks for the AD bit (RFC 6840, section 5.7)
	m.SetEdns0(udpSize, false)
	return m
}

// ask asks a server over UDP, and over TCP if the answer was cut or did not come.
// The outcome is empty if there is an answer, whatever its code.
func (r *run) ask(ctx context.Context, server netip.AddrPort, q question) (*dns.Msg, Outcome) {
	if r.asked.Add(1) > maxQueries {
		r.limited.Store(true)
		return nil, NotAsked
	}
	select {
	case r.checker.slots <- struct{}{}:
		defer func() { <-r.checker.slots }()
	case <-ctx.Done():
		return nil, TimedOut
	}
	m := q.message()
	packet, err := m.Pack()
	if err != nil {
		return nil, Malformed
	}
	answer, outcome := r.exchange(ctx, "udp", server, packet, q)
	switch {
	case ctx.Err() != nil, outcome == "", outcome == TooBig:
		return answer, outcome
	}
	overTCP, second := r.exchange(ctx, "tcp", server, packet, q)
	if second == "" || second == TooBig {
		return overTCP, second
	}
	return nil, outcome
}

// exchange sends one packet and waits for its answer.
func (r *run) exchange(ctx context.Context, network string, server netip.AddrPort, packet []byte, q question) (*dns.Msg, Outcome) {
	ctx, cancel := context.WithTimeout(ctx, r.checker.config.Timeout/8)
	defer cancel()
	conn, err := r.checker.dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, failure(err)
	}
	defer conn.Close()
	// The end of the context interrupts reads and writes at once.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...) //nolint:gosec // a question is short
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, failure(err)
	}
	if network == "tcp" {
		return readTCP(conn, packet[2:], q)
	}
	return readUDP(conn, packet, q)
}

// readUDP reads packets until one answers the question. Others may be late
// answers, or forged.
func readUDP(conn io.Reader, packet []byte, q question) (*dns.Msg, Outcome) {
	buf := make([]byte, 4096)
	invalid := false
	for range maxStray {
		n, err := conn.Read(buf)
		if err != nil && invalid {
			return nil, Malformed
		} else if err != nil {
			return nil, failure(err)
		}
		m, outcome, ours := parse(buf[:n], packet, q)
		if ours {
			return m, outcome
		}
		invalid = true
	}
	return nil, Malformed
}

// readTCP reads the answer to the question.
func readTCP(conn io.Reader, packet []byte, q question) (*dns.Msg, Outcome) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, failure(err)
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxMessage {
		return nil, TooBig
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, failure(err)
	}
	m, outcome, ours := parse(buf, packet, q)
	if !ours {
		return nil, Malformed
	}
	return m, outcome
}

// parse reads an answer to a question. It reports whether the answer belongs to
// the question (RFC 5452, section 9.1).
func parse(data, packet []byte, q question) (_ *dns.Msg, _ Outcome, ours bool) {
	const header = 12
	if len(data) < header || data[0] != packet[0] || data[1] != packet[1] || data[2]&0x80 == 0 {
		return nil, Malformed, false
	}
	if data[2]&0x02 != 0 {
		return nil, Truncated, true
	}
	rrs := 0
	for at := 6; at < header; at += 2 {
		rrs += int(binary.BigEndian.Uint16(data[at:]))
	}
	if rrs > maxRRs {
		return nil, TooBig, true
	}
	m := new(dns.Msg)
	if m.Unpack(data) != nil {
		return nil, Malformed, true
	}
	failed := m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	switch {
	case len(m.Question) == 0 && failed: // some servers leave it out
		return m, "", true
	case len(m.Question) != 1, m.Question[0].Qtype != q.typ, plain(m.Question[0].Name) != plain(q.name):
		return nil, Malformed, false
	}
	return m, "", true
}

// failure returns the outcome of a failed read, write or dial.
func failure(err error) Outcome {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) {
		return TimedOut
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return TimedOut
	}
	return Unreachable
}

// plain returns a name in lower case without the last dot. The root is ".".
func plain(name string) string {
	if name = dns.CanonicalName(name); name == "." {
		return name
	}
	return strings.TrimSuffix(name, ".")
}

// within reports whether a name is the zone's or below it.
func within(name, zone string) bool {
	return zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
}

// above returns the name without its first label; the root is above the last.
func above(name string) string {
	if _, rest, ok := strings.Cut(name, "."); ok && rest != "" {
		return rest
	}
	return "."
}
