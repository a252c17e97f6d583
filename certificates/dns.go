package certificates

import (
	"fmt"
	"net"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/rfc2136"
	"go.uber.org/zap"
)

// DNS makes the records of DNS-01 challenges.
type DNS struct {
	provider certmagic.DNSProvider
	// Resolvers are the addresses of the resolvers that find a name's zone and
	// wait for the record; nil means the system's.
	Resolvers []string
}

// RFC2136 returns a DNS that sends dynamic updates (RFC 2136) to a server. The
// key has the form of nsupdate's option -y: [algorithm:]name:secret.
func RFC2136(server, key string) (*DNS, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		return nil, fmt.Errorf("the server %q is not host:port", server)
	}
	parts := strings.Split(key, ":")
	if len(parts) == 2 {
		parts = append([]string{"hmac-sha256"}, parts...)
	}
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return nil, fmt.Errorf("the key is not [algorithm:]name:secret, like hmac-sha256:troy.:c2VjcmV0") // never with its text
	}
	return &DNS{provider: &rfc2136.Provider{KeyAlg: parts[0], KeyName: parts[1], Key: parts[2], Server: server}}, nil
}

func (d *DNS) solver(logger *zap.Logger) *certmagic.DNS01Solver {
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{DNSProvider: d.provider, Resolvers: d.Resolvers, Logger: logger}}
}
