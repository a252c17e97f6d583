package queries

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// PlanOnce makes Postgres plan each prepared statement of a connection once,
// without its arguments. By default it plans a statement up to six times on each
// connection before it keeps a plan
// (postgresql.org/docs/current/sql-prepare.html#SQL-PREPARE-NOTES). TestPlans
// examines the kept plans.
func PlanOnce(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SET plan_cache_mode = force_generic_plan")
	return err
}
