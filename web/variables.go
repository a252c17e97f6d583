package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// maxValue is the maximum size of a variable's value, and maxVariableBody
	// that of the JSON around it, in which a byte may take six.
	maxValue        = 32 << 10
	maxVariableBody = 6*maxValue + 1<<10
)

type variableJSON struct {
	Name    string `json:"name"`
	Context string `json:"context"`
	Secret  bool   `json:"secret"`
	// Value is nil for a secret: it is never shown.
	Value     *string   `json:"value,omitempty"`
	ChangedAt time.Time `json:"changed_at"`
	// Problem says in a list why a value can't be shown.
	Problem string `json:"problem,omitempty"`
}

// sealer returns an error if the operator's key is needed but not set.
func (s *server) sealer() (*secret.Sealer, error) {
	if s.deps.Secrets == nil {
		return nil, troy.Errorf(troy.Unavailable, "variables can't be stored: TROY_SECRET_KEY is not set")
	}
	return s.deps.Secrets, nil
}

func (s *server) variableView(pipeline uuid.UUID, v queries.VariableListRow) (variableJSON, error) {
	out := variableJSON{Name: v.Name, Context: v.Context, Secret: v.Secret, ChangedAt: v.ChangedAt.UTC()}
	if v.Secret {
		return out, nil
	}
	sealer, err := s.sealer()
	if err != nil {
		return out, err
	}
	plain, err := sealer.Open(v.Value, secret.Variable(pipeline, v.Name, v.SealedFor))
	if errors.Is(err, secret.ErrUnknownKey) {
		return out, troy.Errorf(troy.Unavailable, "the variable %s was sealed with a key that TROY_SECRET_KEY does not have; add the key again, or set the variable again", v.Name)
	}
	if err != nil {
		return out, err
	}
	text := string(plain)
	out.Value = &text
	return out, nil
}

func (s *server) variableList(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	list, err := s.variablesOf(c.Request.Context(), p.ID)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, map[string]any{"variables": list})
	return nil
}

func (s *server) variablesOf(ctx context.Context, pipeline uuid.UUID) ([]variableJSON, error) {
	if _, err := s.sealer(); err != nil {
		return nil, err
	}
	rows, err := s.q.VariableList(ctx, pipeline, "")
	if err != nil {
		return nil, fmt.Errorf("list the variables of pipeline %s: %w", pipeline, err)
	}
	list := make([]variableJSON, 0, len(rows))
	for _, row := range rows {
		v, err := s.variableView(pipeline, row)
		if e, ok := errors.AsType[*troy.Error](err); ok {
			v.Problem = e.Message // the others are still shown
		} else if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (s *server) variableGet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	return s.replyVariable(c, p, c.Query("context"))
}

func (s *server) replyVariable(c *gin.Context, p queries.Pipeline, of string) error {
	row, err := intake.FindVariable(c.Request.Context(), s.q, p, c.Param("name"), of)
	if err != nil {
		return err
	}
	v, err := s.variableView(p.ID, row)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, v)
	return nil
}

func (s *server) variableSet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	name := c.Param("name")
	if err := intake.CheckVariableName(name); err != nil {
		return err
	}
	var body struct {
		Value   *string `json:"value"`
		Secret  *bool   `json:"secret"`
		Context *string `json:"context"`
	}
	if err := decode(c, maxVariableBody, &body); err != nil {
		return err
	}
	if body.Context != nil && *body.Context == "" {
		return troy.CheckContext("")
	}
	of, err := s.setVariable(c.Request.Context(), p.ID, name, deref(body.Context), body.Value, body.Secret == nil || *body.Secret)
	if err != nil {
		return err
	}
	return s.replyVariable(c, p, of)
}

// setVariable seals a value and stores it. It returns the value's context.
func (s *server) setVariable(ctx context.Context, pipeline uuid.UUID, name, of string, value *string, hidden bool) (string, error) {
	if err := intake.CheckVariableName(name); err != nil {
		return "", err
	}
	if err := checkValue(value, hidden); err != nil {
		return "", err.At("value")
	}
	sealer, err := s.sealer()
	if err != nil {
		return "", err
	}
	return s.deps.Intake.SetVariable(ctx, pipeline, intake.Variable{Name: name, Context: of, Secret: hidden, Seal: func(sealedFor string) ([]byte, error) {
		return sealer.Seal([]byte(*value), secret.Variable(pipeline, name, sealedFor))
	}})
}

// checkValue checks a value; its error does not contain the value.
func checkValue(value *string, hidden bool) *troy.Error {
	switch {
	case value == nil:
		return troy.Errorf(troy.Invalid, "the value is missing")
	case len(*value) > maxValue:
		return troy.Errorf(troy.TooLarge, "the value has %d bytes; expected at most %d", len(*value), maxValue)
	case strings.ContainsRune(*value, 0):
		return troy.Errorf(troy.Invalid, "the value contains a NUL, which is not possible in a variable")
	case !hidden:
		return nil
	}
	err := secret.CheckValue(*value)
	if e, ok := errors.AsType[*troy.Error](err); ok {
		e = troy.Errorf(e.Kind, "%s", e.Message)
		e.Details = []string{`use "secret": false for a value that is not secret`}
		return e
	}
	return nil
}

func (s *server) variableRemove(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	if err := s.deps.Intake.RemoveVariable(c.Request.Context(), p.ID, c.Param("name"), c.Query("context")); err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}
