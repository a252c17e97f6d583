package troy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
)

func TestStatusNames(t *testing.T) {
	t.Parallel()
	want := []struct{ value, name string }{
		{"pre_provisioned", "Pre Provisioned"},
		{"provision_request", "Provision Request"},
		{"provisioning", "Provisioning"},
		{"failed_to_provision", "Failed to Provision"},
		{"ready_for_deployment", "Ready for Deployment"},
		{"queued", "Queued"},
		{"deploying", "Deploying"},
		{"deployed", "Deployed"},
		{"failed_to_deploy", "Failed to Deploy"},
		{"scheduled_for_deletion", "Scheduled for Deletion"},
		{"deleting", "Deleting"},
		{"failed_to_delete", "Failed to Delete"},
		{"deleted", "Deleted"},
	}
	all := troy.Statuses()
	if len(all) != len(want) {
		t.Fatalf("%d statuses, want %d", len(all), len(want))
	}
	for i, w := range want {
		if string(all[i]) != w.value || all[i].String() != w.name {
			t.Errorf("status %d is %q, shown as %q; want %q, %q", i+1, string(all[i]), all[i], w.value, w.name)
		}
		if s, err := troy.ParseStatus(w.value); err != nil || s != all[i] {
			t.Errorf("ParseStatus(%q) = %q, %v", w.value, string(s), err)
		}
	}
	if got := troy.RowStatuses(); !slices.Equal(got, all[:12]) {
		t.Errorf("a row's statuses are %v, want all but Deleted", got)
	}
	for _, bad := range []string{"", "Deployed", "ready for deployment", "queued ", "unknown"} {
		if s, err := troy.ParseStatus(bad); err == nil || s != "" {
			t.Errorf("ParseStatus(%q) = %q, %v; want an error", bad, string(s), err)
		}
	}
}

// TestTransitions repeats the transition table as pairs. A pair that is not
// listed is not allowed.
func TestTransitions(t *testing.T) {
	t.Parallel()
	deletable := ", scheduled_for_deletion"
	allowed := map[troy.Status]string{
		troy.PreProvisioned:       "provision_request" + deletable,
		troy.ProvisionRequest:     "provisioning, failed_to_provision" + deletable,
		troy.Provisioning:         "ready_for_deployment, failed_to_provision" + deletable,
		troy.FailedToProvision:    "provision_request" + deletable,
		troy.ReadyForDeployment:   "queued" + deletable,
		troy.Queued:               "deploying, failed_to_deploy, deployed, ready_for_deployment" + deletable,
		troy.Deploying:            "deployed, failed_to_deploy, queued, ready_for_deployment" + deletable,
		troy.Deployed:             "queued" + deletable,
		troy.FailedToDeploy:       "queued" + deletable,
		troy.ScheduledForDeletion: "deleting, failed_to_delete, pre_provisioned, provision_request, failed_to_provision, ready_for_deployment, deployed, failed_to_deploy",
		troy.Deleting:             "deleted, failed_to_delete",
		troy.FailedToDelete:       "scheduled_for_deletion",
		troy.Deleted:              "",
	}
	for _, from := range append(troy.Statuses(), "", "unknown") {
		var want []string
		for _, to := range troy.Statuses() {
			if slices.Contains(splitList(allowed[from]), string(to)) {
				want = append(want, string(to))
			}
		}
		var can, next []string
		for _, to := range append(troy.Statuses(), "", "unknown") {
			if from.CanBecome(to) {
				can = append(can, string(to))
			}
			if slices.Contains(from.Next(), to) {
				next = append(next, string(to))
			}
		}
		if diff := cmp.Diff(want, can); diff != "" {
			t.Errorf("what %q can become (-want +got):\n%s", string(from), diff)
		}
		if diff := cmp.Diff(want, next); diff != "" {
			t.Errorf("successors of %q (-want +got):\n%s", string(from), diff)
		}
	}
}

// TestNextIsACopy checks that changes to the result of Next don't change the
// table.
func TestNextIsACopy(t *testing.T) {
	t.Parallel()
	for _, s := range troy.Statuses() {
		before := s.Next()
		if got := s.Next(); len(got) > 0 {
			got[0] = "changed"
		}
		if diff := cmp.Diff(before, s.Next()); diff != "" {
			t.Errorf("%s (-before +after):\n%s", s, diff)
		}
	}
}

func TestStatusKinds(t *testing.T) {
	t.Parallel()
	var resting, inDeletion []string
	for _, s := range troy.Statuses() {
		if s.Resting() {
			resting = append(resting, string(s))
		}
		if s.InDeletion() {
			inDeletion = append(inDeletion, string(s))
		}
	}
	if diff := cmp.Diff([]string{
		"pre_provisioned", "failed_to_provision", "ready_for_deployment", "deployed", "failed_to_deploy", "failed_to_delete", "deleted",
	}, resting); diff != "" {
		t.Errorf("resting places (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"scheduled_for_deletion", "deleting", "failed_to_delete", "deleted"}, inDeletion); diff != "" {
		t.Errorf("in deletion (-want +got):\n%s", diff)
	}
}

func TestDeploymentStates(t *testing.T) {
	t.Parallel()
	names := map[troy.DeploymentState]string{
		troy.Waiting: "Waiting", troy.Building: "Building", troy.Publishing: "Publishing",
		troy.Succeeded: "Succeeded", troy.Failed: "Failed", troy.Cancelled: "Cancelled", troy.Superseded: "Superseded",
	}
	all := troy.DeploymentStates()
	if len(all) != len(names) {
		t.Errorf("%d states are listed, want %d", len(all), len(names))
	}
	for i, s := range all {
		if s.String() != names[s] {
			t.Errorf("%q is shown as %q, want %q", string(s), s, names[s])
		}
		if s.Ended() != (i >= 3) {
			t.Errorf("%s: ended is %t", s, s.Ended())
		}
	}
	if got := troy.DeploymentState("").String(); got != "" {
		t.Errorf("no state is shown as %q", got)
	}
}
