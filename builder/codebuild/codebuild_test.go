package codebuild_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// newBuilder returns the builder of a double's project.
func newBuilder(t *testing.T, server *s3test.Server, cfg awsdouble.Config) (buildertest.Env, *awsdouble.Double) {
	t.Helper()
	return newBuilderIn(t, server, cfg, t.TempDir())
}

// newBuilderIn sets the folder for temporary files.
func newBuilderIn(t *testing.T, server *s3test.Server, cfg awsdouble.Config, temp string) (buildertest.Env, *awsdouble.Double) {
	t.Helper()
	e, double, _ := newBuilderWith(t, server, cfg, codebuild.Config{Temp: temp})
	return e, double
}

// newBuilderWith also returns the builder's configuration.
func newBuilderWith(t *testing.T, server *s3test.Server, cfg awsdouble.Config, where codebuild.Config) (buildertest.Env, *awsdouble.Double, codebuild.Config) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("the double's machines are not available here: %v: %s", err, out)
	}
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.S3, cfg.S3Key, cfg.S3Secret = at, s3test.Key, s3test.Secret
	double := awsdouble.Start(cfg)
	t.Cleanup(double.Close)
	double.MakeProject("troy-builds")
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
	where.Config = awsapi.Config{Region: "us-east-1", Endpoint: double.URL(), S3Endpoint: server.URL}
	where.Project, where.WorkBucket = "troy-builds", server.Bucket(t, "work-"+id)
	loaded, err := awsapi.Load(t.Context(), where.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	return buildertest.Env{Builder: codebuild.New(loaded, where), Deadline: 4 * time.Minute, Poll: 50 * time.Millisecond}, double, where
}

func TestBuilderConformance(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	t.Run("suite", func(t *testing.T) {
		buildertest.Run(t, func(t *testing.T) buildertest.Env {
			e, _ := newBuilder(t, server, awsdouble.Config{})
			return e
		})
	})
}

// A start whose answer is lost is found again, also by another process and
// after the five minutes in which CodeBuild recognizes its token.
func TestBuildStartsOnce(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, fault := range map[string]awsdouble.Fault{"before": awsdouble.LostBefore, "after": awsdouble.LostAfter, "throttled": awsdouble.Throttled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var struck atomic.Bool
			e, double := newBuilder(t, server, awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
				// Each attempt of the SDK at the first start.
				if c.Action == "StartBuild" && !struck.Load() {
					return fault
				}
				return awsdouble.None
			}})
			spec := buildertest.Shell("mkdir out; echo '<h1>' > out/index.html").Spec(t)
			if err := e.Builder.Start(t.Context(), spec); err == nil {
				t.Fatal("the start was answered")
			}
			struck.Store(true)
			e.Succeeds(t, spec)
			if builds := double.Builds(); len(builds) != 1 {
				t.Errorf("the builds are %q, want one", builds)
			}
		})
	}
}

// A stranger's build could take the credentials of the role that all builds share.
func TestUntrustedBuild(t *testing.T) {
	t.Parallel()
	e, double := newBuilder(t, s3test.Start(t), awsdouble.Config{})
	spec := buildertest.Shell("mkdir out; echo '<h1>' > out/index.html").Spec(t)
	spec.Untrusted = true
	if err := e.Builder.Start(t.Context(), spec); troy.KindOf(err) != troy.Conflict {
		t.Errorf("Start: %v, expected a Conflict", err)
	}
	if builds := double.Builds(); len(builds) > 0 {
		t.Errorf("the builds are %q", builds)
	}
}

// A build whose start was not recorded, for example because its worker died, is
// Lost for Get until Start finds it; Stop stops it all the same.
func TestBuildStartNotWrittenDown(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	begun := func(t *testing.T, command string) (buildertest.Env, *awsdouble.Double, builder.Spec) {
		ctx, die := context.WithCancel(t.Context())
		e, double := newBuilder(t, server, awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
			if c.Action == "StartBuild" {
				die()
				return awsdouble.LostAfter
			}
			return awsdouble.None
		}})
		spec := buildertest.Shell(command).Spec(t)
		if err := e.Builder.Start(ctx, spec); err == nil {
			t.Fatal("the start was answered")
		}
		if b, err := e.Builder.Get(t.Context(), spec.Tree); err != nil || b.State != builder.Lost {
			t.Fatalf("the build is %+v, %v", b, err)
		}
		return e, double, spec
	}
	t.Run("started again", func(t *testing.T) {
		t.Parallel()
		e, double, spec := begun(t, "mkdir out; echo '<h1>' > out/index.html")
		e.Succeeds(t, spec)
		if builds := double.Builds(); len(builds) != 1 {
			t.Errorf("the builds are %q, want one", builds)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		e, double, spec := begun(t, "sleep 600")
		if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
			t.Fatal(err)
		}
		if b := e.Wait(t, spec.Tree); b.State != builder.Stopped {
			t.Errorf("the build is %+v", b)
		}
		if builds := double.Builds(); len(builds) != 1 || !strings.HasSuffix(builds[0], "STOPPED") {
			t.Errorf("the builds are %q", builds)
		}
	})
}

// Two workers that start a build concurrently, because one's lease expired,
// start one.
func TestBuildBegunTwiceAtOnce(t *testing.T) {
	t.Parallel()
	e, double := newBuilder(t, s3test.Start(t), awsdouble.Config{})
	spec := buildertest.Shell("mkdir out; echo '<h1>' > out/index.html").Spec(t)
	var both sync.WaitGroup // in the middle of the start
	both.Add(2)
	source := spec.Source
	spec.Source = func(ctx context.Context, _ string) (io.ReadCloser, error) {
		both.Done()
		both.Wait()
		return source(ctx, "")
	}
	var begun sync.WaitGroup
	for range 2 {
		begun.Go(func() {
			if err := e.Builder.Start(t.Context(), spec); err != nil {
				t.Error(err)
			}
		})
	}
	begun.Wait()
	if b := e.Wait(t, spec.Tree); b.State != builder.Succeeded {
		t.Errorf("the build is %+v", b)
	}
	if builds := double.Builds(); len(builds) != 1 {
		t.Errorf("the builds are %q, want one", builds)
	}
}

// A build that CodeBuild aborts is Lost, is restarted once, and then fails with
// the cause.
func TestBuildBroken(t *testing.T) {
	t.Parallel()
	e, double := newBuilder(t, s3test.Start(t), awsdouble.Config{})
	spec := buildertest.Shell("echo begun; sleep 600").Spec(t)
	for attempt := 1; ; attempt++ {
		if err := e.Builder.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		e.Until(t, spec.Tree, func(b builder.Build) bool { return len(b.Phases) == 2 })
		double.BreakBuilds()
		b := e.Wait(t, spec.Tree)
		if attempt == 1 {
			if b.State != builder.Lost {
				t.Fatalf("the build is %+v", b)
			}
			continue
		}
		if b.State != builder.Failed || !strings.Contains(b.Cause, "CodeBuild aborted the build 2 times") {
			t.Fatalf("the build is %+v", b)
		}
		break
	}
	if builds := double.Builds(); len(builds) != 2 {
		t.Errorf("the builds are %q", builds)
	}
	if log := e.LogOf(t, spec.Tree); !strings.Contains(log, "it starts again") {
		t.Errorf("the log is\n%s", log)
	}
}

// An account whose build capacity is used up is not a failure; a missing
// project is named.
func TestBuildsOfAFullAccount(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	e, _ := newBuilder(t, server, awsdouble.Config{MaxBuilds: 1})
	first, second := buildertest.Shell("sleep 600").Spec(t), buildertest.Shell("true").Spec(t)
	if err := e.Builder.Start(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	err := e.Builder.Start(t.Context(), second)
	var wait interface{ RetryAfter() time.Duration }
	if !errors.As(err, &wait) || wait.RetryAfter() <= 0 || !strings.Contains(err.Error(), "Concurrently running builds") {
		t.Errorf("the second build's start is %v", err)
	}
	if b, err := e.Builder.Get(t.Context(), second.Tree); err != nil || b.State != builder.Lost {
		t.Errorf("meanwhile the second build is %+v, %v, want one that can be restarted", b, err)
	}
	if err := e.Builder.Remove(t.Context(), first.Tree); err != nil {
		t.Fatal(err)
	}
	if err := e.Builder.Start(t.Context(), second); err != nil {
		t.Errorf("after the first: %v", err)
	}
}

// A build's secrets are in no event, and the keys of its files can't be
// guessed.
func TestBuildKeepsSecrets(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var events bytes.Buffer
	e, _ := newBuilder(t, s3test.Start(t), awsdouble.Config{Event: func(event []byte) {
		mu.Lock()
		defer mu.Unlock()
		events.Write(event)
	}})
	spec := buildertest.Shell("mkdir out; test $TOKEN = s3cret-value && echo '<h1>' > out/index.html; env > out/env.txt").Spec(t)
	spec.Variables = map[string]string{"TOKEN": "s3cret-value"}
	e.Succeeds(t, spec)
	mu.Lock()
	defer mu.Unlock()
	if text := events.String(); !strings.Contains(text, "CodeBuild Build State Change") || strings.Contains(text, "s3cret") || !strings.Contains(text, spec.Tree.Deployment.String()) {
		t.Errorf("the events are %s", text)
	}
	if env := e.Output(t, spec.Tree)["env.txt"]; strings.Contains(env, "AWS_") {
		t.Errorf("the build saw\n%s", env)
	}
}
