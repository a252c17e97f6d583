package github_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/troy-iaas/troy/forge"
)

func TestRepositories(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.list = []map[string]any{{"id": 1, "full_name": "acme/Zoo", "default_branch": "main", "private": true}, {"id": 2, "full_name": "../x", "default_branch": "main"}}
	for i := range 150 {
		f.list = append(f.list, map[string]any{"id": 100 + i, "full_name": fmt.Sprintf("acme/site-%03d", i), "default_branch": "main\n"})
	}
	list, complete, err := f.client().Repositories(t.Context())
	if err != nil || !complete || len(list) != 151 {
		t.Fatalf("%d repositories, complete %t, %v", len(list), complete, err)
	}
	first, last := list[0], list[150]
	if first.FullName != "acme/site-000" || first.ID != "100" || first.Installation != "7" || first.DefaultBranch != "main" || first.Private || last.FullName != "acme/Zoo" || !last.Private {
		t.Errorf("the first is %+v, the last %+v", first, last)
	}
	// More than are listed are not read.
	for i := range forge.MaxListed {
		f.list = append(f.list, map[string]any{"id": 1000 + i, "full_name": fmt.Sprintf("acme/more-%04d", i), "default_branch": "main"})
	}
	if list, complete, err = f.client().Repositories(t.Context()); err != nil || complete || len(list) > forge.MaxListed || len(list) < forge.MaxListed-1 {
		t.Errorf("%d repositories, complete %t, %v", len(list), complete, err)
	}
	f.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/installation/repositories" && r.URL.Query().Get("page") == "2" {
			refuse(w, 502, "Bad gateway")
			return true
		}
		return false
	}
	if list, complete, err = f.client().Repositories(t.Context()); err == nil || complete || len(list) != 99 {
		t.Errorf("after a failure: %d repositories, complete %t, %v", len(list), complete, err)
	}
}
