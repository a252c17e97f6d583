package intake

import (
	"context"
	"fmt"
	"regexp"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Limits of a pipeline's variables.
const (
	maxVariables    = 100
	maxVariableName = 128
	// maxSecretBytes is the maximum total size of a pipeline's sealed secrets:
	// a build can keep no more out of its log (secret.MaxValues).
	maxSecretBytes = 128 << 10
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

// SetVariable sets a variable for a pipeline's builds from its next deployment
// on. It seals the value.
func (in *Intake) SetVariable(ctx context.Context, pipeline uuid.UUID, name string, sealed []byte, secret bool) error {
	if err := CheckVariableName(name); err != nil {
		return err
	}
	if troy.ReservedVariable(name) {
		return troy.Errorf(troy.Invalid, "%s is set by Troy itself in every build; choose another name", name).At("name")
	}
	_, err := in.change(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, SettingVariables); err != nil {
			return err
		}
		others, err := q.VariableUsage(ctx, pipeline, name)
		if err != nil {
			return err
		}
		switch {
		case others.Variables >= maxVariables:
			return troy.Errorf(troy.Conflict, "the pipeline %s has %d variables; no more are allowed", p.Slug, others.Variables)
		case secret && others.SecretBytes+int64(len(sealed)) > maxSecretBytes:
			return troy.Errorf(troy.TooLarge, "the secrets of the pipeline %s would total more than %d bytes", p.Slug, maxSecretBytes).At("value")
		}
		if err := q.VariableSet(ctx, queries.VariableSetParams{PipelineID: pipeline, Name: name, Value: sealed, Secret: secret}); err != nil {
			return err
		}
		detail := "plain"
		if secret {
			detail = "secret"
		}
		return Audit(ctx, q, Change{Action: VariableSet, Subject: name, Detail: detail, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("set variable %s of pipeline %s: %w", name, pipeline, err)
	}
	return nil
}

// RemoveVariable removes a variable. It returns NotFound if the variable does
// not exist.
func (in *Intake) RemoveVariable(ctx context.Context, pipeline uuid.UUID, name string) error {
	_, err := in.change(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		var n int64
		var err error
		if CheckVariableName(name) == nil {
			n, err = q.VariableRemove(ctx, pipeline, name)
		}
		if err == nil && n == 0 {
			err = troy.Errorf(troy.NotFound, "the pipeline %s has no variable %q", p.Slug, troy.Clip(name))
		}
		if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: VariableRemove, Subject: name, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("remove variable %s of pipeline %s: %w", troy.Clip(name), pipeline, err)
	}
	return nil
}
