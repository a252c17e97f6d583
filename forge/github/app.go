package github

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// Settings are the environment's settings for GitHub.
type Settings struct {
	URL      string `env:"TROY_GITHUB_URL" envDefault:"https://api.github.com"`
	AppID    string `env:"TROY_GITHUB_APP_ID"`
	ClientID string `env:"TROY_GITHUB_CLIENT_ID"`
	KeyFile  string `env:"TROY_GITHUB_KEY_FILE"`
	Secret   string `env:"TROY_GITHUB_SECRET"`
}

// Check reports what is wrong with the settings.
func (s Settings) Check(wrong func(setting, format string, args ...any)) {
	forge.CheckSecret("TROY_GITHUB_SECRET", s.Secret, wrong)
	app := map[string]string{"TROY_GITHUB_CLIENT_ID": s.ClientID, "TROY_GITHUB_KEY_FILE": s.KeyFile, "TROY_GITHUB_SECRET": s.Secret}
	for setting, value := range app {
		if value == "" && (s.ClientID != "" || s.KeyFile != "" || s.Secret != "") {
			wrong(setting, "not set, but other settings of GitHub's app are; expected client id, key file and secret together")
		}
	}
}

// App returns the app of the settings, or the stored one if they name none. Its
// errors name the invalid setting.
func (s Settings) App(db queries.DBTX, secrets *secret.Sealer) (App, error) {
	app := App{DB: db, Secrets: secrets}
	if s.ClientID == "" {
		return app, nil
	}
	key, err := os.ReadFile(s.KeyFile)
	if err != nil {
		return app, fmt.Errorf("TROY_GITHUB_KEY_FILE: %w", err)
	}
	app.Own = &forge.App{ClientID: s.ClientID, PrivateKey: string(key), WebhookSecret: s.Secret}
	if s.AppID != "" {
		if app.Own.ID, err = strconv.ParseInt(s.AppID, 10, 64); err != nil {
			return app, fmt.Errorf("TROY_GITHUB_APP_ID: %q is not a number", s.AppID)
		}
	}
	return app, nil
}

// App is Troy's app at GitHub: the operator's own, or the one that the
// set-up page stored. The zero App has no app.
type App struct {
	Own     *forge.App // nil means the stored app
	DB      queries.DBTX
	Secrets *secret.Sealer // nil means that none can be stored
}

// Possible reports whether there is an app or one can be stored.
func (a App) Possible() bool { return a.Own != nil || a.Secrets != nil }

// Current returns the app, or the zero App if there is none. It reads the row
// each time, so every process sees a new app at once.
func (a App) Current(ctx context.Context) (app forge.App, err error) {
	if a.Own != nil {
		return *a.Own, nil
	}
	if a.Secrets == nil {
		return app, nil
	}
	row, err := queries.New(a.DB).ForgeAppGet(ctx, string(troy.GitHub))
	if errors.Is(err, pgx.ErrNoRows) {
		return app, nil
	}
	if err != nil {
		return app, fmt.Errorf("read the GitHub app: %w", err)
	}
	err = credentials.Open(a.Secrets, row.Credentials, &app, secret.App(string(troy.GitHub)))
	return app, err
}

// store stores a new app.
func (a App) store(ctx context.Context, made forge.App, actor string) error {
	sealed, err := credentials.Seal(a.Secrets, made, secret.App(string(troy.GitHub)))
	if err != nil {
		return err
	}
	if err := queries.New(a.DB).ForgeAppPut(ctx, queries.ForgeAppPutParams{
		Provider: string(troy.GitHub), AppID: strconv.FormatInt(made.ID, 10), Name: made.Name, Url: made.URL, Credentials: sealed, Actor: actor,
	}); err != nil {
		return fmt.Errorf("store the GitHub app %d, which must be deleted at GitHub now: %w", made.ID, err)
	}
	return nil
}
