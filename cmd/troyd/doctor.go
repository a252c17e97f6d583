package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/internal/checkup"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/workers"
)

// doctorTimeout bounds one check outside AWS.
const doctorTimeout = 10 * time.Second

func newDoctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check whether the configuration works, end to end",
		Long: "Check everything that the environment names: Postgres and its schema, Redis, the data\n" +
			"folder and, with TROY_CLOUD=aws, credentials, permissions, buckets, certificate,\n" +
			"hosted zone, quota, queues, CodeBuild, topics and their updates; and say how to fix\n" +
			"each problem. It changes nothing, except that a key in Redis, which lives for a\n" +
			"minute, shows whether Redis accepts writes. It runs a small build in a temporary\n" +
			"folder, which tries to break out and to reach the npm registry. It checks permissions\n" +
			"by calls that can't have an effect, except for the permission to make a distribution.\n" +
			"Exit status 1: something must be fixed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			redis.SetLogger(silence{}) // the findings report it
			d := doctor{out: cmd.OutOrStdout()}
			cfg, err := commandConfig()
			if err != nil {
				for line := range strings.Lines(err.Error()) {
					setting, said, named := strings.Cut(strings.TrimSpace(line), ": ")
					if !named || !strings.HasPrefix(setting, "TROY_") {
						setting, said = "troyd dev", strings.TrimSpace(line)
					}
					d.tell(checkup.Finding{Part: setting, Said: said, Remedy: "set it as docs/config.md says"})
				}
				return d.result()
			}
			d.tell(checkup.Finding{Part: "settings", Said: "all valid"})
			d.postgres(cmd.Context(), cfg)
			d.redis(cmd.Context(), cfg)
			d.folder(cfg)
			d.certificates(cmd.Context(), cfg)
			d.builds(cmd.Context(), cfg)
			if cfg.onAWS() || cfg.AWSAppsQueue != "" || cfg.AWSBuildsQueue != "" {
				if err := d.aws(cmd.Context(), cfg); err != nil {
					return err
				}
			}
			return d.result()
		},
	}
}

// silence discards logs.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

type doctor struct {
	out    io.Writer
	hears  checkup.Tell // gets the findings instead of out, unless nil
	todo   int
	failed error // of writing
}

// overseer describes the installation, with those of the doctor's checks that
// are cheap.
func (b *backend) overseer(cfg config, issuer *credentials.Issuer) *health.Overseer {
	check := func(f func(*doctor, context.Context, config)) func(context.Context, checkup.Tell) {
		return func(ctx context.Context, tell checkup.Tell) { f(&doctor{hears: tell}, ctx, cfg) }
	}
	return &health.Overseer{
		DB: b.db, Issuer: issuer,
		Retention: health.Retention{
			Deployments: cfg.KeepDeployments, CarryAssetsSeconds: int64(cfg.CarryAssets.Seconds()), UploadsValidSeconds: int64(cfg.UploadsValid.Seconds()),
			DeliveriesDays: int(workers.DeliveriesKept.Hours() / 24),
		},
		Examine: []func(context.Context, checkup.Tell){
			check((*doctor).postgres), check((*doctor).redis), check(func(d *doctor, _ context.Context, cfg config) { d.folder(cfg) }),
			check((*doctor).certificates),
		},
	}
}

// tell prints a finding, and its remedy below it.
func (d *doctor) tell(f checkup.Finding) {
	if d.hears != nil {
		d.hears(f)
		return
	}
	mark := "ok  "
	if f.Remedy != "" {
		mark = "FAIL"
		d.todo++
	}
	text := fmt.Sprintf("%s  %s: %s\n", mark, f.Part, f.Said)
	if f.Remedy != "" {
		text += wrapped("→ "+f.Remedy, "      ", 80)
	}
	_, err := io.WriteString(d.out, text)
	d.failed = errors.Join(d.failed, err)
}

// wrapped breaks a text between words and indents each line.
func wrapped(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len([]rune(line))+1+len([]rune(word)) > width && strings.TrimSpace(line) != "" {
			b.WriteString(line + "\n")
			line = indent + " "
		}
		if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}

func (d *doctor) result() error {
	switch {
	case d.failed != nil:
		return d.failed
	case d.todo == 1:
		return errors.New("one thing must be fixed")
	case d.todo > 0:
		return fmt.Errorf("%d things must be fixed", d.todo)
	}
	return nil
}

func (d *doctor) postgres(ctx context.Context, cfg config) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, cfg.DatabaseURL)
	if err != nil {
		// pgx leaves the password out, but names host and user.
		d.tell(checkup.Finding{Part: "Postgres", Said: oneLine(withoutURL(err, cfg.DatabaseURL)), Remedy: "start it, or set TROY_DATABASE_URL to its address"})
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := schema.Check(ctx, conn); err != nil {
		d.tell(checkup.Finding{Part: "Postgres", Said: oneLine(err), Remedy: "run `troyd migrate up` with this version of troyd, before web and work"})
		return
	}
	if err := health.PostgresWrites(ctx, conn); err != nil {
		d.tell(checkup.Finding{Part: "Postgres", Said: oneLine(err), Remedy: "set TROY_DATABASE_URL to the primary, or make it accept writes"})
		return
	}
	if err := health.QueuesPaused(ctx, conn); err != nil {
		d.tell(checkup.Finding{Part: "queues", Said: oneLine(err), Remedy: "resume them with `troy queue resume`, unless they are paused on purpose"})
	}
	d.tell(checkup.Finding{Part: "Postgres", Said: "answers, and its schema is this version's"})
}

func (d *doctor) redis(ctx context.Context, cfg config) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	option, err := asynq.ParseRedisURI(cfg.RedisURL)
	if err != nil {
		d.tell(checkup.Finding{Part: "Redis", Said: oneLine(withoutURL(err, cfg.RedisURL)), Remedy: "set TROY_REDIS_URL to an address like redis://127.0.0.1:6379/0"})
		return
	}
	client, ok := option.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return // asynq makes no other
	}
	defer func() { _ = client.Close() }()
	if err := health.RedisWrites(ctx, client); err != nil {
		remedy := "start it, or set TROY_REDIS_URL to its address"
		if troy.KindOf(err) == troy.Unavailable {
			remedy = "give it memory or disk, or set TROY_REDIS_URL to the primary"
		}
		d.tell(checkup.Finding{Part: "Redis", Said: oneLine(err), Remedy: remedy})
		return
	}
	if p := health.RedisPolicy(ctx, client); p != "" && p != "noeviction" {
		d.tell(checkup.Finding{Part: "Redis", Said: "it may evict tasks (maxmemory-policy " + p + ")", Remedy: "set its maxmemory-policy to noeviction: the sweep restores evicted tasks only seconds later"})
		return
	}
	if err := health.QueuesRun(ctx, client); err != nil {
		d.tell(checkup.Finding{Part: "queues", Said: oneLine(err), Remedy: "resume them in /monitor, unless they are paused on purpose"})
		return
	}
	d.tell(checkup.Finding{Part: "Redis", Said: "answers"})
}

func (d *doctor) folder(cfg config) {
	dir, said := cfg.DataDir, "written"
	for { // the first process that needs it makes it
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir, said = filepath.Dir(dir), "can be made"
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		d.tell(checkup.Finding{Part: "data folder", Said: oneLine(err), Remedy: "make TROY_DATA_DIR a folder that the user of work and web may write"})
		return
	}
	d.tell(checkup.Finding{Part: "data folder", Said: cfg.DataDir + ": " + said})
}

// rehearsalTimeout bounds the build that looks around.
const rehearsalTimeout = time.Minute

// builds runs a build that looks around, if builds run on this machine.
func (d *doctor) builds(ctx context.Context, cfg config) {
	if cfg.AWSProject != "" {
		return
	}
	settings, err := cfg.builder(slog.New(slog.DiscardHandler))
	if err != nil {
		d.tell(checkup.Finding{Part: "builds", Said: oneLine(err), Remedy: "set it as docs/config.md says"})
		return
	}
	data, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		d.tell(checkup.Finding{Part: "builds", Said: oneLine(err), Remedy: "set TROY_DATA_DIR to an absolute path"})
		return
	}
	secrets := []string{data}
	if cfg.BuildEnvFile != "" {
		secrets = append(secrets, cfg.BuildEnvFile)
	}
	ctx, cancel := context.WithTimeout(ctx, rehearsalTimeout)
	defer cancel()
	sandbox.Rehearse(ctx, settings, secrets, cfg.BuildTools == "install", d.tell)
	sandbox.Examine(settings, cfg.BuildCPUs, d.tell)
	if cfg.BuildTools == "install" {
		tellMise(ctx, toolchain.FindMise(), d.tell)
	}
}

// tellMise tells whether builds can install Python, Ruby, Hugo and Zola.
func tellMise(ctx context.Context, program string, tell checkup.Tell) {
	if program == "" {
		tell.Well("mise", "is not in the PATH, so builds use the Python, Ruby, Hugo and Zola of this machine")
		return
	}
	version, err := toolchain.CheckMise(ctx, program)
	if err != nil {
		tell.Wrong("mise", fmt.Sprintf("%s can't install tools of builds: %s", program, oneLine(err)), "update mise, or remove it from the PATH of troyd work")
		return
	}
	tell.Well("mise", "version %s installs the Python, Ruby, Hugo and Zola of builds", version)
}

// certificates tells how many hosts have a certificate, and what is left of the
// authority's limits.
func (d *doctor) certificates(ctx context.Context, cfg config) {
	if cfg.TLS.EdgeAddr == "" && cfg.TLS.WebAddr == "" {
		return
	}
	s, err := certificates.Summarize(ctx, site.Layout{Root: cfg.cloudRoot()}, cfg.TLS.ACMEDirectory, nil)
	if err != nil {
		d.tell(checkup.Finding{Part: "certificates", Said: oneLine(err), Remedy: "let the user of web and work read TROY_DATA_DIR/cloud/certificates/state"})
		return
	}
	said := fmt.Sprintf("%d of %s", s.Valid, troy.Count(s.Hosts, "host has a valid certificate", "hosts have valid certificates"))
	if len(s.Left) > 0 {
		said += "; " + s.Authority + " still allows " + strings.Join(s.Left, ", ")
	}
	f := checkup.Finding{Part: "certificates", Said: said}
	if s.Problem != "" {
		f.Said, f.Remedy = strings.TrimSuffix(s.Problem, ".")+". "+said, "certificates that exist are served, and Troy tries again by itself; docs/domains.md says what to do"
	}
	d.tell(f)
}

// buildHeardOf returns when SNS last reported a build.
func buildHeardOf(ctx context.Context, cfg config) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, cfg.DatabaseURL)
	if err != nil {
		return time.Time{}, withoutURL(err, cfg.DatabaseURL)
	}
	defer func() { _ = conn.Close(ctx) }()
	return queries.New(conn).BuildHeardOf(ctx)
}

// oneLine returns an error's text on one line: pgx puts each address that it
// tried on its own line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
