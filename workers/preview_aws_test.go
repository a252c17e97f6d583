package workers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/queries"
)

// previewFaults fails the next call of each armed action.
type previewFaults struct {
	mu    sync.Mutex
	armed map[string]awsdouble.Fault // by action
}

func (f *previewFaults) arm(faults map[string]awsdouble.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = faults
}

func (f *previewFaults) fault(c awsdouble.Call) awsdouble.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := f.armed[c.Action]
	delete(f.armed, c.Action)
	return fault
}

// TestPreviewsOnAWS loses calls to AWS while a preview is made, promoted and
// removed. After the deletion of its pipeline only what all previews share is
// left.
func TestPreviewsOnAWS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	faults := &previewFaults{}
	lost := func() {
		t.Helper()
		faults.mu.Lock()
		defer faults.mu.Unlock()
		if len(faults.armed) > 0 {
			t.Errorf("the calls %v were not lost", faults.armed)
		}
	}
	double := r.onAWS(awsdouble.Config{Fault: faults.fault, Settle: 200 * time.Millisecond})
	read := func(host string) string {
		w := httptest.NewRecorder()
		double.Edge().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://"+host+"/", nil))
		if w.Code != http.StatusOK {
			return http.StatusText(w.Code)
		}
		return w.Body.String()
	}
	r.start()
	id := r.provisioned("blog")
	faults.arm(map[string]awsdouble.Fault{
		"CreateDistributionWithTags": awsdouble.LostAfter, "ChangeResourceRecordSets": awsdouble.LostBefore, "UpdateKeys": awsdouble.LostAfter,
	})
	draft := r.draft(id, "draft", map[string]string{"index.html": "draft"})
	r.previewLabelled(id, "draft", "shown", shows(draft))
	lost()
	for _, host := range []string{"draft--blog.localhost", "d-1--blog.localhost"} {
		if got := read(host); got != "draft" {
			t.Errorf("%s answers %q", host, got)
		}
	}
	if got := read("blog.localhost"); got != "Not Found" {
		t.Errorf("the site answers %q before a promotion", got)
	}
	made, err := r.in.PromotePreview(t.Context(), id, "draft", 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	if d := r.ended(made.ID); d.State != troy.Succeeded {
		t.Fatalf("the promotion is %s: %s", d.State, d.Cause)
	}
	faults.arm(map[string]awsdouble.Fault{"UpdateKeys": awsdouble.LostAfter})
	if err := r.in.DeletePreview(t.Context(), id, "draft", "test"); err != nil {
		t.Fatal(err)
	}
	r.previewLabelled(id, "draft", "removed", removed)
	lost()
	for host, want := range map[string]string{"draft--blog.localhost": "Not Found", "d-1--blog.localhost": "Not Found", "blog.localhost": "draft"} {
		if got := read(host); got != want {
			t.Errorf("after the removal %s answers %q, expected %q", host, got, want)
		}
	}
	again := r.draft(id, "again", map[string]string{"index.html": "again"})
	r.previewLabelled(id, "again", "shown", shows(again))
	faults.arm(map[string]awsdouble.Fault{"UpdateKeys": awsdouble.LostBefore, "GetKey": awsdouble.LostBefore})
	if _, err := r.q.PipelineScheduleDeletion(t.Context(), queries.PipelineScheduleDeletionParams{ID: id, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	if got := read("again--blog.localhost"); got != "Not Found" {
		t.Errorf("a preview of a deleted site answers %q", got)
	}
	if left := double.Pointers(); len(left) > 0 {
		t.Errorf("left in the store is %v", left)
	}
	if left := double.Distributions(); len(left) != 1 || left[0].Host != "*.localhost" {
		t.Errorf("left are the distributions %+v, expected that of the previews", left)
	}
	if left := double.Records(); len(left) != 2 || !strings.HasPrefix(left[0], "A *.localhost ") {
		t.Errorf("left are the records %q, expected those of the previews", left)
	}
	lost()
}

// TestPreviewsOfLostDistribution deletes a pipeline whose distribution someone
// else has deleted.
func TestPreviewsOfLostDistribution(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	double := r.onAWS(awsdouble.Config{})
	r.start()
	id := r.provisioned("blog")
	draft := r.draft(id, "draft", map[string]string{"index.html": "draft"})
	r.previewLabelled(id, "draft", "shown", shows(draft))
	p, err := r.q.PipelineGet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	double.RemoveDistribution(*p.DistributionID)
	if _, err := r.in.ScheduleDeletion(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	if left := double.Pointers(); len(left) > 0 {
		t.Errorf("left in the store is %v", left)
	}
}
