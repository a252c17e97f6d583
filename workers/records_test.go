package workers

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// A record that Troy did not make fails the provisioning with a clear cause,
// and outlives the pipeline.
func TestRecordOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const host, elsewhere = "blog.localhost", "other.cdn.example"
	if err := r.cloud.DNS.Upsert(t.Context(), host, elsewhere); err != nil {
		t.Fatal(err)
	}
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	p := r.waitFor(id, troy.FailedToProvision)
	if !strings.Contains(p.Cause, "a record that Troy did not make") || !strings.Contains(p.Cause, elsewhere) {
		t.Errorf("the cause is %q", p.Cause)
	}
	if _, err := r.q.PipelineScheduleDeletion(t.Context(), queries.PipelineScheduleDeletionParams{ID: id, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	if got, err := r.cloud.DNS.Lookup(t.Context(), host); err != nil || got != elsewhere {
		t.Errorf("the record points to %q, %v; want %s", got, err, elsewhere)
	}
}
