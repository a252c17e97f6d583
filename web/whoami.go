package web

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/web/reply"
)

// whoamiJSON describes the token of a request, and the server that answers.
type whoamiJSON struct {
	Token  holderJSON `json:"token"`
	Server serverJSON `json:"server"`
}

type holderJSON struct {
	ID   uuid.UUID        `json:"id"`
	Name string           `json:"name"`
	Role credentials.Role `json:"role"`
	// Pipelines and Slugs are null for a token that may see all pipelines.
	Pipelines []uuid.UUID `json:"pipelines"`
	Slugs     []string    `json:"slugs"`
	ExpiresAt *time.Time  `json:"expires_at,omitempty"`
}

type serverJSON struct {
	URL     string `json:"url"`
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
}

func (s *server) whoami(c *gin.Context, who caller) error {
	answer := whoamiJSON{
		Token:  holderJSON{ID: who.ID, Name: who.Name, Role: who.Role, Pipelines: who.Pipelines},
		Server: thisServer(s.cfg.URL),
	}
	t, err := s.q.TokenGet(c.Request.Context(), who.ID)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // revoked a moment ago
	case err != nil:
		return fmt.Errorf("read token %s: %w", who.ID, err)
	default:
		answer.Token.ExpiresAt = utc(t.ExpiresAt)
		if t.Pipelines != nil {
			answer.Token.Slugs = t.Slugs
		}
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// thisServer returns the address and the version of the running program.
func thisServer(url string) serverJSON {
	version, commit := health.Build()
	return serverJSON{URL: url, Version: version, Commit: commit}
}
