package certificates

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troy-iaas/troy/site"
)

// Summary describes the certificates in a folder for people.
type Summary struct {
	// Authority is the host of the certificate authority.
	Authority string
	// Hosts is the number of hosts that need a certificate, and Valid of those
	// that have one.
	Hosts, Valid int
	// Left says what is left of the authority's limits, such as "297 of 300
	// orders in 3 hours". It is empty if they are not known.
	Left []string
	// Problem says why Troy can get certificates for no more than one host, or is
	// empty.
	Problem string
}

// general are the problems that do not come from one host.
var general = []string{authorityDown, noAccount, untrusted, wrongClock, noStorage}

// Summarize reads a folder. Directory is the ACME directory, and "" means Let's
// Encrypt. limits may be nil, as in Config.
func Summarize(ctx context.Context, layout site.Layout, directory string, limits *Limits) (Summary, error) {
	if directory == "" {
		directory = LetsEncrypt
	}
	u, err := url.Parse(directory)
	if err != nil {
		return Summary{}, err
	}
	if limits == nil {
		known := documented(u.Host)
		limits = &known
	}
	now := time.Now()
	b := &budget{folder: filepath.Dir(layout.CertificateState("host")), authority: u.Host, limits: *limits}
	s := Summary{Authority: u.Host}
	l, err := site.ReadState[ledger](b.file())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("read the budget of orders: %w", err)
	}
	s.Left, s.Problem = b.summarize(&l, now)
	files, err := entries(b.folder)
	if err != nil {
		return s, err
	}
	for _, name := range files {
		host, ok := hostOf(name, ".json")
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return s, err
		}
		state, err := layout.ReadCertificateState(host)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return s, fmt.Errorf("read the state of %s: %w", host, err)
		}
		s.Hosts++
		if now.Before(state.NotAfter) {
			s.Valid++
		}
		if s.Problem == "" && slices.Contains(general, state.Code) {
			s.Problem = state.Problem
		}
	}
	return s, nil
}

// summarize returns what is left of all orders and of the domain with the fewest
// certificates left, and the problem if a limit is reached that many hosts share.
func (b *budget) summarize(l *ledger, now time.Time) (left []string, problem string) {
	scarcest, fewest := "", 0
	for key := range l.Full {
		if !strings.HasPrefix(key, domainBucket+" ") {
			continue
		}
		if n := b.tokens(l, key, now); n >= 0 && (scarcest == "" || n < fewest || n == fewest && key < scarcest) {
			scarcest, fewest = key, n
		}
	}
	keys := []string{ordersBucket}
	if scarcest != "" {
		keys = append(keys, scarcest)
	}
	for _, key := range keys {
		limit, what := b.limit(key)
		if n := b.tokens(l, key, now); n >= 0 {
			left = append(left, fmt.Sprintf("%d of %s", n, what))
		}
		if until := l.when(key, limit, 1, now); until.After(now) {
			problem = fmt.Sprintf("The limit of %s is reached until %s.", what, clock(until))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.Blocked)) {
		bucket, _, _ := strings.Cut(key, " ")
		if until := l.Blocked[key]; until.After(now) && (bucket == ordersBucket || bucket == domainBucket) {
			_, what := b.limit(key)
			problem = fmt.Sprintf("The certificate authority accepts no orders until %s: its limit of %s is reached.", clock(until), what)
		}
	}
	return left, problem
}
