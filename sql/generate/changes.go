package generate

import (
	"fmt"

	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
)

// concurrentIndexes returns the indexes of existing tables that changes add,
// drop or alter and that can be built separately. An index of a constraint
// can't; an index on a dropped or changed column changes with the column.
func concurrentIndexes(changes []schema.Change) map[string]bool {
	apart := map[string]bool{}
	for _, c := range changes {
		m, ok := c.(*schema.ModifyTable)
		if !ok {
			continue
		}
		touched := map[string]bool{}
		for _, c := range m.Changes {
			switch c := c.(type) {
			case *schema.DropColumn:
				touched[c.C.Name] = true
			case *schema.ModifyColumn:
				touched[c.From.Name] = true
			}
		}
		for _, c := range m.Changes {
			switch c := c.(type) {
			case *schema.AddIndex:
				apart[c.I.Name] = !constrained(c.I)
			case *schema.DropIndex:
				apart[c.I.Name] = !constrained(c.I) && !uses(c.I, touched)
			case *schema.ModifyIndex:
				apart[c.From.Name] = !constrained(c.From) && !constrained(c.To) && !uses(c.From, touched)
			}
		}
	}
	return apart
}

func constrained(i *schema.Index) bool {
	for _, a := range i.Attrs {
		if _, ok := a.(*postgres.Constraint); ok {
			return true
		}
	}
	return false
}

// uses reports whether an index uses one of the columns. An expression or a
// predicate may use any of them.
func uses(i *schema.Index, columns map[string]bool) bool {
	for _, p := range i.Parts {
		if (p.C != nil && columns[p.C.Name]) || (p.X != nil && len(columns) > 0) {
			return true
		}
	}
	for _, a := range i.Attrs {
		switch a := a.(type) {
		case *postgres.IndexPredicate:
			if len(columns) > 0 {
				return true
			}
		case *postgres.IndexInclude:
			for _, c := range a.Columns {
				if columns[c.Name] {
					return true
				}
			}
		}
	}
	return false
}

// split separates the changes of the indexes named in apart from the others.
func split(changes []schema.Change, apart map[string]bool) (together, indexes []schema.Change) {
	concurrently := func() []schema.Clause { return []schema.Clause{&postgres.Concurrently{}} }
	for _, c := range changes {
		m, ok := c.(*schema.ModifyTable)
		if !ok {
			together = append(together, c)
			continue
		}
		var stay, leave []schema.Change
		for _, c := range m.Changes {
			switch c := c.(type) {
			case *schema.AddIndex:
				if apart[c.I.Name] {
					leave = append(leave, &schema.AddIndex{I: c.I, Extra: concurrently()})
					continue
				}
			case *schema.DropIndex:
				if apart[c.I.Name] {
					leave = append(leave, &schema.DropIndex{I: c.I, Extra: concurrently()})
					continue
				}
			case *schema.ModifyIndex:
				if apart[c.From.Name] {
					leave = append(leave, &schema.DropIndex{I: c.From, Extra: concurrently()}, &schema.AddIndex{I: c.To, Extra: concurrently()})
					continue
				}
			}
			stay = append(stay, c)
		}
		if len(stay) > 0 {
			together = append(together, &schema.ModifyTable{T: m.T, Changes: stay})
		}
		if len(leave) > 0 {
			indexes = append(indexes, &schema.ModifyTable{T: m.T, Changes: leave})
		}
	}
	return together, indexes
}

// destructive returns the tables and columns that changes drop.
func destructive(changes []schema.Change) []string {
	var names []string
	for _, c := range changes {
		switch c := c.(type) {
		case *schema.DropTable:
			names = append(names, "table "+c.T.Name)
		case *schema.ModifyTable:
			for _, part := range c.Changes {
				if d, ok := part.(*schema.DropColumn); ok {
					names = append(names, fmt.Sprintf("column %s.%s", c.T.Name, d.C.Name))
				}
			}
		}
	}
	return names
}
