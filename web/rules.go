package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
	"github.com/troy-iaas/troy/web/reply"
)

// configBytes is the maximum size of a release's configuration files in JSON:
// two files, whose characters may be escaped.
const configBytes = 2*2*rules.MaxConfig + 4096

// declaredRules are what a release declares about its rules.
type declaredRules struct {
	config []rules.ConfigFile
	strict bool
}

// store stores the configuration of a release's rules, if there is any.
func (d declaredRules) store(ctx context.Context, q *queries.Queries, pipeline, release uuid.UUID) error {
	if len(d.config) == 0 && !d.strict {
		return nil
	}
	config := d.config
	if config == nil {
		config = []rules.ConfigFile{}
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode the configuration of the rules: %w", err)
	}
	return q.SiteRulesDeclare(ctx, queries.SiteRulesDeclareParams{TreeID: release, PipelineID: pipeline, Config: encoded, Strict: d.strict})
}

// rulesJSON is the report on the rules of a deployment.
type rulesJSON struct {
	rules.Report
	// Compiled is false until the deployment is being published.
	Compiled bool `json:"compiled"`
	// Omitted is the number of problems that are only counted.
	Omitted int `json:"omitted"`
}

func (s *server) deploymentRules(c *gin.Context, who caller) error {
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	report, compiled, err := intake.RulesReport(c.Request.Context(), s.q, site.Tree{Pipeline: d.PipelineID, Deployment: d.TreeID})
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, rulesJSON{report, compiled, report.Omitted()})
	return nil
}
