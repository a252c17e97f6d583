package acmedouble

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Names is a name server that leads every host to loopback, and whose TXT
// records of the zone "test." can be changed by dynamic updates (RFC 2136) with
// Key.
type Names struct {
	Address string

	mu  sync.Mutex
	txt map[string][]string
	// Missing are hosts that don't exist.
	missing map[string]bool
}

// Key is the key of dynamic updates, in the form of nsupdate's option -y.
const Key = "hmac-sha256:troy.:dGhlIGtleSBvZiBhIHRlc3Q="

// StartNames starts a name server that ends with the test.
func StartNames(t testing.TB) *Names {
	t.Helper()
	n := &Names{txt: map[string][]string{}, missing: map[string]bool{}}
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err != nil { // another process has the port
			_ = packets.Close()
			continue
		}
		n.Address = packets.LocalAddr().String()
		secrets := map[string]string{"troy.": Key[strings.LastIndexByte(Key, ':')+1:]}
		accept := func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
			s.Handler, s.TsigSecret, s.MsgAcceptFunc = dns.HandlerFunc(n.serve), secrets, accept
			started, ended := make(chan struct{}), make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go func() {
				defer close(ended)
				_ = s.ActivateAndServe()
			}()
			<-started
			t.Cleanup(func() {
				_ = s.Shutdown()
				<-ended
			})
		}
		return n
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil
}

// Remove makes a host not exist.
func (n *Names) Remove(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.missing[dns.CanonicalName(host)] = true
}

// Texts returns how many TXT records there are.
func (n *Names) Texts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, texts := range n.txt {
		count += len(texts)
	}
	return count
}

func (n *Names) serve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	switch {
	case q.Opcode == dns.OpcodeUpdate:
		if q.IsTsig() == nil || w.TsigStatus() != nil {
			m.Rcode = dns.RcodeRefused
			break
		}
		n.update(q)
		m.SetTsig(q.IsTsig().Hdr.Name, q.IsTsig().Algorithm, 300, time.Now().Unix())
	case len(q.Question) == 1:
		n.answer(m, q.Question[0])
	}
	_ = w.WriteMsg(m)
}

func (n *Names) answer(m *dns.Msg, q dns.Question) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := dns.CanonicalName(q.Name)
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch {
	case n.missing[name]:
		m.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	case q.Qtype == dns.TypeSOA && name == "test.":
		m.Answer = append(m.Answer, &dns.SOA{Hdr: header, Ns: "ns.test.", Mbox: "hostmaster.test.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1})
	case q.Qtype == dns.TypeTXT:
		for _, text := range n.txt[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header, Txt: []string{text}})
		}
	}
}

// update adds and removes TXT records.
func (n *Names) update(q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rr := range q.Ns {
		t, ok := rr.(*dns.TXT)
		if !ok {
			continue
		}
		name, text := dns.CanonicalName(t.Hdr.Name), strings.Join(t.Txt, "")
		var kept []string
		for _, old := range n.txt[name] {
			if old != text {
				kept = append(kept, old)
			}
		}
		if t.Hdr.Class == dns.ClassINET {
			kept = append(kept, text)
		}
		n.txt[name] = kept
	}
}
