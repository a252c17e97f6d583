package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
)

// events returns the events of all pipelines: their provisioning, and their
// deployments.
func (s seeds) events() func() ([]any, error) {
	i, version := 0, 0
	return func() ([]any, error) {
		if version == 4+3*s.count(min(i, s.pipelines-1)) {
			i, version = i+1, 0
		}
		if i >= s.pipelines {
			return nil, nil
		}
		version++
		return s.event(i, version), nil
	}
}

func (s seeds) event(i, version int) []any {
	at, cause := s.created(i).Add(time.Duration(version)*time.Second), ""
	var deployment *uuid.UUID
	if version > 4 {
		number, step := (version-5)/3+1, (version-5)%3
		deployment, at = new(s.deploymentID(i, number)), s.deployed(i, number).Add(time.Duration(20*step)*time.Second)
	}
	to := s.status(i, version)
	if to == troy.FailedToDeploy {
		cause = "the build command ended with exit code 1"
	}
	var from *string
	if version > 1 {
		from = new(string(s.status(i, version-1)))
	}
	return []any{s.pipelineID(i), int64(version), s.slug(i), from, string(to), cause, "token seed", deployment, at}
}

// status is a pipeline's status after an event.
func (s seeds) status(i, version int) troy.Status {
	if version <= 4 {
		return []troy.Status{troy.PreProvisioned, troy.ProvisionRequest, troy.Provisioning, troy.ReadyForDeployment}[version-1]
	}
	if version == 4+3*s.count(i) && s.fails(i) {
		return troy.FailedToDeploy
	}
	return []troy.Status{troy.Queued, troy.Deploying, troy.Deployed}[(version-5)%3]
}

// seedLog is the compressed log of all made-up builds, and its length.
func seedLog() (log seededLog, err error) {
	var text strings.Builder
	text.WriteString("\x1b[1m$ npm ci\x1b[0m\nadded 412 packages in 3s\n\x1b[1m$ npm run build\x1b[0m\n")
	for n := range 200 {
		fmt.Fprintf(&text, "\x1b[32m✓\x1b[0m rendered /pages/%d/index.html in %d ms\n", n, 3+n*7%40)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		return log, err
	}
	log.size, log.compressed = text.Len(), encoder.EncodeAll([]byte(text.String()), nil)
	return log, encoder.Close()
}

type seededLog struct {
	size       int
	compressed []byte
}

// builds returns the builds of all automated deployments.
func (s seeds) builds(log seededLog) func() ([]any, error) {
	n := -1
	return func() ([]any, error) {
		for n++; n < s.deployments && !s.automated(n); n++ {
		}
		if n >= s.deployments {
			return nil, nil
		}
		i, number := n%s.pipelines, n/s.pipelines+1
		at, code := s.deployed(i, number).Add(5*time.Second), 0
		if number == s.count(i) && s.fails(i) {
			code = 1
		}
		phase := func(name, command string, begin, end time.Duration, code int) string {
			return fmt.Sprintf(`{"phase":%q,"command":%q,"started":%q,"ended":%q,"exit_code":%d}`,
				name, command, at.Add(begin).Format(time.RFC3339), at.Add(end).Format(time.RFC3339), code)
		}
		phases := "[" + phase("install", "npm ci", 0, 8*time.Second, 0) + "," + phase("build", "npm run build", 8*time.Second, 35*time.Second, code) + "]"
		return []any{
			s.deploymentID(i, number), int32(1), []byte(phases), "the scripts of package.json", int64(log.size), log.compressed, at, at.Add(35 * time.Second),
			"rendered the last page", true,
		}, nil
	}
}

// audit returns a change of each pipeline's settings.
func (s seeds) audit(i int) []any {
	at := s.created(i).Add(time.Minute)
	return []any{s.id(3, i, at), at, "token seed", intake.Configured, "build.output", s.pipelineID(i), s.slug(i)}
}
