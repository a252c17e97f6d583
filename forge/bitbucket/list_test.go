package bitbucket_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
)

func TestRepositories(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for i := range 150 {
		f.list = append(f.list, map[string]any{"uuid": fmt.Sprintf("{AAAAAAAA-0000-4000-8000-%012d}", i), "full_name": fmt.Sprintf("acme/site-%03d", 149-i), "is_private": i == 0, "mainbranch": map[string]any{"name": "main"}})
	}
	f.list = append(f.list, map[string]any{"uuid": "{x}", "full_name": "acme/a b"}, map[string]any{"uuid": "{y}", "full_name": "acme/empty", "mainbranch": nil})
	lister := func(token string) forge.Lister {
		t.Helper()
		b, err := bitbucket.NewForge(bitbucket.Settings{URL: f.url, Token: token}, bitbucket.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	list, complete, err := lister(granted).Repositories(t.Context())
	if err != nil || !complete || len(list) != 151 {
		t.Fatalf("%d repositories, complete %t, %v", len(list), complete, err)
	}
	if first, last := list[0], list[150]; first.FullName != "acme/empty" || first.DefaultBranch != "" || last.FullName != "acme/site-149" || !last.Private || last.ID != "{aaaaaaaa-0000-4000-8000-000000000000}" {
		t.Errorf("the first is %+v, the last %+v", first, last)
	}
	if _, _, err := lister("").Repositories(t.Context()); err == nil {
		t.Error("without credentials there is no error")
	}
	if _, _, err := lister("wrong").Repositories(t.Context()); err == nil {
		t.Error("with a wrong token there is no error")
	}
}
