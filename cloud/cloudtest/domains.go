package cloudtest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
)

func domainsOf(t *testing.T, e Env) cloud.Domains {
	t.Helper()
	if lacks := e.Cloud.Domains == nil; lacks != e.lacks(LacksDomains) {
		t.Fatalf("the cloud has no Domains: %v, and lacks them: %v", lacks, !lacks)
	}
	if e.Cloud.Domains == nil {
		t.Skip("the adapter lacks them")
	}
	return e.Cloud.Domains
}

// customHost returns a host outside the domain of the test's sites.
func customHost() string { return "c" + newID().String() + ".custom.example" }

// attach attaches a host as workers do: again and again until it is served.
func attach(t *testing.T, e Env, id, host, redirect string) {
	t.Helper()
	eventually(t, e, "serving "+host, func(ctx context.Context) bool {
		if err := e.Cloud.Domains.Attach(ctx, id, cloud.CustomHost{Host: host, Redirect: redirect}); err != nil {
			t.Fatalf("Attach of %s: %v", host, err)
		}
		state, err := e.Cloud.Domains.Host(ctx, id, host)
		if err != nil {
			t.Fatalf("Host of %s: %v", host, err)
		}
		return state.Serving && (state.Certificate == cloud.CertificateNone || state.Certificate == cloud.CertificateActive)
	})
}

// detach detaches a host as workers do: again and again until it is done.
func detach(t *testing.T, e Env, id, host string) {
	t.Helper()
	eventually(t, e, "detaching "+host, func(ctx context.Context) bool {
		err := e.Cloud.Domains.Detach(ctx, id, host)
		if err != nil && !errors.Is(err, cloud.ErrNotDisabled) {
			t.Fatalf("Detach of %s: %v", host, err)
		}
		return err == nil
	})
}

func wantConflict(t *testing.T, what string, err error) {
	t.Helper()
	if troy.KindOf(err) != troy.Conflict {
		t.Fatalf("%s: %v, want a Conflict", what, err)
	}
}

func domainTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"domains/target": func(t *testing.T, e Env) {
			domains := domainsOf(t, e)
			d, _, _ := create(t, e)
			host, addresses, err := domains.Target(t.Context(), d.ID)
			if err != nil || host == "" && len(addresses) == 0 {
				t.Fatalf("Target: %q, %v, %v; want a host or addresses", host, addresses, err)
			}
			_, _, err = domains.Target(t.Context(), "none")
			wantNotFound(t, "Target of no distribution", err)
		},
		"domains/attach, read and detach again and again": func(t *testing.T, e Env) {
			domains := domainsOf(t, e)
			d, _, _ := create(t, e)
			host := customHost()
			_, err := domains.Host(t.Context(), d.ID, host)
			wantNotFound(t, "Host before Attach", err)
			for _, redirect := range []string{"", "", "www." + host, ""} {
				attach(t, e, d.ID, host, redirect)
				if _, err := domains.Host(t.Context(), d.ID, host); err != nil {
					t.Fatalf("Host: %v", err)
				}
			}
			for range 2 {
				detach(t, e, d.ID, host)
				_, err := domains.Host(t.Context(), d.ID, host)
				wantNotFound(t, "Host after Detach", err)
			}
			wantNotFound(t, "Attach to no distribution", domains.Attach(t.Context(), "none", cloud.CustomHost{Host: host}))
			if err := domains.Detach(t.Context(), "none", host); err != nil {
				t.Fatalf("Detach from no distribution: %v", err)
			}
		},
		"domains/a host has one distribution": func(t *testing.T, e Env) {
			domains := domainsOf(t, e)
			d, _, own := create(t, e)
			other, reference, otherOwn := create(t, e)
			host := customHost()
			attach(t, e, d.ID, host, "")
			for what, h := range map[string]string{"a custom host": host, "a site's host": own, "its own host": otherOwn} {
				wantConflict(t, "Attach of "+what, domains.Attach(t.Context(), other.ID, cloud.CustomHost{Host: h}))
			}
			if !e.lacks(LacksHostConflict) {
				_, err := e.Cloud.CDN.Create(t.Context(), reference+"2", host)
				wantConflict(t, "Create with a custom host", err)
			}
			// It is not the other's to detach.
			if err := domains.Detach(t.Context(), other.ID, host); err != nil {
				t.Fatalf("Detach: %v", err)
			}
			_, err := domains.Host(t.Context(), other.ID, host)
			wantNotFound(t, "Host at the other distribution", err)
			if _, err := domains.Host(t.Context(), d.ID, host); err != nil {
				t.Fatalf("Host: %v", err)
			}
			// It moves.
			detach(t, e, d.ID, host)
			attach(t, e, other.ID, host, "")
		},
		"domains/of many at once one gets the host": func(t *testing.T, e Env) {
			domains := domainsOf(t, e)
			host := customHost()
			errs := make([]error, 4)
			ids := make([]string, len(errs))
			for i := range ids {
				d, _, _ := create(t, e)
				ids[i] = d.ID
			}
			var group sync.WaitGroup
			for i := range errs {
				group.Go(func() { errs[i] = domains.Attach(t.Context(), ids[i], cloud.CustomHost{Host: host}) })
			}
			group.Wait()
			got := 0
			for _, err := range errs {
				if err == nil {
					got++
				} else {
					wantConflict(t, "Attach", err)
				}
			}
			if got != 1 {
				t.Fatalf("%d distributions got the host, want 1", got)
			}
		},
		"domains/deleting a distribution detaches its hosts": func(t *testing.T, e Env) {
			domainsOf(t, e)
			d, _, _ := create(t, e)
			host, wildcard := customHost(), "*."+customHost()
			attach(t, e, d.ID, host, "")
			attach(t, e, d.ID, wildcard, "")
			remove(t, e, d.ID)
			other, _, _ := create(t, e)
			attach(t, e, other.ID, host, "")
			attach(t, e, other.ID, wildcard, "")
		},
		"domains/a name that is not a host is invalid": func(t *testing.T, e Env) {
			domains := domainsOf(t, e)
			d, _, _ := create(t, e)
			for _, host := range []string{"", ".", "a_b.example", "../x", "a.*.example", "*", "*.", "**.example", strings.Repeat("a.", 120) + "example"} {
				if err := domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: host}); troy.KindOf(err) != troy.Invalid {
					t.Errorf("Attach of %q: %v, want Invalid", host, err)
				}
			}
		},
	}
}

// askAt requests an address at a host as a reader.
func (l *live) askAt(host, address string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://"+host+address, nil)
	w := httptest.NewRecorder()
	l.e.Readers.ServeHTTP(w, r)
	return w
}

// wantAt requests an address at a host until it gets this answer.
func (l *live) wantAt(host, address string, status int, body, location string) {
	l.t.Helper()
	eventually(l.t, l.e, host+address, func(context.Context) bool {
		w := l.askAt(host, address)
		return w.Code == status && (body == "" || w.Body.String() == body) && strings.TrimPrefix(w.Header().Get("Location"), "https:") == location
	})
}

// wantNone requests an address at a host until it is not served. Some CDNs
// refuse hosts that they don't serve with 403.
func (l *live) wantNone(host, address string) {
	l.t.Helper()
	eventually(l.t, l.e, "not serving "+host, func(context.Context) bool {
		status := l.askAt(host, address).Code
		return status == http.StatusNotFound || status == http.StatusForbidden
	})
}

func domainServingTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"serving/custom hosts": func(t *testing.T, e Env) {
			domainsOf(t, e)
			live := newLive(t, e)
			live.release(map[string]string{"index.html": "one"}, false)
			host, www := customHost(), "www."+customHost()
			live.wantNone(host, "/")
			attach(t, e, live.d.ID, host, "")
			attach(t, e, live.d.ID, www, host)
			live.wantAt(host, "/", http.StatusOK, "one", "")
			live.wantAt(www, "/a%2Fb/?q=1&r=%41", http.StatusPermanentRedirect, "", "//"+host+"/a%2Fb/?q=1&r=%41")
			live.release(map[string]string{"index.html": "two"}, false)
			live.wantAt(host, "/", http.StatusOK, "two", "")
			// The other one becomes primary.
			attach(t, e, live.d.ID, www, "")
			attach(t, e, live.d.ID, host, www)
			live.wantAt(www, "/", http.StatusOK, "two", "")
			live.wantAt(host, "/x", http.StatusPermanentRedirect, "", "//"+www+"/x")
			detach(t, e, live.d.ID, host)
			live.wantNone(host, "/")
			live.want("/", http.StatusOK, "two")
		},
		"serving/a wildcard": func(t *testing.T, e Env) {
			domainsOf(t, e)
			live, other := newLive(t, e), newLive(t, e)
			live.release(map[string]string{"index.html": "wild"}, false)
			other.release(map[string]string{"index.html": "exact"}, false)
			parent := customHost()
			attach(t, e, live.d.ID, "*."+parent, "")
			live.wantAt("a."+parent, "/", http.StatusOK, "wild", "")
			live.wantAt("b."+parent, "/", http.StatusOK, "wild", "")
			live.wantNone(parent, "/")
			live.wantNone("a.b."+parent, "/")
			attach(t, e, other.d.ID, "a."+parent, "")
			live.wantAt("a."+parent, "/", http.StatusOK, "exact", "")
			live.wantAt("b."+parent, "/", http.StatusOK, "wild", "")
			detach(t, e, other.d.ID, "a."+parent)
			live.wantAt("a."+parent, "/", http.StatusOK, "wild", "")
			detach(t, e, live.d.ID, "*."+parent)
			live.wantNone("a."+parent, "/")
		},
	}
}
