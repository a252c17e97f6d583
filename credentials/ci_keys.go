package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/troy-iaas/troy"
)

const (
	// Keys are read again after keysFresh, or for a key that is not among them,
	// but at most once in keysPause. They are used for keysKept if the issuer
	// does not answer.
	keysFresh = 10 * time.Minute
	keysPause = time.Minute
	keysKept  = time.Hour
)

// ciKeys are the keys of an issuer.
type ciKeys struct {
	turn    chan struct{} // held while the keys are used
	set     jose.JSONWebKeySet
	read    time.Time // when set was read
	looked  time.Time
	failure error // of the last look
}

func (k *ciKeys) find(id string) *jose.JSONWebKey {
	for _, key := range k.set.Keys {
		if key.KeyID == id && id != "" && key.IsPublic() && key.Valid() && key.Use != "enc" {
			return &key
		}
	}
	return nil
}

// key returns a key of an issuer. However many unknown keys are asked for, the
// issuer is asked once in a while.
func (ci *CI) key(ctx context.Context, issuer, id string) (*jose.JSONWebKey, error) {
	ci.mu.Lock()
	k := ci.keys[issuer]
	if k == nil {
		k = &ciKeys{turn: make(chan struct{}, 1)}
		ci.keys[issuer] = k
	}
	ci.mu.Unlock()
	silent := troy.Errorf(troy.Unavailable, "%s does not answer, so the token can't be checked; try again in a minute", hostOf(issuer))
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, silent
	}
	now, pause := ci.now(), keysPause
	if k.failure != nil {
		pause = issuerRetry
	}
	if (k.find(id) == nil || now.Sub(k.read) > keysFresh) && (k.looked.IsZero() || now.Sub(k.looked) >= pause) {
		// A job that ends must not end it for those who wait.
		set, err := ci.readKeys(context.WithoutCancel(ctx), issuer)
		if k.looked, k.failure = now, err; err == nil {
			k.set, k.read = set, now
		}
	}
	found := k.find(id)
	switch {
	case found != nil && now.Sub(k.read) <= keysKept:
		return found, nil
	case k.failure != nil:
		return nil, because(k.failure, silent)
	}
	return nil, unauthenticated("the token's kid is %q, which is not a key of %s; Troy reads the keys again within a minute", troy.Clip(id), hostOf(issuer))
}

// readKeys reads the keys of an issuer (OpenID Connect Discovery 1.0 §4).
func (ci *CI) readKeys(ctx context.Context, issuer string) (set jose.JSONWebKeySet, err error) {
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, ci.client), issuer)
	if err != nil {
		return set, err
	}
	var described struct {
		Keys string `json:"jwks_uri"`
	}
	if err := p.Claims(&described); err != nil {
		return set, err
	}
	if u, err := url.Parse(described.Keys); err != nil || u.Host == "" || !trusted(u) || u.Scheme == "http" && strings.HasPrefix(issuer, "https:") {
		return set, fmt.Errorf("its description names the address %q; expected one with https", troy.Clip(described.Keys))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, described.Keys, nil)
	if err != nil {
		return set, err
	}
	resp, err := ci.client.Do(req)
	if err != nil {
		return set, err
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return set, err
	}
	if resp.StatusCode != http.StatusOK {
		return set, fmt.Errorf("its keys answer %s", resp.Status)
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return set, fmt.Errorf("read its keys: %w", err)
	}
	return set, nil
}
