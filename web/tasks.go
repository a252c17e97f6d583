package web

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/reply"
)

func (s *server) taskRing(c *gin.Context, who caller) error {
	var body struct {
		Kind string    `json:"kind"`
		ID   uuid.UUID `json:"id"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	switch {
	case body.Kind == "":
		return troy.Errorf(troy.Invalid, "the value is missing; expected the kind of the task").At("kind")
	case body.Kind == tasks.TypeSweep && !who.All():
		return who.MustAll("a sweep is for all")
	case body.Kind != tasks.TypeSweep && body.ID == uuid.Nil:
		return troy.Errorf(troy.Invalid, "the value is missing; expected the id of the pipeline").At("id")
	case body.Kind != tasks.TypeSweep && !who.Sees(body.ID):
		return troy.Errorf(troy.NotFound, "pipeline not found: %s", body.ID)
	}
	note(c.Request.Context()).pipeline = body.ID.String()
	result, err := s.deps.Intake.RingByHand(c.Request.Context(), body.Kind, body.ID, who.Actor())
	if err != nil {
		return err
	}
	answer := struct {
		Kind   string `json:"kind"`
		ID     string `json:"id,omitempty"`
		Result string `json:"result"`
	}{Kind: body.Kind, Result: result}
	if body.ID != uuid.Nil {
		answer.ID = body.ID.String()
	}
	reply.JSON(c.Writer, http.StatusAccepted, answer)
	return nil
}
