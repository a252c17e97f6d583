package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/internal/network"
)

// resolver is slirp4netns's resolver, which forwards to the machine's (man
// slirp4netns).
const resolver = "10.0.2.3"

// networkRules allows a namespace to reach the Internet and refuses the rest:
// special networks (network.Special), including loopback, private addresses and
// the clouds' metadata services, and the machine's own addresses. Allowed
// networks come first.
func networkRules(allow []netip.Prefix) (string, error) {
	refused := network.Special()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("list the machine's addresses: %w", err)
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue // not an IP address
		}
		addr := prefix.Addr().Unmap().WithZone("")
		refused = append(refused, netip.PrefixFrom(addr, addr.BitLen()))
	}
	var rules strings.Builder
	rules.WriteString("table inet troy {\n\tchain output {\n\t\ttype filter hook output priority 0; policy accept;\n\t\toifname \"lo\" accept\n")
	rules.WriteString("\t\tip daddr " + resolver + " meta l4proto { tcp, udp } th dport 53 accept\n")
	for _, prefix := range allow {
		rules.WriteString("\t\t" + family(prefix) + " daddr " + prefix.Masked().String() + " accept\n")
	}
	// One rule each: a set may not have overlapping ranges.
	for _, prefix := range refused {
		rules.WriteString("\t\t" + family(prefix) + " daddr " + prefix.String() + " reject\n")
	}
	rules.WriteString("\t}\n}\n")
	return rules.String(), nil
}

func family(prefix netip.Prefix) string {
	if prefix.Addr().Is6() {
		return "ip6"
	}
	return "ip"
}

func (s *isolated) places() places {
	at := func(t toolchain.Ready) string { return path.Join(toolsFolder, t.Name) }
	folders := toolPath(s.tools, at, s.b.programFolders())
	return places{repo: "/build/repo", home: "/build/home", temp: "/tmp", cache: "/build/cache", path: append(folders, "/build/bin")}
}

// command returns a bubblewrap in the network namespace (man bwrap). Root makes
// the mounts and then becomes the build's user permanently, without
// capabilities; without root, a user namespace does the same.
func (s *isolated) command(ctx context.Context, script string) (*exec.Cmd, error) {
	file := s.files.path("work", "etc", "phase.sh")
	if err := writeScript(file, script); err != nil {
		return nil, err
	}
	processes, err := processLimit(s.limits.Processes)
	if err != nil {
		return nil, err
	}
	args := []string{
		// bubblewrap finds its children in /proc by their ids in its own
		// namespace.
		"--mount-proc", "--",
		findProgram("nice", s.b.tools), "-n", "5", findProgram("prlimit", s.b.tools), "--nproc=" + processes, "--core=0", "--",
		findProgram("bwrap", s.b.tools),
		"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "build", "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv",
	}
	if s.uid == 0 {
		id := strconv.Itoa(s.insideUID())
		args = append(args, "--unshare-user", "--uid", id, "--gid", id)
	}
	args = append(args, s.mounts(file)...)
	arch, filtered := architectures[s.b.arch]
	if filtered {
		// The first descriptor after the standard ones is ExtraFiles[0].
		args = append(args, "--seccomp", "3")
	}
	args = append(args, "--chdir", "/build", "--")
	if s.uid != 0 {
		id := strconv.Itoa(s.uid)
		args = append(args, "/usr/bin/setpriv", "--reuid", id, "--regid", id, "--clear-groups",
			"--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs")
	}
	args = append(args, "/bin/sh", "/run/phase.sh")
	cmd := s.enter("unshare", args...)
	group := s.group(ctx)
	if group != nil {
		group.place(cmd)
	}
	if s.calls != nil {
		_ = s.calls.Close() // of the previous phase
	}
	s.calls = nil
	if !filtered {
		return cmd, nil
	}
	if s.calls, err = filterFile(arch, group != nil && group.memory); err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{s.calls}
	return cmd, nil
}

// processLimit is the limit for RLIMIT_NPROC (getrlimit(2)): the build's, or
// the worker's if it is lower, since raising it needs a privilege.
func processLimit(limit int) (string, error) {
	var mine unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &mine); err != nil {
		return "", fmt.Errorf("get the process limit: %w", err)
	}
	return strconv.FormatUint(min(uint64(limit), mine.Max), 10), nil
}

// mounts lists everything that a build sees of the disk.
func (s *isolated) mounts(script string) []string {
	args := []string{"--ro-bind", "/usr", "/usr"}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		// On a merged /usr they are links into it, elsewhere folders.
		if target, err := filepath.EvalSymlinks("/" + name); err == nil && target != "/"+name {
			args = append(args, "--symlink", strings.TrimPrefix(target, "/"), "/"+name)
		} else if err == nil {
			args = append(args, "--ro-bind", "/"+name, "/"+name)
		}
	}
	// bubblewrap makes the folders above a mount accessible only to its own
	// user.
	for _, dir := range []string{"/etc", "/run", "/build"} {
		args = append(args, "--perms", "0755", "--dir", dir)
	}
	for _, name := range []string{
		"/etc/alternatives", "/etc/ssl", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/pki", "/etc/crypto-policies",
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/fonts",
		"/etc/protocols", "/etc/services",
	} {
		args = append(args, "--ro-bind-try", name, name)
	}
	for _, name := range []string{"passwd", "group", "hosts", "resolv.conf", "hostname", "nsswitch.conf"} {
		args = append(args, "--ro-bind", s.files.path("work", "etc", name), "/etc/"+name)
	}
	for _, name := range append(append([]string(nil), s.b.cfg.Path...), s.b.cfg.Visible...) {
		for dir := filepath.Dir(name); dir != "/" && dir != "." && !strings.HasPrefix(dir, "/usr"); dir = filepath.Dir(dir) {
			// The build must be able to pass each folder above it.
			args = append(args, "--perms", "0755", "--dir", dir)
		}
		args = append(args, "--ro-bind-try", name, name)
	}
	args = append(args, "--perms", "0755", "--dir", toolsFolder)
	for _, tool := range s.tools {
		if tool.Dir != "" {
			args = append(args, "--ro-bind", tool.Dir, path.Join(toolsFolder, tool.Name))
		}
	}
	return append(args,
		"--proc", "/proc", "--dev", "/dev",
		"--bind", s.files.path("work", "shm"), "/dev/shm",
		"--bind", s.files.path("work", "tmp"), "/tmp",
		"--bind", s.files.path("work", "repo"), "/build/repo",
		"--bind", s.files.path("work", "home"), "/build/home",
		"--bind", s.cache, "/build/cache",
		"--ro-bind", s.files.path("work", "bin"), "/build/bin",
		"--ro-bind", script, "/run/phase.sh",
		// The kernel's information about keys is useless without the calls.
		"--ro-bind-try", "/dev/null", "/proc/keys", "--ro-bind-try", "/dev/null", "/proc/key-users",
		"--remount-ro", "/dev", "--remount-ro", "/",
	)
}
