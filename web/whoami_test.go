package web_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
)

type whoami struct {
	Token struct {
		ID        uuid.UUID   `json:"id"`
		Name      string      `json:"name"`
		Role      string      `json:"role"`
		Pipelines []uuid.UUID `json:"pipelines"`
		Slugs     []string    `json:"slugs"`
		ExpiresAt *string     `json:"expires_at"`
	} `json:"token"`
	Server struct {
		URL     string `json:"url"`
		Version string `json:"version"`
	} `json:"server"`
}

func TestWhoami(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog := w.create("Blog")
	var admin, viewer whoami
	w.send("GET", "/v1/whoami", nil).into(t, 200, &admin)
	if admin.Token.Name != "test-admin" || admin.Token.Role != "admin" || admin.Token.Pipelines != nil || admin.Token.Slugs != nil || admin.Token.ExpiresAt != nil {
		t.Errorf("the admin is %+v", admin.Token)
	}
	if admin.Server.URL != "https://troy.test" || admin.Server.Version == "" {
		t.Errorf("the server is %+v", admin.Server)
	}
	var made apiToken
	w.send("POST", "/v1/tokens", `{"name":"reader","role":"viewer","pipelines":["blog"],"expires":"2099-01-31"}`).into(t, 201, &made)
	w.send("GET", "/v1/whoami", nil, as(made.Token)).into(t, 200, &viewer)
	if got := viewer.Token; got.ID != made.ID || got.Name != "reader" || got.Role != string(credentials.Viewer) || len(got.Pipelines) != 1 || got.Pipelines[0] != blog.ID ||
		len(got.Slugs) != 1 || got.Slugs[0] != "blog" || got.ExpiresAt == nil || *got.ExpiresAt != "2099-01-31T00:00:00Z" {
		t.Errorf("the viewer is %+v", got)
	}
	w.send("GET", "/v1/whoami", nil, header("Authorization", "")).refused(t, 401, "unauthenticated", "", "token is needed")
}
