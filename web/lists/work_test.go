package lists_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/lists"
)

// before executes a statement before the query of a name.
type before struct {
	queries.DBTX
	name, statement string
}

func (b before) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if strings.HasPrefix(sql, "-- name: "+b.name+" ") {
		if _, err := b.Exec(ctx, b.statement); err != nil {
			return nil, err
		}
	}
	return b.DBTX.Query(ctx, sql, args...)
}

// TestWorkIsListedOnce lets a worker go of its work after the running work was
// read and before the waiting work is.
func TestWorkIsListedOnce(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	q, subject := queries.New(db), uuid.New()
	if err := q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeProvision, SubjectID: subject}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.WorkClaim(t.Context(), queries.WorkClaimParams{Kind: tasks.TypeProvision, SubjectID: subject, LeaseSeconds: 60, Queue: tasks.QueueQuick}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{lists.Running, lists.Waiting} {
		l := lists.Lists{Q: queries.New(before{db, "QueueWaiting", "UPDATE work SET lease_until = NULL"})}
		page, err := l.Work(t.Context(), lists.WorkFilter{}, credentials.Holder{Role: credentials.Admin}, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Work) != 1 || page.Work[0].SubjectID != subject || page.Work[0].State != want {
			t.Errorf("the list is %+v, want the work once, %s", page.Work, want)
		}
	}
}
