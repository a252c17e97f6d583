package sandbox_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/internal/checkup"
)

// TestRehearse looks around from a build that is isolated, and from some that
// see or reach too much.
func TestRehearse(t *testing.T) {
	t.Parallel()
	isolatedBuilder(t, sandbox.Config{})
	const open = "/var/lib"
	closed, err := os.CreateTemp("/var/tmp", "closed file") // below /tmp, no build would see it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = closed.Close(), os.Remove(closed.Name()) })
	var unreadable []string
	if os.Geteuid() == 0 {
		unreadable = []string{"builds can't read " + closed.Name()}
	}
	mine := netip.MustParseAddr(ownAddress(t))
	nowhere := map[string]string{"npm_config_registry": "http://192.0.2.1/", "https_proxy": "", "http_proxy": ""}
	for _, test := range []struct {
		name    string
		cfg     sandbox.Config
		secrets []string
		wrong   []string // sentences with a remedy
		well    string
	}{
		{name: "isolated", cfg: sandbox.Config{Environment: nowhere}, secrets: []string{"/var/lib/with space"}, well: "are isolated"},
		{name: "an allowed address of its own", cfg: sandbox.Config{Environment: nowhere, Allow: []netip.Prefix{netip.PrefixFrom(mine, 32)}}, well: "are isolated"},
		{name: "a folder that is secret", cfg: sandbox.Config{Environment: nowhere, Visible: []string{open}}, secrets: []string{open}, wrong: []string{"a build can read " + open}},
		{name: "a file that builds may not read", cfg: sandbox.Config{Environment: nowhere, Visible: []string{closed.Name()}}, wrong: unreadable, well: "are isolated"},
		{name: "a variable", cfg: sandbox.Config{Environment: map[string]string{"npm_config_registry": "http://192.0.2.1/", "TROY_SECRET_KEY": "x"}}, wrong: []string{"a build has the worker's variable TROY_SECRET_KEY"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var wrong, well []string
			sandbox.Rehearse(t.Context(), test.cfg, test.secrets, false, func(f checkup.Finding) {
				if f.Remedy != "" {
					wrong = append(wrong, f.Said)
				} else {
					well = append(well, f.Said)
				}
			})
			if strings.Join(wrong, "\n") != strings.Join(test.wrong, "\n") || !strings.Contains(strings.Join(well, "\n"), test.well) {
				t.Errorf("wrong: %q, want %q; well: %q, want %q", wrong, test.wrong, well, test.well)
			}
			if !strings.Contains(strings.Join(well, "\n"), "builds can't reach it, and TROY_BUILD_TOOLS=machine") && !strings.Contains(strings.Join(well, "\n"), "neither npm nor curl") {
				t.Errorf("nothing of the registry: %q", well)
			}
		})
	}
}

// TestRehearsalIsJudged has lines that a build on this machine can't print.
func TestRehearsalIsJudged(t *testing.T) {
	t.Parallel()
	const say = "troyd doctor: "
	for _, test := range []struct {
		name     string
		lines    []string
		registry bool
		want     []string
	}{
		{"reached", []string{say + "reached 169.254.169.254", say + "reached 10.0.0.7", say + "registry", say + "end"}, true, []string{"FAIL a build can reach 169.254.169.254, 10.0.0.7", "builds reach it"}},
		{"cut short", []string{say + "read /x", "Killed", ""}, true, []string{"FAIL a build that looks around ended early: Killed"}},
		{"no registry", []string{"npm error code ENOTFOUND", say + "end", "took 3 s"}, true, []string{"are isolated", "FAIL builds can't reach it: npm error code ENOTFOUND"}},
		{"no client", []string{say + "no client", say + "end"}, true, []string{"are isolated", "not tried"}},
		{"no bash", []string{say + "untried", say + "registry", say + "end"}, true, []string{"the network was not tried", "builds reach it"}},
	} {
		var got []string
		sandbox.Judge(test.lines, test.registry, func(f checkup.Finding) {
			if f.Remedy != "" {
				f.Said = "FAIL " + f.Said
			}
			got = append(got, f.Said)
		})
		if len(got) != len(test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], test.want[i]) || strings.Contains(test.want[i], "FAIL") != strings.Contains(got[i], "FAIL") {
				t.Errorf("%s: %q, want %q", test.name, got[i], test.want[i])
			}
		}
	}
}
