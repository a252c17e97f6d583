package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
)

// TestDoctor runs troyd doctor on an intact account, and on several that are
// broken in one place: it names the place and the remedy.
func TestDoctor(t *testing.T) {
	t.Parallel()
	deny := func(actions ...string) func(awsdouble.Call) awsdouble.Fault {
		return func(c awsdouble.Call) awsdouble.Fault {
			for _, a := range actions {
				if c.String() == a {
					return awsdouble.Denied
				}
			}
			return awsdouble.None
		}
	}
	for name, test := range map[string]struct {
		double    awsdouble.Config
		change    func(a *amazon) []string // settings
		part      string                   // of the finding
		said, fix string
	}{
		"nothing": {},
		"no credentials": {
			change: func(*amazon) []string { return []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="} },
			part:   "credentials", said: "credentials", fix: "AWS_ACCESS_KEY_ID",
		},
		"a bucket that does not exist": {
			change: func(*amazon) []string { return []string{"TROY_AWS_WORK_BUCKET=nowhere"} },
			part:   "bucket nowhere", said: "the bucket does not exist", fix: "TROY_AWS_WORK_BUCKET",
		},
		"a certificate of another domain": {
			double: awsdouble.Config{Covers: ".other.test"},
			part:   "certificate", said: "covers *.other.test and not *.sites.test", fix: "request one in us-east-1",
		},
		"a zone of another domain": {
			double: awsdouble.Config{Zone: "Z0123456789", ZoneName: "else.test", Covers: ".sites.test"},
			part:   "hosted zone", said: "it is of else.test", fix: "TROY_SITES_SUFFIX, sites.test, must be else.test",
		},
		"a zone of another account": {
			change: func(*amazon) []string { return []string{"TROY_AWS_ZONE=Z9"} },
			part:   "hosted zone", said: "NoSuchHostedZone", fix: "TROY_AWS_ZONE",
		},
		"a record in the way of previews": {
			change: func(a *amazon) []string { a.AddRecord("CNAME", "*.sites.test", "elsewhere.example"); return nil },
			part:   "previews", said: "*.sites.test has a record that Troy did not make (CNAME elsewhere.example)", fix: "set TROY_PREVIEW_SUFFIX to another domain",
		},
		"a certificate without previews": {
			double: awsdouble.Config{Covers: ".sites.test"},
			change: func(*amazon) []string { return []string{"TROY_PREVIEW_SUFFIX=previews.sites.test"} },
			part:   "previews' certificate", said: "covers *.sites.test and not *.previews.sites.test", fix: "set TROY_AWS_PREVIEW_CERTIFICATE to it",
		},
		"a permission": {
			double: awsdouble.Config{Fault: deny("cloudfront.CreateInvalidation", "route53.none")},
			part:   "distributions", said: "AWS denies cloudfront:CreateInvalidation", fix: "allow the denied actions for the role",
		},
		"custom domains": {
			double: awsdouble.Config{Fault: deny("cloudfront.CreateDistributionTenant", "acm.DeleteCertificate")},
			part:   "custom domains", said: "AWS denies acm:DeleteCertificate, cloudfront:CreateDistributionTenant", fix: "allow the denied actions for the role",
		},
		"making distributions": {
			double: awsdouble.Config{Fault: deny("cloudfront.CreateDistributionWithTags")},
			part:   "distributions", said: "AWS denies cloudfront:CreateDistribution", fix: "allow the denied actions for the role",
		},
		"a queue's messages": {
			double: awsdouble.Config{Fault: deny("sqs.ReceiveMessage", "sqs.DeleteMessageBatch")},
			part:   "TROY_AWS_APPS_QUEUE", said: "AWS denies sqs:DeleteMessage, sqs:ReceiveMessage", fix: "allow the denied actions for the role",
		},
		"the pointers": {
			double: awsdouble.Config{Fault: deny("cloudfront-keyvaluestore.UpdateKeys")},
			part:   "pointer store", said: "AWS denies it", fix: "TROY_AWS_POINTER_STORE",
		},
		"the quota": {
			double: awsdouble.Config{MaxDistributions: 1, Settle: time.Millisecond},
			part:   "distributions", said: "0 of 1", fix: "",
		},
		"a queue without dead letters": {
			change: func(a *amazon) []string {
				return []string{"TROY_AWS_APPS_QUEUE=" + a.MakeQueue(awsdouble.QueueConfig{Name: "bare"})}
			},
			part: "TROY_AWS_APPS_QUEUE", said: "no dead-letter queue", fix: "redrive policy",
		},
		"a log bucket that does not exist": {
			change: func(*amazon) []string { return []string{"TROY_AWS_LOG_BUCKET=nowhere"} },
			part:   "log bucket nowhere", said: "the bucket does not exist", fix: "TROY_AWS_LOG_BUCKET",
		},
		"a log bucket without a policy": {
			double: awsdouble.Config{LogBuckets: []string{"other"}},
			part:   "log bucket e2e-logs", said: "does not let CloudFront write", fix: "AccessLogs=true",
		},
		"the log bucket's files": {
			double: awsdouble.Config{Fault: deny("s3.GetBucketPolicy")},
			part:   "log bucket e2e-logs", said: "AWS denies s3:GetBucketPolicy", fix: "allow the denied actions for the role",
		},
		"the deliveries of access logs": {
			double: awsdouble.Config{Fault: deny("logs.CreateDelivery", "logs.DescribeDeliveries")},
			part:   "access logs", said: "AWS denies logs:CreateDelivery, logs:DescribeDeliveries", fix: "allow the denied actions for the role",
		},
		"no such project": {
			change: func(*amazon) []string { return []string{"TROY_AWS_PROJECT=other"} },
			part:   "CodeBuild", said: "project not found: other", fix: "TROY_AWS_PROJECT",
		},
		"a topic without a subscription": {
			change: func(a *amazon) []string { return []string{"TROY_SNS_TOPICS=" + a.MakeTopic("builds").ARN} },
			part:   "topic builds", said: "does not post to", fix: "aws sns subscribe",
		},
		"the clock": {
			double: awsdouble.Config{Skew: 3 * time.Minute},
			part:   "clock", said: "behind AWS's", fix: "NTP",
		},
		"settings": {
			change: func(*amazon) []string { return []string{"TROY_AWS_CERTIFICATE=arn:aws:acm:eu-west-1:1:certificate/1"} },
			part:   "TROY_AWS_CERTIFICATE", said: "us-east-1", fix: "docs/config.md",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAmazon(t, test.double)
			a.MakeProject("troy-builds")
			a.MakeQueue(awsdouble.QueueConfig{Name: "apps-dead"})
			queue := a.MakeQueue(awsdouble.QueueConfig{Name: "apps", DeadLetters: "apps-dead", MaxReceives: 3})
			a.s3.Bucket(t, "e2e-logs")
			settings := append(a.settings(), "TROY_AWS_PROJECT=troy-builds", "TROY_AWS_APPS_QUEUE="+queue, "TROY_AWS_LOG_BUCKET=e2e-logs")
			w := newWorld(t, settings...)
			if test.change != nil {
				w.env = append(w.env, test.change(a)...)
			}
			out, diag, status := w.run("troyd", "doctor")
			if n := len(a.Distributions()); n != 0 {
				t.Errorf("the check made %d distributions", n)
			}
			if name == "nothing" {
				if status != 0 || strings.Contains(out, "FAIL") {
					t.Errorf("exit status %d\n%s%s", status, out, diag)
				}
				t.Log("\n" + out)
				return
			}
			if test.fix == "" { // a hint without a failure
				if status != 0 || !strings.Contains(out, test.part+": "+test.said) {
					t.Errorf("exit status %d\n%s%s", status, out, diag)
				}
				return
			}
			if n := strings.Count(out, "FAIL"); status != 1 || n != 1 || !strings.HasSuffix(diag, "one thing must be fixed\n") {
				t.Errorf("exit status %d, %d findings\n%s%s", status, n, out, diag)
			}
			_, finding, _ := strings.Cut(out, "FAIL  ")
			finding = strings.Join(strings.Fields(finding), " ")
			if !strings.HasPrefix(finding, test.part+": ") || !strings.Contains(finding, test.said) || !strings.Contains(finding, test.fix) {
				t.Errorf("want %q, %q, %q in\n%s", test.part, test.said, test.fix, out)
			}
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "      ") && len([]rune(line)) > 81 && !strings.Contains(line, "http") && !strings.Contains(line, "arn:") {
					t.Errorf("a line is too long: %s", line)
				}
			}
		})
	}
}

// TestOrphans removes the account's resources of a pipeline without a row, and
// nothing else.
func TestOrphans(t *testing.T) {
	t.Parallel()
	a := newAmazon(t, awsdouble.Config{})
	w := newWorld(t, a.settings()...)
	w.start("web")
	w.start("work")
	for _, name := range []string{"kept", "lost"} {
		w.must("troy", "pipeline", "create", name)
		files := page(name)
		for _, c := range []string{" ", "+", "%", "%2B", "#", "?", "&", ";", "=", "~", "'", "<", "*", "\u00e9", "\u65e5", "case", "Case"} {
			files["odd "+c+"/"+c+".txt"] = name + c
		}
		w.must("troy", "release", w.folder(files), "--pipeline", name)
	}
	if out := w.must("troyd", "aws", "orphans"); !strings.Contains(out, "Everything in the account belongs to a pipeline (2 checked)") {
		t.Errorf("with all rows there: %s", out)
	}
	lost, err := w.api.Pipeline(t.Context(), "lost")
	if err != nil {
		t.Fatal(err)
	}
	w.forget(t, lost.ID)
	out, diag, status := w.run("troyd", "aws", "orphans")
	if status != 1 || strings.Count(out, lost.ID.String()) < 3 || !strings.Contains(out, "the distribution E") || !strings.Contains(diag, "one thing is left") {
		t.Errorf("exit status %d\n%s%s", status, out, diag)
	}
	w.eventually("nothing is left of it", func() bool {
		out, _, status := w.run("troyd", "aws", "orphans", "--delete")
		return status == 0 && strings.Contains(out, "Everything in the account belongs")
	})
	for _, what := range a.left(t) {
		if strings.Contains(what, lost.ID.String()) || strings.Contains(what, "lost.sites.test") {
			t.Errorf("left: %s", what)
		}
	}
	if n := len(a.sites()); n != 1 {
		t.Errorf("%d distributions", n)
	}
	kept, err := w.api.Pipeline(t.Context(), "kept")
	if err != nil || kept.Status != troy.Deployed {
		t.Errorf("the other is %v, %v", kept.Status, err)
	}
	if status, body := a.get(t, "kept.sites.test", "/odd%20%2B/%2B.txt"); status != 200 || body != "kept+" {
		t.Errorf("an odd name of the other answers %d %.60q", status, body)
	}
	if status, body := a.get(t, "kept.sites.test", "/"); status != 200 || !strings.Contains(body, "<title>kept</title>") {
		t.Errorf("the other answers %d %.60q", status, body)
	}
}

// forget removes a pipeline's row, as the restore of an older backup does.
func (w *world) forget(t *testing.T, id uuid.UUID) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }()
	for _, sql := range []string{
		"DELETE FROM work WHERE subject_id = $1", "UPDATE pipelines SET live_deployment_id = NULL WHERE id = $1",
		"DELETE FROM domains WHERE pipeline_id = $1", "DELETE FROM deployments WHERE pipeline_id = $1", "DELETE FROM pipelines WHERE id = $1",
	} {
		if _, err := db.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
}
