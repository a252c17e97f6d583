package certificates_test

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/internal/acmedouble"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// replacedBy waits until a node serves another certificate than before.
func replacedBy(t *testing.T, n *node, host string, before *x509.Certificate) {
	t.Helper()
	if !poll.Until(t.Context(), time.Minute, 50*time.Millisecond, func() bool {
		now, err := n.handshake(host)
		if err != nil {
			t.Fatalf("while the certificate is replaced: %v", err)
		}
		return now.SerialNumber.Cmp(before.SerialNumber) != 0
	}) {
		t.Fatal("the revoked certificate was not replaced")
	}
}

// TestRevoked revokes a certificate at an authority with an OCSP responder, and at
// one that has only renewal information. Both are replaced, once, while two nodes
// serve them.
func TestRevoked(t *testing.T) {
	t.Parallel()
	for name, byOCSP := range map[string]bool{"OCSP": true, "renewal information": false} {
		t.Run(name, func(t *testing.T) { // one after another, as both have the same hosts
			w := newWorldWith(t, acmedouble.Config{OCSP: byOCSP})
			w.want("leaked.test", "fine.test")
			n := w.start(w.clear, nil)
			second := w.start(listen(t), nil)
			w.state("leaked.test", active)
			w.state("fine.test", active)
			before, err := n.handshake("leaked.test")
			if err != nil {
				t.Fatal(err)
			}
			fine, err := n.handshake("fine.test")
			if err != nil {
				t.Fatal(err)
			}
			if byOCSP {
				w.authority.RevokeByOCSP(before.SerialNumber)
			} else {
				w.authority.RenewAtOnce(t, before)
				if err := n.Revoke(t.Context(), "leaked.test"); err != nil {
					t.Fatal(err)
				}
			}
			replacedBy(t, n, "leaked.test", before)
			if after, err := n.handshake("leaked.test"); err != nil || bytes.Equal(after.RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
				t.Errorf("the new certificate: %v; expected another key", err)
			}
			if again, err := n.handshake("fine.test"); err != nil || again.SerialNumber.Cmp(fine.SerialNumber) != 0 {
				t.Errorf("the other host's certificate: %v; expected the same", err)
			}
			w.state("leaked.test", func(s site.CertificateState) bool { return active(s) && s.Problem == "" })
			if _, err := second.handshake("leaked.test"); err != nil {
				t.Errorf("the second node: %v", err)
			}
			if orders := len(w.authority.Orders()); orders != 3 {
				t.Errorf("%d orders; expected 3", orders)
			}
			if !byOCSP {
				return
			}
			w.authority.SetDown(true)
			w.authority.RevokeByOCSP(fine.SerialNumber)
			state := w.state("fine.test", func(s site.CertificateState) bool { return s.Problem != "" })
			if !active(state) || !strings.Contains(state.Problem, "The certificate for fine.test is revoked") || !strings.Contains(state.Problem, "can't be reached") || !state.NextTry.After(time.Now()) {
				t.Errorf("a revoked certificate that can't be replaced has the state %+v", state)
			}
			if again, err := n.handshake("fine.test"); err != nil || again.SerialNumber.Cmp(fine.SerialNumber) != 0 {
				t.Errorf("meanwhile: %v; expected the revoked certificate", err)
			}
		})
	}
}

// TestNewAccount gets a certificate while another process has begun to create the
// account.
func TestNewAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.start(w.clear, nil)
	if err := os.MkdirAll(n.NoAddressFolder(), 0o700); err != nil {
		t.Fatal(err)
	}
	w.want("early.test")
	if s := w.state("early.test", func(s site.CertificateState) bool { return s.State != site.CertificateIssuing }); !active(s) {
		t.Errorf("the state is %+v", s)
	}
	if files, err := os.ReadDir(n.NoAddressFolder()); err != nil || len(files) == 0 {
		t.Errorf("the account has the files %v, %v", files, err)
	}
}

// TestFullDisk fills the disk of the folder: the log says why there is no
// certificate, and the certificates that exist are served. With room the
// certificate follows.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := w.layout.Root
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("mounting a small disk needs privileges: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	w.want("kept.test")
	n := w.start(w.clear, nil)
	t.Cleanup(n.stop) // before the disk goes
	w.state("kept.test", active)
	filler := filepath.Join(root, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !disk.IsFull(err) {
		t.Fatalf("fill the disk: %v", err)
	}
	w.want("kept.test", "added.test")
	const says = "The disk of the data folder is full, so the certificate for added.test can't be stored; free some space."
	if !poll.Until(t.Context(), time.Minute, 20*time.Millisecond, func() bool { return strings.Contains(w.log.String(), says) }) {
		t.Fatalf("the log lacks %q", says)
	}
	if _, err := n.handshake("kept.test"); err != nil {
		t.Errorf("on a full disk the old certificate: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.want("kept.test", "added.test")
	w.state("added.test", func(s site.CertificateState) bool { return active(s) && s.Problem == "" })
}

// TestWrongClock serves with a clock that is behind, and renews with one that is
// ahead, for which the authority's own certificate has expired. The state says to set the
// clock, and the certificate is served.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.want("late.test")
	n := w.start(w.clear, nil)
	w.state("late.test", active)
	n.stop()
	w.clear = relisten(t, w.clear)
	w.clock = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	n = w.start(w.clear, nil)
	state := w.state("late.test", func(s site.CertificateState) bool { return s.Problem != "" })
	if state.State != site.CertificateActive || state.Code != "clock" || !strings.Contains(state.Problem, "is valid from") || !strings.Contains(state.Problem, "set the clock") {
		t.Errorf("with a clock that is behind the state is %+v", state)
	}
	if n.Active("late.test") {
		t.Error("plain HTTP would redirect to a certificate that is not valid yet")
	}
	n.stop()

	w.clock = nil
	expired := acmedouble.Start(t, acmedouble.Config{Expired: true})
	w.clear = relisten(t, w.clear)
	w.start(w.clear, nil, func(c *certificates.Config) { c.Directory, c.Roots = expired.Directory, expired.APIRoots })
	w.want("ahead.test")
	state = w.state("ahead.test", failed)
	if state.Code != "clock" || !strings.Contains(state.Problem, "the time of this machine's clock") || !state.NextTry.After(time.Now()) {
		t.Errorf("with a clock that is ahead the state is %+v", state)
	}
	if orders := len(expired.Orders()); orders != 0 {
		t.Errorf("%d orders; expected none", orders)
	}
}
