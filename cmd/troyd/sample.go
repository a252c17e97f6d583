package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

const (
	sampleApp  = "sample"
	sampleName = "Sample"
)

// releaseSample releases a site like any other, over HTTP: a signed app event,
// provisioning, a release. It returns the live address, or the empty string if
// nothing is live. It does so once for a data folder: afterwards the pipeline
// belongs to the user, who may have changed, renamed or deleted it.
func releaseSample(ctx context.Context, cfg config, token, folder string, log *slog.Logger) (string, error) {
	c, err := client.New(cfg.URL, token)
	if err != nil {
		return "", err
	}
	marker := filepath.Join(cfg.DataDir, "sample-pipeline")
	before, err := os.ReadFile(marker)
	if err == nil {
		p, err := c.Pipeline(ctx, strings.TrimSpace(string(before)))
		if troy.KindOf(err) == troy.NotFound || err == nil && p.LiveDeploymentID == nil {
			return "", nil
		}
		return p.URL, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id, err := sampleEvent(ctx, cfg)
	if err != nil {
		return "", err
	}
	log.Info("sent the app event", "pipeline", id)
	p, err := waitProvisioned(ctx, c, id, log)
	if err != nil {
		return "", err
	}
	if p.LiveDeploymentID != nil { // an interrupted run had come this far
		return p.URL, os.WriteFile(marker, []byte(id+"\n"), 0o644)
	}
	source, err := site.OpenSource(ctx, folder, cfg.limits())
	if err != nil {
		return "", err
	}
	defer func() { _ = source.Close() }()
	release, err := c.BeginRelease(ctx, id, uuid.NewString(), client.NewRelease{Files: source.Files, Message: "The sample site"})
	if err != nil {
		return "", err
	}
	log.Info("releasing the sample site", "files", len(source.Files), "to_send", len(release.Missing))
	if err := c.Upload(ctx, id, release, client.Upload{Open: source.Open}); err != nil {
		return "", err
	}
	d, err := c.FinalizeRelease(ctx, id, release.ID, client.Finalize{})
	if err != nil {
		return "", err
	}
	d, err = c.Wait(ctx, id, d.ID, nil)
	if err != nil {
		return "", err
	}
	if d.State != troy.Succeeded {
		return "", fmt.Errorf("the deployment %s: %s", d.State, d.Cause)
	}
	return p.URL, os.WriteFile(marker, []byte(id+"\n"), 0o644)
}

// sampleEvent sends Created for the sample app and returns its pipeline's id.
func sampleEvent(ctx context.Context, cfg config) (string, error) {
	body, err := json.Marshal(map[string]any{
		"id": uuid.NewString(), "type": "Created", "time": time.Now().UTC(),
		"app": map[string]any{"id": sampleApp, "name": sampleName},
	})
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, []byte(cfg.AppsSecret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cfg.URL+"/events/apps", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Troy-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("send the app event: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return "", fmt.Errorf("send the app event: %s: %s: %w", resp.Status, answer, err)
	}
	var outcome struct {
		PipelineID string `json:"pipeline_id"`
		Detail     string `json:"detail"`
	}
	if err := json.Unmarshal(answer, &outcome); err != nil {
		return "", fmt.Errorf("read the answer to the app event: %w", err)
	}
	if outcome.PipelineID == "" {
		return "", errors.New("the app event made no pipeline: " + outcome.Detail)
	}
	return outcome.PipelineID, nil
}

// waitProvisioned waits until the pipeline can serve a deployment, and requests
// provisioning if necessary.
func waitProvisioned(ctx context.Context, c *client.Client, id string, log *slog.Logger) (client.Pipeline, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last troy.Status
	for {
		p, err := c.Pipeline(ctx, id)
		if err != nil {
			return p, err
		}
		if p.Status != last {
			log.Info("pipeline", "status", p.Status.String())
			last = p.Status
		}
		switch p.Status {
		case troy.PreProvisioned:
			if _, err := c.ProvisionPipeline(ctx, id); err != nil {
				return p, err
			}
		case troy.FailedToProvision:
			return p, fmt.Errorf("%s: %s", p.Status, p.Cause)
		case troy.ReadyForDeployment, troy.Queued, troy.Deploying, troy.Deployed, troy.FailedToDeploy:
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, ctx.Err()
		case <-tick.C:
		}
	}
}
