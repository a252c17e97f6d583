package intake

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Limits of a pipeline's variables, over all contexts.
const (
	maxVariables    = 100
	maxVariableName = 128
	// maxSecretBytes is the maximum total size of a pipeline's sealed secrets:
	// a build can keep no more out of its log (secret.MaxValues).
	maxSecretBytes = 64 << 10
)

var variableForm = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

// CheckVariableName returns an Invalid error if name is not a valid variable
// name: capital letters, digits and _, no leading digit, at most 128
// characters.
func CheckVariableName(name string) error {
	if len(name) > maxVariableName || !variableForm.MatchString(name) {
		return troy.Errorf(troy.Invalid, "%q is not a valid variable name; expected capital letters, digits and _, no leading digit, at most %d characters", troy.Clip(name), maxVariableName).At("name")
	}
	return nil
}

// Variable is a value of a variable to set.
type Variable struct {
	Name string
	// Context is one that troy.CheckContext allows. If it is empty, the value is
	// for troy.DefaultContext, and replaces the variable's only value for
	// production or for all contexts.
	Context string
	Secret  bool
	// Seal returns the value, sealed for a context or, if that is empty, for
	// none.
	Seal func(context string) ([]byte, error)
}

// SetVariable sets the value of a variable for a pipeline's builds from its next
// deployment on. It returns the context of the value.
func (in *Intake) SetVariable(ctx context.Context, pipeline uuid.UUID, v Variable) (string, error) {
	if err := CheckVariableName(v.Name); err != nil {
		return "", err
	}
	if troy.ReservedVariable(v.Name) {
		return "", troy.Errorf(troy.Invalid, "%s is set by Troy itself in every build; choose another name", v.Name).At("name")
	}
	if v.Context != "" {
		if err := troy.CheckContext(v.Context); err != nil {
			return "", err
		}
	}
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, SettingVariables); err != nil {
			return err
		}
		replaced := v.Context
		if v.Context == "" {
			v.Context = troy.DefaultContext(v.Secret)
			var err error
			if replaced, err = onlyDefault(ctx, q, pipeline, v.Name, v.Context); err != nil {
				return err
			}
		}
		if _, err := q.VariableRemove(ctx, queries.VariableRemoveParams{PipelineID: pipeline, Name: v.Name, Context: replaced}); err != nil {
			return err
		}
		if err := v.store(ctx, q, p); err != nil {
			return err
		}
		detail := "plain"
		if v.Secret {
			detail = "secret"
		}
		return Audit(ctx, q, Change{Action: VariableSet, Subject: v.Name, Detail: detail + ", " + v.Context, Pipeline: &p})
	})
	if err != nil {
		return "", fmt.Errorf("set variable %s of pipeline %s: %w", v.Name, pipeline, err)
	}
	return v.Context, nil
}

// onlyDefault returns the context of a variable's value that a new one without a
// context replaces: of the two contexts that values have by default, the one
// that the variable has a value for, or fallback.
func onlyDefault(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, name, fallback string) (string, error) {
	rows, err := q.VariableList(ctx, pipeline, name)
	if err != nil {
		return "", err
	}
	var found []string
	for _, row := range rows {
		if row.Context == troy.AllContexts || row.Context == troy.ProductionContext {
			found = append(found, row.Context)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return fallback, nil
}

// store adds a value that the variable does not have.
func (v Variable) store(ctx context.Context, q *queries.Queries, p queries.Pipeline) error {
	others, err := q.VariableUsage(ctx, p.ID)
	if err != nil {
		return err
	}
	if others.Variables >= maxVariables {
		return troy.Errorf(troy.Conflict, "the pipeline %s has %d variables, counted once for each context; no more are allowed", p.Slug, others.Variables)
	}
	fits := func(sealed []byte) error {
		if v.Secret && others.SecretBytes+int64(len(sealed)) > maxSecretBytes {
			return troy.Errorf(troy.TooLarge, "the secrets of the pipeline %s would total more than %d bytes", p.Slug, maxSecretBytes).At("value")
		}
		return nil
	}
	if v.Context == troy.DefaultContext(v.Secret) {
		sealed, err := v.Seal("")
		if err == nil {
			err = fits(sealed)
		}
		if err != nil {
			return err
		}
		n, err := q.VariableSet(ctx, queries.VariableSetParams{PipelineID: p.ID, Name: v.Name, Value: sealed, Secret: v.Secret})
		if err != nil || n == 1 {
			return err
		}
	}
	sealed, err := v.Seal(v.Context)
	if err == nil {
		err = fits(sealed)
	}
	if err != nil {
		return err
	}
	return q.VariableSetInContext(ctx, queries.VariableSetInContextParams{PipelineID: p.ID, Name: v.Name, Context: v.Context, Value: sealed, Secret: v.Secret})
}

// RemoveVariable removes the value of a variable for a context. Without a
// context, it removes the only value. It returns NotFound if the variable does
// not exist.
func (in *Intake) RemoveVariable(ctx context.Context, pipeline uuid.UUID, name, of string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		row, err := FindVariable(ctx, q, p, name, of)
		if err != nil {
			return err
		}
		if _, err := q.VariableRemove(ctx, queries.VariableRemoveParams{PipelineID: pipeline, Name: name, Context: row.Context}); err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: VariableRemove, Subject: name, Detail: row.Context, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("remove variable %s of pipeline %s: %w", troy.Clip(name), pipeline, err)
	}
	return nil
}

// FindVariable returns the value of a variable for a context or, without one,
// its only value.
func FindVariable(ctx context.Context, q *queries.Queries, p queries.Pipeline, name, of string) (queries.VariableListRow, error) {
	none := queries.VariableListRow{}
	if of != "" {
		if err := troy.CheckContext(of); err != nil {
			return none, err
		}
	}
	var rows []queries.VariableListRow
	if CheckVariableName(name) == nil {
		var err error
		if rows, err = q.VariableList(ctx, p.ID, name); err != nil {
			return none, fmt.Errorf("read variable %s of pipeline %s: %w", name, p.ID, err)
		}
	}
	var contexts []string
	for _, row := range rows {
		if row.Context == of {
			return row, nil
		}
		contexts = append(contexts, row.Context)
	}
	switch {
	case len(rows) == 0:
		return none, troy.Errorf(troy.NotFound, "the pipeline %s has no variable %q", p.Slug, troy.Clip(name))
	case of != "":
		return none, troy.Errorf(troy.NotFound, "the variable %s of %s has no value for the context %s, only for %s", name, p.Slug, of, strings.Join(contexts, ", ")).At("context")
	case len(rows) > 1:
		return none, troy.Errorf(troy.Invalid, "the variable %s of %s has several values; choose a context: %s", name, p.Slug, strings.Join(contexts, ", ")).At("context")
	}
	return rows[0], nil
}
