package workers

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// watchedCDN records the protections of a cloud, and can hold and fail calls.
type watchedCDN struct {
	cloud.CDN
	mu   sync.Mutex
	seen []site.Protection
	// hold, if not nil, is called before each call.
	hold func(site.Protection) error
}

func (c *watchedCDN) Protect(ctx context.Context, id string, p site.Protection) error {
	c.mu.Lock()
	hold := c.hold
	c.mu.Unlock()
	if hold != nil {
		if err := hold(p); err != nil {
			return err
		}
	}
	err := c.CDN.(cloud.Protector).Protect(ctx, id, p)
	if err == nil {
		c.mu.Lock()
		c.seen = append(c.seen, p)
		c.mu.Unlock()
	}
	return err
}

func (c *watchedCDN) last() site.Protection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seen) == 0 {
		return site.Protection{}
	}
	return c.seen[len(c.seen)-1]
}

// protecting makes a rig whose protections are recorded.
func protecting(t *testing.T) (*rig, *watchedCDN) {
	t.Helper()
	r := newRig(t)
	w := &watchedCDN{CDN: r.cloud.CDN}
	r.cloud.CDN = w
	sealer, err := secret.New(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r.secrets = sealer
	return r, w
}

// setPassword sets a password as web does.
func (r *rig) setPassword(id uuid.UUID, name, hash string) {
	r.t.Helper()
	plain, err := json.Marshal(site.Password{Hash: hash, Key: make([]byte, site.MinKey)})
	if err != nil {
		r.t.Fatal(err)
	}
	sealed, err := r.secrets.Seal(plain, secret.Access(id, name))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.in.SetAccessPassword(r.t.Context(), id, intake.AccessPassword{Name: name, Salt: []byte("salt"), Sealed: sealed}, "test"); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) allow(id uuid.UUID, network string) {
	r.t.Helper()
	if err := r.in.AllowNetwork(r.t.Context(), id, netip.MustParsePrefix(network), "test"); err != nil {
		r.t.Fatal(err)
	}
}

// applied waits until what is wanted holds.
func (r *rig) applied(id uuid.UUID) {
	r.t.Helper()
	eventually(r.t, func() bool {
		row, err := r.q.AccessGet(r.t.Context(), id)
		return err == nil && row.Access.Applied == row.Access.Generation
	}, func() string { return "the protection was not applied" })
}

func (r *rig) provisioned(slug string) uuid.UUID {
	r.t.Helper()
	id := r.pipeline(slug)
	r.requestProvision(id)
	r.waitFor(id, troy.ReadyForDeployment)
	return id
}

func TestAccess(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	_, stop := r.start()
	id := r.provisioned("blog")
	r.setPassword(id, "client", "$argon2id$one")
	r.setPassword(id, "team", "$argon2id$two")
	r.allow(id, "203.0.113.0/24")
	r.applied(id)
	p := cdn.last()
	if p.Sequence != 3 || len(p.Passwords) != 2 || p.Passwords[0].Hash != "$argon2id$one" || p.Passwords[1].Hash != "$argon2id$two" ||
		len(p.Networks) != 1 || p.Networks[0].String() != "203.0.113.0/24" {
		t.Fatalf("the protection is %+v", p)
	}
	// A changed password has a new id, so that its sessions end. Others stay.
	r.setPassword(id, "client", "$argon2id$three")
	r.applied(id)
	now := cdn.last()
	if now.Passwords[0].ID == p.Passwords[0].ID || now.Passwords[1].ID != p.Passwords[1].ID || now.Passwords[0].Hash != "$argon2id$three" {
		t.Errorf("%+v became %+v", p.Passwords, now.Passwords)
	}
	if err := r.in.Unprotect(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	r.applied(id)
	if p := cdn.last(); !p.Public() || p.Sequence != 5 {
		t.Errorf("after off it is %+v", p)
	}
	// Deployments do not change it.
	r.allow(id, "203.0.113.0/24")
	r.applied(id)
	r.live(id, map[string]string{"index.html": "one"})
	if p := cdn.last(); p.Sequence != 6 {
		t.Errorf("after a deployment it is %+v", p)
	}

	// A later history: the database was restored from a backup.
	if _, err := r.db.Exec(t.Context(), "UPDATE access SET generation = 2, applied = 2 WHERE pipeline_id = $1", id); err != nil {
		t.Fatal(err)
	}
	r.allow(id, "198.51.100.0/24")
	r.applied(id)
	if p := cdn.last(); p.Sequence != 7 || len(p.Networks) != 2 {
		t.Errorf("after a restore it is %+v", p)
	}
	// Deletion removes it, also if it was changed last.
	r.allow(id, "192.0.2.0/24")
	if _, err := r.in.ScheduleDeletion(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	var left int
	if err := r.db.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM access) + (SELECT count(*) FROM access_passwords) + (SELECT count(*) FROM work WHERE kind = 'access')").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
	stop()
}

// TestAccessBeforeTheSite checks that a site that is protected before it exists
// never has content without its protection.
func TestAccessBeforeTheSite(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	r.workers()
	id := r.pipeline("blog")
	r.allow(id, "203.0.113.0/24")
	r.release(id, map[string]string{"index.html": "one"})
	var order []string
	cdn.hold = func(site.Protection) error {
		p, err := r.q.PipelineGet(context.WithoutCancel(t.Context()), id)
		if err == nil {
			order = append(order, string(p.Status))
		}
		return err
	}
	r.requestProvision(id)
	r.start()
	r.waitFor(id, troy.Deployed)
	r.applied(id)
	if len(order) == 0 || order[0] != string(troy.Provisioning) {
		t.Errorf("it was protected while it was %v, want first Provisioning", order)
	}
}

// TestAccessBeforeDeletion checks that a protection holds in the grace period of
// a deletion, in which the site is still served, even if its work is lost.
func TestAccessBeforeDeletion(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		r, _ := protecting(t)
		r.grace, r.reconcile = time.Hour, 200*time.Millisecond
		_, stop := r.start()
		id := r.provisioned("blog")
		stop()
		r.allow(id, "203.0.113.0/24")
		if _, err := r.in.ScheduleDeletion(t.Context(), id, "test"); err != nil {
			t.Fatal(err)
		}
		if lost {
			if _, err := r.db.Exec(t.Context(), "DELETE FROM work WHERE kind = 'access'"); err != nil {
				t.Fatal(err)
			}
		}
		r.start()
		r.applied(id)
	}
}

// TestStalledAccess lets a worker that has read an old protection continue after
// another has applied a later one.
func TestStalledAccess(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	r.start()
	id := r.provisioned("blog")
	p, err := r.q.PipelineGet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.allow(id, "203.0.113.0/24")
	r.applied(id)
	old := cdn.last()
	r.allow(id, "198.51.100.0/24")
	r.applied(id)
	later := cdn.last()
	err = cdn.Protect(t.Context(), *p.DistributionID, old)
	if err == nil || cdn.last().Sequence != later.Sequence {
		t.Errorf("the stalled worker put back %+v: %v", cdn.last(), err)
	}
	// The handler takes the refusal as "another was faster".
	w := r.workers()
	if _, err := w.resequenceAccess(t.Context(), &claim{log: w.log}, id, old.Sequence, later.Sequence); err != errMoved { //nolint:errorlint // it is never wrapped
		t.Errorf("resequenced: %v", err)
	}
}

// TestAccessIsNeverDropped makes the cloud fail until the work is given up, and
// then answer.
func TestAccessIsNeverDropped(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	w, _ := r.start()
	id := r.provisioned("blog")
	fails := true
	cdn.mu.Lock()
	cdn.hold = func(site.Protection) error {
		cdn.mu.Lock()
		defer cdn.mu.Unlock()
		if fails {
			return troy.Errorf(troy.Conflict, "the disk is read-only")
		}
		return nil
	}
	cdn.mu.Unlock()
	r.allow(id, "203.0.113.0/24")
	eventually(t, func() bool {
		row, err := r.q.AccessGet(t.Context(), id)
		return err == nil && strings.Contains(row.Cause, "the disk is read-only") && row.Access.Applied < row.Access.Generation
	}, func() string { return "the cause is not shown" })
	cdn.mu.Lock()
	fails = false
	cdn.mu.Unlock()
	if _, err := r.q.WorkHurry(t.Context(), tasks.TypeAccess, id); err != nil {
		t.Fatal(err)
	}
	w.deps.Bell.Ask(tasks.QueueQuick)
	r.applied(id)
}

// TestAccessNeedsAProtector runs on a cloud that can't protect sites.
func TestAccessNeedsAProtector(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	r.cloud.CDN = struct{ cloud.CDN }{cdn.CDN}
	r.workers()
	id := r.pipeline("blog")
	r.allow(id, "203.0.113.0/24")
	r.requestProvision(id)
	r.start()
	if p := r.waitFor(id, troy.FailedToProvision); !strings.Contains(p.Cause, "can't be protected") {
		t.Errorf("the cause is %q", p.Cause)
	}
	if err := r.in.Unprotect(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	r.requestProvision(id)
	r.waitFor(id, troy.ReadyForDeployment)
	r.applied(id)
}

// TestLostAccessWork checks the second net.
func TestLostAccessWork(t *testing.T) {
	t.Parallel()
	r, _ := protecting(t)
	r.reconcile = 200 * time.Millisecond
	_, stop := r.start()
	id := r.provisioned("blog")
	stop()
	r.allow(id, "203.0.113.0/24")
	if _, err := r.db.Exec(t.Context(), "DELETE FROM work WHERE kind = 'access'"); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.applied(id)
	if found := r.reconciled(); !strings.Contains(found, `what="access"`) {
		t.Errorf("the metric says %q", found)
	}
}

func TestSealedPasswordsNeedTheKey(t *testing.T) {
	t.Parallel()
	r, _ := protecting(t)
	r.start()
	id := r.provisioned("blog")
	r.setPassword(id, "client", "$argon2id$one")
	r.applied(id)
	wanted, err := r.q.AccessWanted(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	w := r.workers()
	if _, err := w.protection(id, wanted); err != nil {
		t.Fatal(err)
	}
	if _, err := w.protection(uuid.New(), wanted); err == nil {
		t.Error("a password of another pipeline was opened")
	}
	w.deps.Secrets = nil
	if _, err := w.protection(id, wanted); err == nil || !strings.Contains(err.Error(), "TROY_SECRET_KEY") {
		t.Errorf("without the key: %v", err)
	}
}

// TestPreviewKey applies the key of previews for people who have a session of
// the dashboard: from the start, and after each change.
func TestPreviewKey(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	_, stop := r.start()
	id := r.pipeline("blog")
	if err := r.in.SetPreviewAccess(t.Context(), id, intake.PreviewsSignedIn, "test"); err != nil {
		t.Fatal(err)
	}
	r.requestProvision(id)
	r.waitFor(id, troy.ReadyForDeployment)
	r.applied(id)
	first := cdn.last()
	if len(first.PreviewKey) < site.MinKey || !first.PreviewsOnly || len(first.Passwords) != 0 {
		t.Fatalf("the first protection is %+v", first)
	}
	set := func(previews string) site.Protection {
		t.Helper()
		if err := r.in.SetPreviewAccess(t.Context(), id, previews, "test"); err != nil {
			t.Fatal(err)
		}
		r.applied(id)
		return cdn.last()
	}
	if again := set(intake.PreviewsSignedIn); len(again.PreviewKey) < site.MinKey || string(again.PreviewKey) == string(first.PreviewKey) {
		t.Error("the key is the same after it was set again")
	}
	if off := set(intake.PreviewsPublic); !off.Public() {
		t.Errorf("public is %+v", off)
	}
	stop()
}
