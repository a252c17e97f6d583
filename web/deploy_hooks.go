package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

// deployHookPath is what the addresses of deploy hooks begin with.
const deployHookPath = "/hooks/deploy/"

const (
	// hookBurst is how many calls of a deploy hook are accepted at once, and
	// hookEvery how often another one is.
	hookBurst = 10
	hookEvery = 6 * time.Second
	// mostHooks is how many hooks' calls are counted.
	mostHooks = 10_000
)

// hookCalls bounds the calls of each deploy hook.
type hookCalls struct {
	mu sync.Mutex
	of *lru.Cache[uuid.UUID, *rate.Limiter]
}

func newHookCalls() *hookCalls {
	return &hookCalls{of: lru.New[uuid.UUID, *rate.Limiter](mostHooks)}
}

// allow counts a call, and reports whether it may be carried out.
func (h *hookCalls) allow(id uuid.UUID, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	limiter, ok := h.of.Get(id)
	if !ok {
		limiter = rate.NewLimiter(rate.Every(hookEvery), hookBurst)
		h.of.Put(id, limiter, 1)
	}
	return limiter.AllowN(now, 1)
}

type deployHookJSON struct {
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	Branch     string     `json:"branch,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	// URL has the secret; only the answer to its creation has it.
	URL string `json:"url,omitempty"`
}

func deployHookOf(h queries.DeployHook) deployHookJSON {
	return deployHookJSON{ID: h.ID, Name: h.Name, Branch: h.Branch, CreatedAt: h.CreatedAt.UTC(), CreatedBy: h.CreatedBy, LastUsedAt: utc(h.LastUsedAt)}
}

func (s *server) deployHookList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	rows, err := s.q.DeployHookList(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("list the deploy hooks of pipeline %s: %w", p.ID, err)
	}
	list := make([]deployHookJSON, len(rows))
	for i, h := range rows {
		list[i] = deployHookOf(h)
	}
	reply.JSON(c.Writer, http.StatusOK, map[string]any{"hooks": list})
	return nil
}

// newDeployHook makes a hook and returns it with its address.
func (s *server) newDeployHook(ctx context.Context, pipeline uuid.UUID, name, branch, actor string) (queries.DeployHook, string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return queries.DeployHook{}, "", err
	}
	text, stored, err := credentials.NewHook()
	if err != nil {
		return queries.DeployHook{}, "", err
	}
	h, err := s.deps.Intake.AddHook(ctx, queries.DeployHookAddParams{ID: id, PipelineID: pipeline, Name: name, Branch: branch, Hash: stored, CreatedBy: actor})
	return h, strings.TrimSuffix(s.cfg.URL, "/") + deployHookPath + text, err
}

func (s *server) deployHookCreate(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	var body struct {
		Name   string `json:"name"`
		Branch string `json:"branch"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	h, address, err := s.newDeployHook(ctx, p.ID, body.Name, body.Branch, who.Actor())
	if err != nil {
		return err
	}
	made := deployHookOf(h)
	made.URL = address
	reply.JSON(c.Writer, http.StatusCreated, made)
	return nil
}

// deployHookMade answers for a hook that was made before with the same key: its
// address can't be shown again.
func (s *server) deployHookMade(_ *gin.Context, id uuid.UUID) error {
	return troy.Errorf(troy.Conflict, "the first request with this key made the deploy hook %s, whose address can't be shown again; if it did not arrive, delete the hook and make another with a new key", id).At("Idempotency-Key")
}

func (s *server) deployHookDelete(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	id, err := pathID(c, "hook")
	if err != nil {
		return err
	}
	if err := s.deps.Intake.RemoveHook(ctx, p.ID, id, who.Actor()); err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// deployHookCall deploys for those who know a hook's secret. Nothing that it logs
// or answers has the secret.
func (s *server) deployHookCall(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	address := network.Subscriber(network.Proxies(s.cfg.Proxies).Client(c.Request))
	if s.hookFailures.TooMany(address) {
		return tooManyCalls(c, "too many calls from your address named no deploy hook")
	}
	h, err := s.deployHook(ctx, c.Param("secret"))
	if err != nil {
		if troy.KindOf(err) == troy.NotFound {
			s.hookFailures.Add(address)
		}
		return err
	}
	actor := "hook " + h.Name
	note(ctx).actor, note(ctx).pipeline = actor, h.PipelineID.String()
	if !s.hookCalls.allow(h.ID, s.now()) {
		return tooManyCalls(c, "the deploy hook is called too often")
	}
	body, release, err := s.readUnverified(c, maxEvent)
	defer release()
	if err != nil {
		return fmt.Errorf("read the call of a deploy hook: %w", err)
	}
	free, err := s.slot(c)
	if err != nil {
		return err
	}
	defer free()
	ctx = intake.By(ctx, actor, network.Proxies(s.cfg.Proxies).Name(c.Request))
	d, err := s.deps.Intake.CallHook(ctx, h, hookTitle(c, body))
	if err != nil {
		return err
	}
	note(ctx).deployment = d.ID.String()
	reply.JSON(c.Writer, http.StatusAccepted, map[string]any{"deployment": d.ID, "number": d.Number, "state": d.State})
	return nil
}

func tooManyCalls(c *gin.Context, why string) error {
	c.Header("Retry-After", "6")
	reply.ErrorAs(c.Writer, http.StatusTooManyRequests, troy.Errorf(troy.Unavailable, "%s; try again in a few seconds", why))
	return nil
}

// deployHook finds the hook of a secret.
func (s *server) deployHook(ctx context.Context, text string) (queries.DeployHook, error) {
	unknown := troy.Errorf(troy.NotFound, "the deploy hook does not exist or was deleted")
	stored, ok := credentials.HookHash(text)
	if !ok {
		return queries.DeployHook{}, unknown
	}
	h, err := s.q.DeployHookOfHash(ctx, stored)
	if errors.Is(err, pgx.ErrNoRows) {
		return h, unknown
	}
	if err != nil {
		return h, fmt.Errorf("look up a deploy hook: %w", err)
	}
	return h, nil
}

// hookTitle returns the reason that a call gives in its query or its JSON.
// Other senders have bodies of their own, which do not count.
func hookTitle(c *gin.Context, body []byte) string {
	if title := c.Query("trigger_title"); title != "" {
		return title
	}
	var members struct {
		Title any `json:"trigger_title"`
	}
	if json.Unmarshal(body, &members) != nil {
		return ""
	}
	title, _ := members.Title.(string)
	return title
}
