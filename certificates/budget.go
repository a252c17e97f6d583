package certificates

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// Limit allows Burst events at once, and refills within Per. The zero Limit
// allows any number.
type Limit struct {
	Burst int
	Per   time.Duration
}

// each is the time in which one event is allowed again.
func (l Limit) each() time.Duration {
	if l.Burst == 0 {
		return 0
	}
	return l.Per / time.Duration(l.Burst)
}

// Limits are an authority's limits of orders, as it documents them.
type Limits struct {
	Orders   Limit // by account
	Domain   Limit // certificates by registered domain
	Names    Limit // certificates for the same names
	Failures Limit // failed challenges by host
}

// documented returns the limits that an authority documents
// (letsencrypt.org/docs/rate-limits and /staging-environment). For others the
// manager relies on their answers.
func documented(authority string) Limits {
	const week = 7 * 24 * time.Hour
	switch authority {
	case "acme-v02.api.letsencrypt.org":
		return Limits{Orders: Limit{300, 3 * time.Hour}, Domain: Limit{50, week}, Names: Limit{5, week}, Failures: Limit{5, time.Hour}}
	case "acme-staging-v02.api.letsencrypt.org":
		return Limits{Orders: Limit{1500, 3 * time.Hour}, Domain: Limit{30_000, week}, Names: Limit{30_000, week}, Failures: Limit{200, time.Hour}}
	}
	return Limits{}
}

// The buckets of a host.
const (
	ordersBucket   = "orders"
	domainBucket   = "domain"
	namesBucket    = "names"
	failuresBucket = "failures"
)

// limitOf returns which limit an authority's message is about.
func limitOf(detail string) string {
	switch d := strings.ToLower(detail); {
	case strings.Contains(d, "new orders"), strings.Contains(d, "from this account"):
		return ordersBucket
	case strings.Contains(d, "exact set"):
		return namesBucket
	case strings.Contains(d, "failed auth"):
		return failuresBucket
	case strings.Contains(d, "too many certificates"):
		return domainBucket
	}
	return namesBucket
}

// bucketOf returns the key of the reached limit for a host.
func (p *problem) bucketOf(host string) string { return keyOf(p.bucket, host) }

func keyOf(bucket, host string) string {
	switch bucket {
	case ordersBucket:
		return ordersBucket
	case domainBucket:
		return domainBucket + " " + registered(host)
	}
	return bucket + " " + host
}

// registered returns the registered domain of a host, which is what an
// authority counts certificates by.
func registered(host string) string {
	host = strings.TrimPrefix(host, "*.")
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}

// budget bounds the orders of all processes that share a folder. Its file has a
// moment for each bucket: when the bucket is full again (the generic cell rate
// algorithm, which allows what a token bucket allows).
type budget struct {
	folder, authority string
	limits            Limits
}

// ledger is the file of a budget.
type ledger struct {
	// Full is when each bucket is full again. Buckets that are full are left
	// out.
	Full map[string]time.Time `json:"full"`
	// Blocked is until when the authority refuses orders of a bucket.
	Blocked map[string]time.Time `json:"blocked,omitempty"`
}

// Left is what is left of a budget for a host; -1 means any number.
type Left struct{ Orders, Domain, Names, Failures int }

// limitError means that an order would exceed a limit.
type limitError struct {
	what  string
	until time.Time
	each  time.Duration // in which the limit allows one more
}

func (e *limitError) Error() string {
	return fmt.Sprintf("the limit of %s is reached until %s", e.what, clock(e.until))
}

// worst is the number of orders and of failed challenges that one attempt may
// make: certmagic tries another kind of challenge after one has failed.
const worst = 2

// cost is what an attempt takes from each bucket.
func cost(host string, renewal bool, orders, failures, issued int) map[string]int {
	c := map[string]int{keyOf(failuresBucket, host): failures}
	// Renewals that name the certificate they replace are exempt from the other
	// limits.
	if !renewal {
		c[ordersBucket], c[keyOf(domainBucket, host)], c[keyOf(namesBucket, host)] = orders, issued, issued
	}
	return c
}

// limit returns the limit of a bucket, and what it counts.
func (b *budget) limit(key string) (Limit, string) {
	bucket, of, _ := strings.Cut(key, " ")
	switch bucket {
	case ordersBucket:
		return b.limits.Orders, b.limits.Orders.of("orders")
	case domainBucket:
		return b.limits.Domain, b.limits.Domain.of("certificates for " + of)
	case namesBucket:
		return b.limits.Names, b.limits.Names.of("certificates for the same host")
	}
	return b.limits.Failures, b.limits.Failures.of("failed challenges for the same host")
}

// of describes the limit of something. The numbers of an undocumented limit are
// not known.
func (l Limit) of(what string) string {
	if l.Burst == 0 {
		return what
	}
	return fmt.Sprintf("%d %s in %s", l.Burst, what, span(l.Per))
}

// span formats a duration in whole days or hours.
func span(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d >= day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d == time.Hour:
		return "an hour"
	case d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return d.String()
}

// reserve takes what one attempt may cost, or returns a limitError and takes
// nothing.
func (b *budget) reserve(ctx context.Context, host string, renewal bool) error {
	return b.change(ctx, func(l *ledger, now time.Time) error {
		wanted := cost(host, renewal, worst, worst, 1)
		for key, n := range wanted {
			limit, what := b.limit(key)
			if until := l.Blocked[key]; until.After(now) {
				return &limitError{what, until, limit.each()}
			}
			if until := l.when(key, limit, n, now); until.After(now) {
				return &limitError{what, until, limit.each()}
			}
		}
		for key, n := range wanted {
			limit, _ := b.limit(key)
			l.take(key, limit, n, now)
		}
		return nil
	})
}

// settle gives back what an attempt did not use, and returns what is left.
func (b *budget) settle(host string, renewal bool, orders, failures, issued int) (left Left, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = b.change(ctx, func(l *ledger, now time.Time) error {
		used := cost(host, renewal, orders, failures, issued)
		for key, n := range cost(host, renewal, worst, worst, 1) {
			limit, _ := b.limit(key)
			l.take(key, limit, used[key]-n, now)
		}
		left = b.left(l, host, now)
		return nil
	})
	return left, err
}

// block records that the authority refuses orders of a bucket.
func (b *budget) block(key string, until time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = b.change(ctx, func(l *ledger, _ time.Time) error { // if it is lost, the authority refuses again
		l.Blocked[key] = until
		return nil
	})
}

func (b *budget) left(l *ledger, host string, now time.Time) Left {
	get := func(bucket string) int { return b.tokens(l, keyOf(bucket, host), now) }
	return Left{get(ordersBucket), get(domainBucket), get(namesBucket), get(failuresBucket)}
}

// tokens returns what is left of a bucket, or -1 without a limit.
func (b *budget) tokens(l *ledger, key string, now time.Time) int {
	limit, _ := b.limit(key)
	if limit.Burst == 0 {
		return -1
	}
	return int((limit.Per - l.full(key, limit, now).Sub(now)) / limit.each())
}

// file returns the file of the ledger.
func (b *budget) file() string { return filepath.Join(b.folder, "_orders."+b.authority+".json") }

// Left returns what is left of the authority's limits for a host.
func (m *Manager) Left(host string) (left Left, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = m.budget.change(ctx, func(l *ledger, now time.Time) error {
		left = m.budget.left(l, host, now)
		return errUnchanged
	})
	return left, err
}

var errUnchanged = errors.New("unchanged")

// change reads the ledger, changes it and writes it, under a lock that all
// processes share. If f fails, the ledger stays as it was.
func (b *budget) change(ctx context.Context, f func(*ledger, time.Time) error) error {
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		return storageError{err}
	}
	file := b.file()
	release, err := files.Lock(ctx, filepath.Join(b.folder, "_orders.lock"), false)
	if err != nil {
		return storageError{err}
	}
	defer release()
	l, err := site.ReadState[ledger](file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storageError{err}
	}
	if l.Full == nil {
		l.Full = make(map[string]time.Time)
	}
	if l.Blocked == nil {
		l.Blocked = make(map[string]time.Time)
	}
	now := time.Now()
	if err := f(&l, now); err != nil {
		if err == errUnchanged { //nolint:errorlint // never wrapped
			return nil
		}
		return err
	}
	for _, times := range []map[string]time.Time{l.Full, l.Blocked} {
		for key, t := range times {
			if !t.After(now) {
				delete(times, key)
			}
		}
	}
	if err := files.WriteJSON(b.folder, file, l); err != nil {
		return storageError{err}
	}
	return nil
}

// when returns when a bucket has n tokens.
func (l *ledger) when(key string, limit Limit, n int, now time.Time) time.Time {
	if limit.Burst == 0 {
		return now
	}
	return l.full(key, limit, now).Add(time.Duration(n) * limit.each()).Add(-limit.Per)
}

// take takes n tokens, or gives them back if n is negative.
func (l *ledger) take(key string, limit Limit, n int, now time.Time) {
	if limit.Burst == 0 || n == 0 {
		return
	}
	l.Full[key] = l.full(key, limit, now).Add(time.Duration(n) * limit.each())
}

// full returns when a bucket is full. A moment that is further away than the
// bucket allows comes from a wrong clock, and counts as an empty bucket.
func (l *ledger) full(key string, limit Limit, now time.Time) time.Time {
	full := l.Full[key]
	if full.Before(now) {
		return now
	}
	if full.Sub(now) > limit.Per {
		return now.Add(limit.Per)
	}
	return full
}
