package intake

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// SettingsTag returns the entity tag of a pipeline's settings (RFC 9110
// §8.8.3), without what Troy itself changes.
func SettingsTag(p queries.Pipeline) (string, error) {
	settings := struct {
		Provider, FullName, Branch, Root string
		WatchPaths                       []string
		CancelRunning                    bool
		Build                            troy.BuildSettings
	}{
		Provider: text(nil, p.RepositoryProvider), FullName: text(nil, p.RepositoryFullName), Branch: text(nil, p.RepositoryBranch),
		Root: text(nil, p.RepositoryRoot), WatchPaths: append([]string{}, p.WatchPaths...), CancelRunning: p.CancelRunning,
	}
	if err := json.Unmarshal(p.BuildSettings, &settings.Build); err != nil {
		return "", fmt.Errorf("read the build settings of pipeline %s: %w", p.ID, err)
	}
	encoded, err := json.Marshal(settings)
	if err != nil {
		return "", fmt.Errorf("encode the settings of pipeline %s: %w", p.ID, err)
	}
	sum := sha256.Sum256(encoded)
	return `"` + hex.EncodeToString(sum[:16]) + `"`, nil
}
