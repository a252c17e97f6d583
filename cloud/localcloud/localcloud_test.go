package localcloud_test

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/site"
)

func open(t testing.TB, root string, delay time.Duration) cloud.Cloud {
	t.Helper()
	c, err := localcloud.New(localcloud.Config{Root: root, PropagationDelay: delay, PollDelay: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	t.Parallel()
	cloudtest.Run(t, func(t *testing.T) cloudtest.Env {
		root := t.TempDir()
		readers, err := edge.New(edge.Config{Root: root, Previews: site.PreviewHosts{Suffix: "sites.example", Sites: "sites.example"}})
		if err != nil {
			t.Fatal(err)
		}
		return cloudtest.Env{
			// Long enough that a busy machine still sees it in progress.
			Cloud:    open(t, root, 400*time.Millisecond),
			Readers:  readers,
			Domain:   "sites.example",
			Deadline: 20 * time.Second,
		}
	})
}
