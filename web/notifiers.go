package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

type notifierJSON struct {
	ID uuid.UUID `json:"id"`
	// PipelineID is nil for a notifier of all pipelines.
	PipelineID     *uuid.UUID `json:"pipeline_id"`
	Slug           string     `json:"slug,omitempty"`
	Kind           string     `json:"kind"`
	Label          string     `json:"label"`
	Events         []string   `json:"events"`
	CreatedAt      time.Time  `json:"created_at"`
	CreatedBy      string     `json:"created_by"`
	Failures       int32      `json:"failures"`
	DisabledAt     *time.Time `json:"disabled_at,omitempty"`
	DisabledReason string     `json:"disabled_reason,omitempty"`
	// Key signs webhooks; only the answers to the creation and to a rotation have it.
	Key string `json:"signing_key,omitempty"`
	// EarlierUntil is when the last of the earlier keys ends.
	EarlierUntil *time.Time `json:"earlier_keys_until,omitempty"`
}

func notifierOf(n queries.Notifier, slug string) notifierJSON {
	return notifierJSON{
		ID: n.ID, PipelineID: n.PipelineID, Slug: slug, Kind: n.Kind, Label: n.Label, Events: n.Events, CreatedAt: n.CreatedAt.UTC(), CreatedBy: n.CreatedBy,
		Failures: n.Failures, DisabledAt: utc(n.DisabledAt), DisabledReason: n.DisabledReason, EarlierUntil: utc(n.EarlierUntil),
	}
}

type deliveryJSON struct {
	ID         uuid.UUID       `json:"id"`
	PipelineID *uuid.UUID      `json:"pipeline_id"`
	Event      string          `json:"event"`
	Details    json.RawMessage `json:"details"`
	CreatedAt  time.Time       `json:"created_at"`
	State      string          `json:"state"` // waiting, delivered or failed
	Attempts   int32           `json:"attempts"`
	TriedAt    *time.Time      `json:"tried_at,omitempty"`
	// Status is of the last answer; 0 means that there was none.
	Status int32  `json:"status"`
	Answer string `json:"answer"`
}

func deliveryOf(m queries.Notification) deliveryJSON {
	state := "waiting"
	switch {
	case m.Delivered:
		state = "delivered"
	case m.EndedAt != nil:
		state = "failed"
	}
	return deliveryJSON{m.ID, m.PipelineID, m.Event, m.Details, m.CreatedAt.UTC(), state, m.Attempts, utc(m.TriedAt), m.Status, m.Answer}
}

const ofAll = "only an unlimited admin may see and change the notifiers of all pipelines"

// notifier finds the path's notifier. One that the caller may not change is
// NotFound, or Forbidden if it is of all pipelines.
func (s *server) notifier(ctx context.Context, c *gin.Context, who caller) (queries.NotifierGetRow, error) {
	id, err := pathID(c, "notifier")
	if err != nil {
		return queries.NotifierGetRow{}, err
	}
	row, err := s.q.NotifierGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Notifier.PipelineID != nil && !who.Sees(*row.Notifier.PipelineID) {
		return row, troy.Errorf(troy.NotFound, "notifier not found: %s", id)
	}
	if err != nil {
		return row, fmt.Errorf("read notifier %s: %w", id, err)
	}
	if row.Notifier.PipelineID == nil {
		return row, who.MustAll(ofAll)
	}
	return row, nil
}

// notifierList lists the notifiers that concern a pipeline, or every one.
func (s *server) notifierList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	args := queries.NotifierListParams{PageLimit: pg.limit + 1, Shared: who.All()}
	if pg.after != "" {
		if args.After, err = pg.before(); err != nil {
			return err
		}
	}
	if ref := c.Query("pipeline"); ref != "" {
		p, err := s.findPipeline(ctx, ref)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !who.Sees(p.ID) {
			return noPipeline(ref)
		}
		if err != nil {
			return err
		}
		args.PipelineID = &p.ID
	} else if err := who.MustAll("name one of them with ?pipeline="); err != nil {
		return err
	}
	rows, err := s.q.NotifierList(ctx, args)
	if err != nil {
		return fmt.Errorf("list notifiers: %w", err)
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Notifiers []notifierJSON `json:"notifiers"`
		Next      string         `json:"next,omitempty"`
	}{Notifiers: make([]notifierJSON, len(rows))}
	for i, row := range rows {
		answer.Notifiers[i] = notifierOf(row.Notifier, row.Slug)
	}
	if more {
		answer.Next = rows[len(rows)-1].Notifier.ID.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func (s *server) notifierAdd(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	var body struct {
		Pipeline string      `json:"pipeline"`
		Kind     notify.Kind `json:"kind"`
		URL      string      `json:"url"`
		To       []string    `json:"to"`
		Events   []string    `json:"events"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	var pipeline *uuid.UUID
	slug := ""
	if body.Pipeline == "" {
		if err := who.MustAll(ofAll); err != nil {
			return err
		}
	} else {
		p, err := s.findPipeline(ctx, body.Pipeline)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !who.Sees(p.ID) {
			return noPipeline(body.Pipeline)
		}
		if err != nil {
			return err
		}
		pipeline, slug = &p.ID, p.Slug
	}
	n, key, err := s.addNotifier(ctx, pipeline, body.Kind, body.URL, body.To, body.Events, who.Actor())
	if err != nil {
		return err
	}
	answer := notifierOf(n, slug)
	answer.Key = key
	c.Header("Location", "/v1/notifiers/"+n.ID.String())
	reply.JSON(c.Writer, http.StatusCreated, answer)
	return nil
}

// addNotifier adds a notifier, and returns the key that signs its webhooks.
func (s *server) addNotifier(ctx context.Context, pipeline *uuid.UUID, kind notify.Kind, address string, to, events []string, actor string) (queries.Notifier, string, error) {
	var none queries.Notifier
	if s.deps.Secrets == nil {
		return none, "", troy.Errorf(troy.Unavailable, "the target of a notifier can't be stored: TROY_SECRET_KEY is not set")
	}
	events, err := notify.CheckEvents(events)
	if err != nil {
		return none, "", err
	}
	target, label, err := notify.NewTarget(kind, address, to, s.cfg.NotifyPrivate)
	if err != nil {
		return none, "", err
	}
	if kind == notify.Email && s.cfg.NoEmail != "" {
		return none, "", troy.Errorf(troy.Conflict, "%s", s.cfg.NoEmail).At("kind")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return none, "", err
	}
	sealed, err := s.seal(target, secret.Notifier(id))
	if err != nil {
		return none, "", err
	}
	n, err := s.deps.Intake.AddNotifier(ctx, queries.NotifierAddParams{
		ID: id, PipelineID: pipeline, Kind: string(kind), Label: label, Target: sealed, Events: events, CreatedBy: actor,
	})
	return n, target.Key, err
}

// notifierMade answers for a notifier that was added before with the same key.
func (s *server) notifierMade(c *gin.Context, id uuid.UUID) error {
	row, err := s.notifierByID(c.Request.Context(), id)
	if err != nil {
		return err
	}
	if notify.Kind(row.Notifier.Kind) == notify.Webhook {
		return troy.Errorf(troy.Conflict, "the first request with this key made the notifier %s, whose signing key can't be shown again; if it did not arrive, delete the notifier and make another with a new key", id).At("Idempotency-Key")
	}
	c.Header("Location", "/v1/notifiers/"+id.String())
	reply.JSON(c.Writer, http.StatusCreated, notifierOf(row.Notifier, row.Slug))
	return nil
}

func (s *server) notifierByID(ctx context.Context, id uuid.UUID) (queries.NotifierGetRow, error) {
	row, err := s.q.NotifierGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, gone("notifier", id)
	}
	if err != nil {
		return row, fmt.Errorf("read notifier %s: %w", id, err)
	}
	return row, nil
}

func (s *server) notifierGet(c *gin.Context, who caller) error {
	row, err := s.notifier(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, notifierOf(row.Notifier, row.Slug))
	return nil
}

func (s *server) notifierRemove(c *gin.Context, who caller) error {
	row, err := s.notifier(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	if err := s.deps.Intake.RemoveNotifier(c.Request.Context(), row.Notifier); err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

func (s *server) notifierEnable(c *gin.Context, who caller) error {
	row, err := s.notifier(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	n, err := s.deps.Intake.EnableNotifier(c.Request.Context(), row.Notifier)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, notifierOf(n, row.Slug))
	return nil
}

// notifierAgain answers for a notifier that was enabled before with the same
// key.
func (s *server) notifierAgain(c *gin.Context, id uuid.UUID) error {
	row, err := s.notifierByID(c.Request.Context(), id)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, notifierOf(row.Notifier, row.Slug))
	return nil
}

func (s *server) notifierRotate(c *gin.Context, who caller) error {
	row, err := s.notifier(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	n, key, err := s.rotateNotifier(c.Request.Context(), row.Notifier)
	if err != nil {
		return err
	}
	answer := notifierOf(n, row.Slug)
	answer.Key = key
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// rotateNotifier gives a webhook a new key and returns it. The earlier ones sign
// too for a while.
func (s *server) rotateNotifier(ctx context.Context, n queries.Notifier) (queries.Notifier, string, error) {
	target, err := s.notifierTarget(n)
	if err != nil {
		return n, "", err
	}
	if target, err = target.Rotate(s.now()); err != nil {
		return n, "", err
	}
	fresh := queries.NotifierRotateParams{ID: n.ID, ReadTarget: n.Target, ReadKeys: n.EarlierKeys, EarlierUntil: target.Earlier[0].Until}
	if fresh.Target, err = s.seal(target, secret.Notifier(n.ID)); err != nil {
		return n, "", err
	}
	if fresh.EarlierKeys, err = s.seal(target.Earlier, secret.NotifierKeys(n.ID)); err != nil {
		return n, "", err
	}
	rotated, err := s.deps.Intake.RotateNotifier(ctx, n, fresh)
	return rotated, target.Key, err
}

// notifierTarget opens where a notifier's messages go and what signs them.
func (s *server) notifierTarget(n queries.Notifier) (t notify.Target, err error) {
	if s.deps.Secrets == nil {
		return t, troy.Errorf(troy.Unavailable, "the signing key of a notifier can't be opened: TROY_SECRET_KEY is not set")
	}
	plain, err := s.deps.Secrets.Open(n.Target, secret.Notifier(n.ID))
	if err != nil {
		return t, fmt.Errorf("open the target of notifier %s: %w", n.ID, err)
	}
	if err := json.Unmarshal(plain, &t); err != nil {
		return t, fmt.Errorf("the target of notifier %s can't be read", n.ID)
	}
	if n.EarlierKeys == nil {
		return t, nil
	}
	if plain, err = s.deps.Secrets.Open(n.EarlierKeys, secret.NotifierKeys(n.ID)); err != nil {
		return t, fmt.Errorf("open the earlier keys of notifier %s: %w", n.ID, err)
	}
	if err := json.Unmarshal(plain, &t.Earlier); err != nil {
		return t, fmt.Errorf("the earlier keys of notifier %s can't be read", n.ID)
	}
	return t, nil
}

// seal seals a value as JSON.
func (s *server) seal(v any, of secret.Subject) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return s.deps.Secrets.Seal(plain, of)
}

// notifierRotated answers for a key that was rotated before with the same
// Idempotency-Key.
func (s *server) notifierRotated(c *gin.Context, id uuid.UUID) error {
	if _, err := s.notifierByID(c.Request.Context(), id); err != nil {
		return err
	}
	return troy.Errorf(troy.Conflict, "the first request with this key rotated the signing key of the notifier %s, which can't be shown again; if it did not arrive, rotate again with a new Idempotency-Key: the key before it still signs", id).At("Idempotency-Key")
}

func (s *server) notifierTest(c *gin.Context, who caller) error {
	row, err := s.notifier(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	m, err := s.deps.Intake.TestNotifier(c.Request.Context(), row.Notifier, notify.Test)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusAccepted, deliveryOf(m))
	return nil
}

func (s *server) deliveryList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	row, err := s.notifier(ctx, c, who)
	if err != nil {
		return err
	}
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	before, err := pg.place(lists.Place{At: s.now().Add(time.Hour), ID: uuid.Max})
	if err != nil {
		return err
	}
	list, err := s.q.NotificationList(ctx, queries.NotificationListParams{NotifierID: row.Notifier.ID, BeforeTime: before.At, BeforeID: before.ID, PageLimit: pg.limit + 1})
	if err != nil {
		return fmt.Errorf("list the deliveries of notifier %s: %w", row.Notifier.ID, err)
	}
	list, more := cut(list, pg)
	answer := struct {
		Deliveries []deliveryJSON `json:"deliveries"`
		Next       string         `json:"next,omitempty"`
	}{Deliveries: make([]deliveryJSON, len(list))}
	for i, m := range list {
		answer.Deliveries[i] = deliveryOf(m)
	}
	if more {
		last := list[len(list)-1]
		answer.Next = lists.Place{At: last.CreatedAt, ID: last.ID}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func (s *server) deliveryRedeliver(c *gin.Context, who caller) error {
	row, err := s.notifier(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	id, err := pathID(c, "delivery")
	if err != nil {
		return err
	}
	m, err := s.deps.Intake.Redeliver(c.Request.Context(), row.Notifier, id)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusAccepted, deliveryOf(m))
	return nil
}

// deliveryAgain answers for a delivery that was requested before with the same
// key.
func (s *server) deliveryAgain(c *gin.Context, id uuid.UUID) error {
	notifier, ok := parseID(c.Param("notifier"))
	if !ok {
		return gone("delivery", id)
	}
	m, err := s.q.NotificationGet(c.Request.Context(), id, notifier)
	if errors.Is(err, pgx.ErrNoRows) {
		return gone("delivery", id)
	}
	if err != nil {
		return fmt.Errorf("read delivery %s: %w", id, err)
	}
	reply.JSON(c.Writer, http.StatusAccepted, deliveryOf(m))
	return nil
}
