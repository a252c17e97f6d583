package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// NotifySlots is how many notifications a process sends at a time.
const NotifySlots = 4

const (
	// notifyPause is how long a receiver is left alone after a failed attempt, so
	// that one that does not answer keeps no slot from the others.
	notifyPause = 15 * time.Second
	// notifyFailures is the number of failed attempts in a row after which a
	// notifier is disabled when a notification is given up.
	notifyFailures = 10
)

// notify sends a notification once. It may be sent twice if its result can't be
// recorded; its id is the same.
func (w *Workers) notify(ctx context.Context, c *claim) error {
	row, err := w.q.NotificationToSend(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // sent, or its notifier was removed
	}
	if err != nil {
		return fmt.Errorf("read the notification: %w", err)
	}
	m, n := row.Notification, row.Notifier
	if n.DisabledAt != nil {
		return w.endNotification(ctx, c, "not sent: the notifier is disabled")
	}
	if row.PauseSeconds > 0 {
		pause := time.Duration(row.PauseSeconds*float64(time.Second)) + time.Second
		return &waitError{delay: pause, why: "an attempt for the same receiver has just failed", keep: true}
	}
	target, err := w.notifyTarget(n)
	if err != nil {
		return err
	}
	target.To = slices.DeleteFunc(target.To, func(to string) bool { return slices.Contains(m.Done, to) })
	answer, sent := w.deps.Notify.Send(ctx, notify.Kind(n.Kind), target, notify.Message{
		ID: m.ID, Event: m.Event, Time: m.CreatedAt, Details: m.Details, URL: w.cfg.URL,
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result := queries.NotificationRecordParams{
		ID: m.ID, Epoch: c.epoch, Status: int32(answer.Status), Answer: answer.Text, Delivered: sent == nil, Done: answer.Done, PauseSeconds: notifyPause.Seconds(),
	}
	var busy *notify.BusyError
	if errors.As(sent, &busy) {
		result.PauseSeconds = busy.RetryAfter().Seconds()
	}
	if sent != nil {
		result.Answer = firstLine(sent.Error())
		if answer.Text != "" {
			result.Answer += ": " + answer.Text
		}
	}
	if err := w.q.NotificationRecord(ctx, result); err != nil {
		return fmt.Errorf("record the attempt: %w", err)
	}
	if errors.Is(sent, notify.ErrGone) {
		if err := w.disableNotifier(ctx, c, n, sent.Error()); err != nil {
			return err
		}
		return w.endNotification(ctx, c, "")
	}
	return sent
}

// notifyTarget opens where a notifier's messages go.
func (w *Workers) notifyTarget(n queries.Notifier) (t notify.Target, err error) {
	if w.deps.Secrets == nil {
		return t, troy.Errorf(troy.Unavailable, "the notifier's target can't be opened: TROY_SECRET_KEY is not set")
	}
	plain, err := w.deps.Secrets.Open(n.Target, secret.Notifier(n.ID))
	if err != nil {
		return t, fmt.Errorf("open the notifier's target: %w", err)
	}
	if err := json.Unmarshal(plain, &t); err != nil {
		return t, errors.New("the notifier's target can't be read")
	}
	if n.EarlierKeys == nil {
		return t, nil
	}
	if plain, err = w.deps.Secrets.Open(n.EarlierKeys, secret.NotifierKeys(n.ID)); err != nil {
		return t, fmt.Errorf("open the notifier's earlier keys: %w", err)
	}
	if err := json.Unmarshal(plain, &t.Earlier); err != nil {
		return t, errors.New("the notifier's earlier keys can't be read")
	}
	return t, nil
}

// endNotification gives a notification up. An empty answer keeps the last one.
func (w *Workers) endNotification(ctx context.Context, c *claim, answer string) error {
	if err := w.q.NotificationEnd(ctx, queries.NotificationEndParams{ID: c.task.Subject, Answer: answer, Epoch: c.epoch}); err != nil {
		return fmt.Errorf("give the notification up: %w", err)
	}
	return nil
}

func (w *Workers) disableNotifier(ctx context.Context, c *claim, n queries.Notifier, reason string) error {
	if err := w.q.NotifierDisable(ctx, queries.NotifierDisableParams{ID: n.ID, Reason: reason, Actor: actor}); err != nil {
		return fmt.Errorf("disable the notifier: %w", err)
	}
	c.log.Warn("disabled a notifier", "notifier", n.ID, "kind", n.Kind, "reason", reason)
	return nil
}

// giveUpNotify ends a notification. A notifier to which nothing got through for
// that long is disabled.
func (w *Workers) giveUpNotify(ctx context.Context, c *claim, cause string) error {
	row, err := w.q.NotificationToSend(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the notification: %w", err)
	}
	if row.Notifier.Failures >= notifyFailures {
		if err := w.disableNotifier(ctx, c, row.Notifier, fmt.Sprintf("%d attempts in a row failed; the last one: %s", row.Notifier.Failures, cause)); err != nil {
			return err
		}
	}
	return w.endNotification(ctx, c, "given up: "+cause)
}

const (
	// quotaNear and quotaFar are the percents of a quota at which its notifiers
	// are told, and below which they can be told again.
	quotaNear, quotaFar = 90, 80
)

// noteQuota tells a pipeline's notifiers if little is left of its quota.
func (w *Workers) noteQuota(ctx context.Context, pipeline uuid.UUID) error {
	stored, err := w.deps.Intake.StorageOf(ctx, w.q, pipeline)
	if err != nil {
		return err
	}
	used := notify.Storage{Bytes: stored.Bytes, Files: stored.Files, QuotaBytes: stored.Quota.Bytes, QuotaFiles: stored.Quota.Files}
	percent := used.Percent()
	if percent >= quotaFar && percent < quotaNear {
		return nil
	}
	details, err := json.Marshal(used)
	if err != nil {
		return err
	}
	if _, err := w.q.QuotaNear(ctx, queries.QuotaNearParams{Storage: details, Near: percent >= quotaNear, PipelineID: pipeline}); err != nil {
		return fmt.Errorf("record how much of its quota pipeline %s uses: %w", pipeline, err)
	}
	return nil
}
