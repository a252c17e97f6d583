package credentials

import (
	"context"
	"fmt"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// Count counts sealed values: those under the newest key, those that were
// sealed with an older one, and those that could not be opened.
type Count struct{ Current, Resealed, Unopened int }

// Counts has a Count for each kind of sealed value.
type Counts map[string]Count

// Sum adds the counts of all kinds.
func (c Counts) Sum() (sum Count) {
	for _, n := range c {
		sum.Current += n.Current
		sum.Resealed += n.Resealed
		sum.Unopened += n.Unopened
	}
	return sum
}

// Reseal seals with the newest key everything that an older key sealed; dry
// only counts it. It reports a value that it can't open, and leaves it.
func Reseal(ctx context.Context, q *queries.Queries, sealer *secret.Sealer, dry bool, report func(error) error) (Counts, error) {
	counts := Counts{}
	var after queries.SealedListParams
	for {
		rows, err := q.SealedList(ctx, after)
		if err != nil {
			return counts, fmt.Errorf("list what is sealed: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			after = queries.SealedListParams{AfterKind: row.Kind, AfterID: row.ID, AfterName: row.Name}
			count := counts[row.Kind]
			err := count.reseal(ctx, q, sealer, row, dry, report)
			counts[row.Kind] = count
			if err != nil {
				return counts, err
			}
		}
	}
	if n := counts.Sum().Unopened; n > 0 {
		return counts, fmt.Errorf("%d could not be opened; put the key that sealed them behind the others in TROY_SECRET_KEY, or set them anew", n)
	}
	return counts, nil
}

func (c *Count) reseal(ctx context.Context, q *queries.Queries, sealer *secret.Sealer, row queries.SealedListRow, dry bool, report func(error) error) error {
	if !sealer.Stale(row.Sealed) {
		c.Current++
		return nil
	}
	subject := secret.Subject{Kind: row.Kind, ID: row.ID, Name: row.Name}
	value, err := sealer.Open(row.Sealed, subject)
	if err != nil {
		c.Unopened++
		return report(err)
	}
	c.Resealed++
	if dry {
		return nil
	}
	fresh, err := sealer.Seal(value, subject)
	if err != nil {
		return err
	}
	// Nothing replaced: it was changed meanwhile, and sealed by that.
	if _, err := q.SealedReplace(ctx, queries.SealedReplaceParams{
		Fresh: fresh, Kind: row.Kind, ID: row.ID, Name: row.Name, Sealed: row.Sealed,
	}); err != nil {
		return fmt.Errorf("replace %s %s: %w", row.Kind, row.ID, err)
	}
	return nil
}
