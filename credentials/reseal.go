package credentials

import (
	"context"
	"fmt"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// Count counts sealed values: those under the newest key, those resealed from
// an older key, and those that could not be opened.
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

// Reseal seals with the newest key every value that an older key sealed. With
// dry it only counts them. It reports a value that it can't open, and leaves it
// unchanged.
func Reseal(ctx context.Context, q *queries.Queries, sealer *secret.Sealer, dry bool, report func(error) error) (Counts, error) {
	counts := Counts{}
	var after queries.SealedListParams
	for {
		rows, err := q.SealedList(ctx, after)
		if err != nil {
			return counts, fmt.Errorf("list the sealed values: %w", err)
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
		return counts, fmt.Errorf("%d could not be opened; append the key that sealed them to TROY_SECRET_KEY, or set the values again", n)
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
	// No row means that the value changed meanwhile; its new value is sealed
	// with the newest key.
	if _, err := q.SealedReplace(ctx, queries.SealedReplaceParams{
		Fresh: fresh, Kind: row.Kind, ID: row.ID, Name: row.Name, Sealed: row.Sealed,
	}); err != nil {
		return fmt.Errorf("replace %s %s: %w", row.Kind, row.ID, err)
	}
	return nil
}
