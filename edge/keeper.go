package edge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/internal/password"
)

// Why a request is not admitted.
var (
	errNoPassword    = errors.New("no password")
	errWrongPassword = errors.New("wrong password")
	errManyAttempts  = errors.New("too many attempts")
)

const (
	// attemptsBurst and attemptsEvery are how many wrong passwords a client may
	// send to one site.
	attemptsBurst = 10
	attemptsEvery = 10 * time.Second
	// maxClients is the number of pairs of a site and a client whose attempts
	// are counted.
	maxClients = 100_000
	// verifiedFor is how long a correct password is remembered for a client
	// that sends it with each request, and maxVerified how many of them.
	verifiedFor = 5 * time.Minute
	maxVerified = 20_000
	// hashWait is how long an attempt waits for its turn, maxWaiting how many
	// wait, and maxOfSite how many of those are of one site.
	hashWait   = 5 * time.Second
	maxWaiting = 64
	maxOfSite  = 16
)

// keeper checks passwords. An attempt must pass, in this order, the client's
// bound, the memory of verified passwords, the site's bound, and the bound of
// hashes in all. So attempts on one site neither stop those on another nor use
// up memory.
type keeper struct {
	checker  *password.Checker
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
	users int // guarded by the keeper's mu
}

func newKeeper(now func() time.Time) *keeper {
	return &keeper{
		// Two at least, so that one site's attempts leave a slot to the others.
		checker:  password.NewChecker(max(2, runtime.GOMAXPROCS(0)), maxWaiting, hashWait),
		key:      newKey(),
		clients:  lru.New[clientOf, *rate.Limiter](maxClients),
		verified: lru.New[[sha256.Size]byte, verified](maxVerified),
		sites:    map[string]*turns{},
		now:      now,
	}
}

// verify returns the id of the site's password that a client typed. Its errors
// are errWrongPassword, errManyAttempts, password.ErrBusy and that of ctx.
func (k *keeper) verify(ctx context.Context, a *access, client netip.Addr, typed string) (id string, err error) {
	who := clientOf{a.distribution, network.Subscriber(client)}
	limiter, now := k.limiter(who), k.now()
	// This comes before the look-up, which would tell a client without attempts
	// left whether a password is correct.
	if limiter.TokensAt(now) < 1 {
		return "", errManyAttempts
	}
	digest := k.digest(who, typed)
	if v, ok := k.verified.Get(digest); ok && now.Before(v.until) && a.has(v.id) {
		return v.id, nil
	}
	// A page's requests come at once with the same password. They share an
	// attempt. The protection is part of the key: a request that began after a
	// change must not get the result of before.
	key := fmt.Sprintf("%x %p", digest, a)
	v, err, _ := k.flight.Do(key, func() (any, error) {
		attempt := limiter.ReserveN(now, 1)
		if !attempt.OK() || attempt.DelayFrom(now) > 0 {
			attempt.CancelAt(now)
			return "", errManyAttempts
		}
		// The others must not fail because the first one leaves.
		at, err := k.match(context.WithoutCancel(ctx), a, typed)
		switch {
		case err != nil:
			attempt.CancelAt(now)
			return "", err
		case at < 0:
			return "", errWrongPassword
		}
		attempt.CancelAt(now) // only wrong ones count
		id := a.passwords[at].ID
		k.verified.Put(digest, verified{id, now.Add(verifiedFor)}, 1)
		return id, nil
	})
	id, _ = v.(string)
	return id, err
}

func (k *keeper) limiter(who clientOf) *rate.Limiter {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.clients.Get(who)
	if !ok {
		l = rate.NewLimiter(rate.Every(attemptsEvery), attemptsBurst)
		k.clients.Put(who, l, 1)
	}
	return l
}

// digest identifies a client's password without revealing it.
func (k *keeper) digest(who clientOf, typed string) (d [sha256.Size]byte) {
	mac := hmac.New(sha256.New, k.key)
	_, _ = fmt.Fprintf(mac, "%s\x00%s\x00%s", who.site, who.client, typed)
	copy(d[:], mac.Sum(nil))
	return d
}

// match checks a password when it is the site's turn.
func (k *keeper) match(ctx context.Context, a *access, typed string) (int, error) {
	t, release := k.enter(a.distribution)
	defer release()
	if t == nil {
		return -1, password.ErrBusy
	}
	patience := time.NewTimer(hashWait)
	defer patience.Stop()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-patience.C:
		return -1, password.ErrBusy
	}
	return k.checker.Match(ctx, typed, a.hashes)
}

// enter adds an attempt to those of a site. It returns nil if there are too
// many.
func (k *keeper) enter(distribution string) (_ *turns, release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.sites[distribution]
	if !ok {
		t = &turns{turn: make(chan struct{}, 1)}
		k.sites[distribution] = t
	}
	t.users++
	release = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(k.sites, distribution)
		}
	}
	if t.users > maxOfSite {
		return nil, release
	}
	return t, release
}

func (a *access) has(id string) bool {
	for _, w := range a.passwords {
		if w.ID == id {
			return true
		}
	}
	return false
}
