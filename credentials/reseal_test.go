package credentials_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
)

// TestResealLeavesWhatChangedMeanwhile checks that a value that changes during
// a reseal keeps its new content.
func TestResealLeavesWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pipeline := uuid.New()
	if _, err := db.Exec(t.Context(), "INSERT INTO pipelines (id, name, slug) VALUES ($1, 'Blog', 'blog')", pipeline); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), "INSERT INTO variables (pipeline_id, name, value) VALUES ($1, 'A', 'changed')", pipeline); err != nil {
		t.Fatal(err)
	}
	n, err := queries.New(db).SealedReplace(t.Context(), queries.SealedReplaceParams{
		Fresh: []byte("fresh"), Kind: "variable", ID: pipeline.String(), Name: "A", Sealed: []byte("the value read before"),
	})
	if err != nil || n != 0 {
		t.Errorf("replaced %d, %v", n, err)
	}
}
