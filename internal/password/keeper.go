package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/internal/network"
)

// Why Verify does not accept a password.
var (
	ErrWrong        = errors.New("wrong password")
	ErrManyAttempts = errors.New("too many attempts")
)

const (
	// AttemptsBurst is how many wrong passwords a client may send to one site at
	// once.
	AttemptsBurst = 10
	// AttemptsEvery is the time after which it may send another.
	AttemptsEvery = 10 * time.Second
	// maxClients is the number of pairs of a site and a client whose attempts
	// are counted.
	maxClients = 100_000
	// VerifiedFor is how long a correct password is remembered for a client
	// that sends it with each request, and maxVerified how many of them.
	VerifiedFor = 5 * time.Minute
	maxVerified = 20_000
	// hashWait is how long an attempt waits for its turn, maxWaiting how many
	// wait, and maxOfSite how many of those are of one site.
	hashWait   = 5 * time.Second
	maxWaiting = 64
	maxOfSite  = 16
)

// Secrets are passwords of which a request to a site must know one. They don't
// change once they are checked.
type Secrets struct {
	site   string
	ids    []string // tell apart also those of other times
	hashes []Hashed
}

// NewSecrets returns an empty list of a site's passwords. The attempts of all
// lists with this name of a site are counted together.
func NewSecrets(site string) *Secrets { return &Secrets{site: site} }

// Add adds a password by its hash. Its id differs from those of other times.
func (s *Secrets) Add(id, hash string) error {
	h, err := Parse(hash)
	if err == nil {
		s.ids, s.hashes = append(s.ids, id), append(s.hashes, h)
	}
	return err
}

// Keeper checks what visitors of protected sites type. An attempt must pass, in
// this order, the client's bound, the memory of verified passwords, the site's
// bound, and the bound of hashes in all. So attempts on one site neither stop
// those on another nor use up memory. It is safe for concurrent use.
type Keeper struct {
	checker  *Checker
	key      []byte // of the digests in verified
	clients  *lru.Cache[clientOf, *rate.Limiter]
	verified *lru.Cache[[sha256.Size]byte, verified]
	flight   singleflight.Group
	now      func() time.Time

	mu    sync.Mutex
	sites map[string]*turns // those with an attempt under way
}

// clientOf is a client of a site.
type clientOf struct {
	site   string
	client netip.Prefix
}

// verified is a password that was correct for a client.
type verified struct {
	id    string
	until time.Time
}

// turns lets one attempt on a site be hashed at a time.
type turns struct {
	turn  chan struct{}
	users int // guarded by the Keeper's mu
}

// NewKeeper returns a Keeper with a clock.
func NewKeeper(now func() time.Time) *Keeper {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails (crypto/rand)
	return &Keeper{
		// Two at least, so that one site's attempts leave a slot to the others.
		checker:  NewChecker(max(2, runtime.GOMAXPROCS(0)), maxWaiting, hashWait),
		key:      key,
		clients:  lru.New[clientOf, *rate.Limiter](maxClients),
		verified: lru.New[[sha256.Size]byte, verified](maxVerified),
		sites:    map[string]*turns{},
		now:      now,
	}
}

// Hashes returns the number of hashes that were computed.
func (k *Keeper) Hashes() int64 { return k.checker.Hashes() }

// Verify returns the index of the password that a client typed. Its errors are
// ErrWrong, ErrManyAttempts, ErrBusy and that of ctx.
func (k *Keeper) Verify(ctx context.Context, s *Secrets, client netip.Addr, typed string) (int, error) {
	who := clientOf{s.site, network.Subscriber(client)}
	limiter, now := k.limiter(who), k.now()
	// This comes before the look-up, which would tell a client without attempts
	// left whether a password is correct.
	if limiter.TokensAt(now) < 1 {
		return -1, ErrManyAttempts
	}
	digest := k.digest(who, typed)
	if v, ok := k.verified.Get(digest); ok && now.Before(v.until) {
		if at := slices.Index(s.ids, v.id); at >= 0 {
			return at, nil
		}
	}
	// A page's requests come at once with the same password. They share an
	// attempt. The passwords are part of the key: a request that began after a
	// change must not get the result of before.
	flight := fmt.Sprintf("%x %p", digest, s)
	v, err, _ := k.flight.Do(flight, func() (any, error) {
		attempt := limiter.ReserveN(now, 1)
		if !attempt.OK() || attempt.DelayFrom(now) > 0 {
			attempt.CancelAt(now)
			return -1, ErrManyAttempts
		}
		// The others must not fail because the first one leaves.
		at, err := k.match(context.WithoutCancel(ctx), s, typed)
		switch {
		case err != nil:
			attempt.CancelAt(now)
			return -1, err
		case at < 0:
			return -1, ErrWrong
		}
		attempt.CancelAt(now) // only wrong ones count
		k.verified.Put(digest, verified{s.ids[at], now.Add(VerifiedFor)}, 1)
		return at, nil
	})
	if err != nil {
		return -1, err
	}
	return v.(int), nil
}

func (k *Keeper) limiter(who clientOf) *rate.Limiter {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.clients.Get(who)
	if !ok {
		l = rate.NewLimiter(rate.Every(AttemptsEvery), AttemptsBurst)
		k.clients.Put(who, l, 1)
	}
	return l
}

// digest identifies a client's password without revealing it.
func (k *Keeper) digest(who clientOf, typed string) (d [sha256.Size]byte) {
	mac := hmac.New(sha256.New, k.key)
	_, _ = fmt.Fprintf(mac, "%s\x00%s\x00%s", who.site, who.client, typed)
	copy(d[:], mac.Sum(nil))
	return d
}

// match checks a password when it is the site's turn.
func (k *Keeper) match(ctx context.Context, s *Secrets, typed string) (int, error) {
	t, release := k.enter(s.site)
	defer release()
	if t == nil {
		return -1, ErrBusy
	}
	patience := time.NewTimer(hashWait)
	defer patience.Stop()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-patience.C:
		return -1, ErrBusy
	}
	return k.checker.Match(ctx, typed, s.hashes)
}

// enter adds an attempt to those of a site. It returns nil if there are too
// many.
func (k *Keeper) enter(site string) (_ *turns, release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.sites[site]
	if !ok {
		t = &turns{turn: make(chan struct{}, 1)}
		k.sites[site] = t
	}
	t.users++
	release = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(k.sites, site)
		}
	}
	if t.users > maxOfSite {
		return nil, release
	}
	return t, release
}
