package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/internal/checkup"
	"github.com/troy-iaas/troy/site"
)

// rehearsalTime bounds the build of Rehearse.
const rehearsalTime = 40 * time.Second

// rehearsalUIDs is the distance of the user of Rehearse's build from those of
// running builds, which a worker numbers by itself.
const rehearsalUIDs = 1000

// Metadata is the address at which clouds answer machines' questions, such as
// for credentials.
const Metadata = "169.254.169.254"

// maxTried is how many addresses a rehearsal tries at most.
const maxTried = 8

// said begins the lines of the rehearsal's log that Rehearse reads.
const said = "troyd doctor: "

// rehearsal is the script that looks around in a build. It prints what it
// could read or reach, and does not print what it read.
const rehearsal = `
IFS='
'
for f in $SECRETS; do
	if [ -d "$f" ]; then ls "$f" >/dev/null 2>&1 && [ -n "$(ls -A "$f" 2>/dev/null)" ] && echo "${SAID}read $f"
	else head -c 1 "$f" >/dev/null 2>&1 && echo "${SAID}read $f"; fi
done
for v in $(printf 'TROY_SECRET_KEY\nTROY_DATABASE_URL\nTROY_REDIS_URL\nAWS_SECRET_ACCESS_KEY'); do
	eval "[ -z \"\${$v:-}\" ]" || echo "${SAID}variable $v"
done
for f in $VISIBLE; do
	[ -r "$f" ] || echo "${SAID}unreadable $f"
done
if command -v bash >/dev/null && command -v timeout >/dev/null; then
	for a in $ADDRESSES; do
		(timeout 3 bash -c "exec 3<>/dev/tcp/${a%:*}/${a##*:}" 2>/dev/null && echo "${SAID}reached ${a%:*}") &
	done
	wait
else
	echo "${SAID}untried"
fi
if command -v npm >/dev/null; then
	timeout 25 npm view npm dist-tags.latest --fetch-retries=0 && echo "${SAID}registry"
elif command -v curl >/dev/null; then
	curl -sS -m 20 ${NODE_EXTRA_CA_CERTS:+--cacert "$NODE_EXTRA_CA_CERTS"} -o /dev/null "${npm_config_registry:-$REGISTRY}" && echo "${SAID}registry"
else
	echo "${SAID}no client"
fi
echo "${SAID}end"
`

// Rehearse runs a build that tries to read secrets, to reach the machine and to
// fetch from the npm registry, and tells what it found. It uses the
// configuration except for its root and its tools. secrets are files and
// folders that builds must not read; registry reports whether builds need the
// registry.
func Rehearse(ctx context.Context, cfg Config, secrets []string, registry bool, tell checkup.Tell) {
	if cfg.Isolation == NoIsolation {
		tell.Well("builds", "are not isolated (TROY_BUILD_ISOLATION=none): they can do everything that the user of work can")
		return
	}
	lines, err := rehearse(ctx, cfg, secrets)
	if err != nil {
		tell.Wrong("builds", err.Error(), "do what it says on each machine that runs `troyd work`; docs/builds.md has what isolation needs")
		return
	}
	judge(lines, registry, tell)
}

// judge tells what a rehearsal's lines mean.
func judge(lines []string, registry bool, tell checkup.Tell) {
	found := map[string][]string{}
	for i, line := range lines {
		if line == said+"end" {
			lines = lines[:i+1]
		}
		if text, ok := strings.CutPrefix(line, said); ok {
			what, which, _ := strings.Cut(text, " ")
			found[what] = append(found[what], which)
		}
	}
	if found["end"] == nil {
		tell.Wrong("builds", "a build that looks around ended early: "+tailOf(lines), "run `troyd doctor` again; if it stays so, look at the log of a real build")
		return
	}
	for _, wrong := range []struct{ what, sentence string }{
		{"read", "a build can read %s"}, {"variable", "a build has the worker's variable %s"}, {"reached", "a build can reach %s"},
	} {
		if names := found[wrong.what]; names != nil {
			tell.Wrong("builds", fmt.Sprintf(wrong.sentence, strings.Join(names, ", ")),
				"stop `troyd work`, and look at TROY_BUILD_VISIBLE, TROY_BUILD_PATH, TROY_BUILD_ALLOW and TROY_BUILD_ENV_FILE: they must not show or allow it")
		}
	}
	if found["unreadable"] != nil {
		tell.Wrong("builds", "builds can't read "+strings.Join(found["unreadable"], ", "),
			"let all users read what TROY_BUILD_VISIBLE and TROY_BUILD_PATH name, and pass the folders above it")
	}
	if found["read"] == nil && found["variable"] == nil && found["reached"] == nil {
		what := "are isolated: one could not read the data folder, the machine's passwords or the worker's variables, nor reach the machine and " + Metadata
		if found["untried"] != nil {
			what = "are isolated: one could not read the data folder, the machine's passwords or the worker's variables; the network was not tried, because the machine has no bash"
		}
		tell.Well("builds", "%s", what)
	}
	switch {
	case found["registry"] != nil:
		tell.Well("npm registry", "builds reach it")
	case found["no"] != nil:
		tell.Well("npm registry", "not tried, because the machine has neither npm nor curl")
	case !registry:
		tell.Well("npm registry", "builds can't reach it, and TROY_BUILD_TOOLS=machine does not need it: %s", tailOf(lines))
	default:
		tell.Wrong("npm registry", "builds can't reach it: "+tailOf(lines),
			"if this network needs a proxy, a mirror or its own authority, set them in TROY_BUILD_ENV_FILE, and their private addresses in TROY_BUILD_ALLOW (docs/builds.md)")
	}
}

// tailOf returns the last line that a program printed.
func tailOf(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, said) && !strings.HasPrefix(line, "npm error A complete log") && line != "npm error" {
			return fmt.Sprintf("%.200s", line)
		}
	}
	return "it printed nothing"
}

// rehearse runs the build and returns what its commands printed.
func rehearse(ctx context.Context, cfg Config, secrets []string) ([]string, error) {
	dir, err := os.MkdirTemp("", "troy-doctor-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = removeFolder(context.WithoutCancel(ctx), dir) }()
	bait := filepath.Join(dir, "secret")
	if err := os.WriteFile(bait, []byte("secret"), 0o644); err != nil {
		return nil, err
	}
	reached, addresses, stop, err := listenAround(ctx, cfg.Allow)
	if err != nil {
		return nil, err
	}
	defer stop()
	cfg.Root, cfg.Tools = filepath.Join(dir, "data"), nil
	if cfg.FirstUID == 0 {
		cfg.FirstUID = firstUID
	}
	cfg.FirstUID += rehearsalUIDs
	b, err := New(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	repository, err := packed(map[string]string{"look.sh": rehearsal, "out/index.html": "looked"})
	if err != nil {
		return nil, err
	}
	spec := builder.Spec{
		Tree: site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()},
		Source: func(context.Context, string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(repository)), nil
		},
		Settings: build.Settings{Build: "sh look.sh", Output: "out"},
		Variables: map[string]string{
			"SAID": said, "SECRETS": strings.Join(append([]string{bait, dir, "/etc/shadow"}, secrets...), "\n"),
			"VISIBLE": strings.Join(append(slices.Clone(cfg.Visible), cfg.Path...), "\n"), "ADDRESSES": strings.Join(addresses, "\n"),
			"REGISTRY": toolchain.PublicRegistry,
		},
		Limits: builder.Limits{Time: rehearsalTime},
	}
	if err := b.Start(ctx, spec); err != nil {
		return nil, err
	}
	b.mu.Lock()
	r := b.running[spec.Tree]
	b.mu.Unlock()
	if r != nil {
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	data, err := os.ReadFile(b.files(spec.Tree).path("log"))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(data), "\n")
	if reached.Load() > 0 {
		lines = append(lines, said+"reached the machine's loopback")
	}
	// An error of the phase is not what its command printed.
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "==> ") }), nil
}

// listenAround accepts connections on this machine's addresses, and returns
// where a build should try to reach it: not at addresses that it may reach.
func listenAround(ctx context.Context, allow []netip.Prefix) (reached *atomic.Int64, addresses []string, stop func(), err error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", ":0")
	if err != nil {
		return nil, nil, nil, err
	}
	reached = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// Others on the network may knock too.
			if host, _, err := net.SplitHostPort(conn.RemoteAddr().String()); err == nil && net.ParseIP(host).IsLoopback() {
				reached.Add(1)
			}
			_ = conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	own, interfacesErr := net.InterfaceAddrs()
	if err = errors.Join(err, interfacesErr); err != nil {
		return nil, nil, nil, errors.Join(err, listener.Close())
	}
	// slirp4netns shows the machine's loopback at its gateway's address.
	addresses = []string{Metadata + ":80", "10.0.2.2:" + port}
	for _, a := range own {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().Is4() || prefix.Addr().IsLoopback() || len(addresses) == maxTried {
			continue
		}
		if !slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(prefix.Addr()) }) {
			addresses = append(addresses, prefix.Addr().String()+":"+port)
		}
	}
	return reached, addresses, func() { _ = listener.Close() }, nil
}

// packed packs files as forges pack a repository.
func packed(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "repository/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
