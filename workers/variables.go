package workers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// variables decrypts the variables of a deployment's build: of each, the value
// for the most specific context. secrets has the values that the log and the
// files must not contain, by name and context: the pipeline's secrets of all
// contexts, because a repository may contain one that the build does not get.
//
// A stranger's build gets none. It could guess secrets, too, if Troy told it
// that a guess is right.
func (w *Workers) variables(ctx context.Context, d queries.Deployment) (given, secrets map[string]string, err error) {
	rows, err := allVariables(w.q, ctx, d.PipelineID)
	if err != nil {
		return nil, nil, fmt.Errorf("read the variables: %w", err)
	}
	return w.opened(d, rows)
}

// allVariables has the form of a query without further arguments.
func allVariables(q *queries.Queries, ctx context.Context, pipeline uuid.UUID) ([]queries.VariableListRow, error) { //nolint:revive // queries.Ask takes methods
	return q.VariableList(ctx, pipeline, "")
}

// opened is variables for rows that were read.
func (w *Workers) opened(d queries.Deployment, rows []queries.VariableListRow) (given, secrets map[string]string, err error) {
	given, secrets = map[string]string{}, map[string]string{}
	if !d.Trusted {
		return given, secrets, nil
	}
	contexts := troy.ContextsOfBuild(d.PreviewID != nil, deref(d.Branch))
	ranks := map[string]int{}
	for _, v := range rows {
		if w.deps.Secrets == nil {
			return nil, nil, troy.Errorf(troy.Conflict, "the variable %s cannot be decrypted: TROY_SECRET_KEY is not set", v.Name)
		}
		value, err := w.deps.Secrets.Open(v.Value, secret.Variable(d.PipelineID, v.Name, v.SealedFor))
		if err != nil {
			return nil, nil, troy.Errorf(troy.Conflict, "the variable %s cannot be decrypted: %w", v.Name, err)
		}
		if v.Secret {
			secrets[inContext(v)] = string(value)
		}
		rank := slices.Index(contexts, v.Context)
		if best, found := ranks[v.Name]; rank >= 0 && (!found || rank < best) {
			given[v.Name], ranks[v.Name] = string(value), rank
		}
	}
	return given, secrets, nil
}

// inContext names a value of a variable for people.
func inContext(v queries.VariableListRow) string {
	if v.Context == troy.DefaultContext(v.Secret) {
		return v.Name
	}
	return fmt.Sprintf("%s (%s)", v.Name, v.Context)
}

// redactorOf returns a redactor of the values, each of which counts once.
func redactorOf(secrets map[string]string) (*secret.Redactor, error) {
	return secret.NewRedactor(slices.Compact(slices.Sorted(maps.Values(secrets)))...)
}

// describeBuild adds to the variables what a build is for.
func (w *Workers) describeBuild(ctx context.Context, d queries.Deployment, variables map[string]string) error {
	variables["TROY_CONTEXT"] = troy.ProductionContext
	if d.PreviewID == nil {
		return nil
	}
	variables["TROY_CONTEXT"] = troy.PreviewContext
	v, err := w.q.PreviewGet(ctx, *d.PreviewID)
	if err != nil {
		return fmt.Errorf("read the preview: %w", err)
	}
	if v.Number != nil {
		variables["TROY_PULL_REQUEST"] = strconv.FormatInt(*v.Number, 10)
	}
	return nil
}
