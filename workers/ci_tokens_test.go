package workers

import (
	"fmt"
	"testing"
	"time"
)

// The reconciliation forgets the tokens of CI that have expired, and no others.
func TestExpiredTokensOfCIAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.reconcile = 50 * time.Millisecond
	id := r.pipeline("blog")
	for _, sql := range []string{
		"INSERT INTO trusts (id, pipeline_id, provider, issuer, repository_id, owner_id, created_by) VALUES (gen_random_uuid(), $1, 'github', 'https://issuer.example.com', '41', '7', 'test')",
		"INSERT INTO tokens (id, name, role, hash, expires_at, trust_id) SELECT gen_random_uuid(), 'expired', 'deployer', '\\x01', now(), id FROM trusts WHERE pipeline_id = $1",
		"INSERT INTO tokens (id, name, role, hash, expires_at, trust_id) SELECT gen_random_uuid(), 'running', 'deployer', '\\x02', now() + interval '1 hour', id FROM trusts WHERE pipeline_id = $1",
		"INSERT INTO tokens (id, name, role, hash, expires_at) SELECT $1, 'of a person', 'deployer', '\\x03', now()",
		"INSERT INTO sign_ins (hash, expires_at) SELECT decode(md5($1::text), 'hex'), now() - interval '1 second'",
		"INSERT INTO sign_ins (hash, expires_at) SELECT decode(md5('other' || $1::text), 'hex'), now() + interval '1 hour'",
	} {
		if _, err := r.db.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	var left string
	eventually(t, func() bool {
		err := r.db.QueryRow(t.Context(), "SELECT string_agg(name, ', ' ORDER BY name) || (SELECT count(*) FROM sign_ins) FROM tokens").Scan(&left)
		return err == nil && left == "of a person, running1"
	}, func() string { return fmt.Sprintf("the tokens and the number of used ones are %q", left) })
}
