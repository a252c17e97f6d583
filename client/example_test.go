package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

var exampleDeployment = uuid.MustParse("0198a1c2-0000-7000-8000-000000000042")

// exampleServer answers like a Troy server with the pipelines blog and docs,
// where every release goes live and one deployment has a log.
func exampleServer() *httptest.Server {
	mux := http.NewServeMux()
	answer := func(pattern string, status int, body func(*http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			if err := json.NewEncoder(w).Encode(body(r)); err != nil {
				log.Print(err)
			}
		})
	}
	deployment := func(state troy.DeploymentState) client.Deployment {
		d := client.Deployment{ID: exampleDeployment, Number: 42, Kind: troy.Release, State: state}
		if state == troy.Succeeded {
			d.Live, d.URL = true, "https://blog.example.com"
		}
		return d
	}
	answer("GET /v1/pipelines", http.StatusOK, func(*http.Request) any {
		return map[string]any{"pipelines": []client.Pipeline{
			{Slug: "docs", StatusName: troy.Queued.String()},
			{Slug: "blog", StatusName: troy.Deployed.String()},
		}}
	})
	answer("GET /v1/pipelines/blog", http.StatusOK, func(*http.Request) any {
		return client.Pipeline{Slug: "blog", StatusName: troy.Deployed.String()}
	})
	answer("GET /v1/pipelines/shop", http.StatusNotFound, func(*http.Request) any {
		return map[string]any{"error": map[string]any{"code": troy.NotFound, "message": "no pipeline has the id or slug \"shop\""}}
	})
	answer("POST /v1/pipelines/blog/releases", http.StatusCreated, func(r *http.Request) any {
		var declared client.NewRelease
		if err := json.NewDecoder(r.Body).Decode(&declared); err != nil {
			log.Print(err)
		}
		return client.Release{ID: exampleDeployment, Missing: declared.Files}
	})
	mux.HandleFunc("PUT /v1/pipelines/blog/releases/{release}/files/{sha256}", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	answer("POST /v1/pipelines/blog/releases/{release}/finalize", http.StatusAccepted, func(*http.Request) any {
		return deployment(troy.Waiting)
	})
	var looks atomic.Int64
	answer("GET /v1/pipelines/blog/deployments/{deployment}", http.StatusOK, func(*http.Request) any {
		if looks.Add(1) == 1 {
			return deployment(troy.Publishing)
		}
		return deployment(troy.Succeeded)
	})
	mux.HandleFunc("GET /v1/pipelines/blog/deployments/{deployment}/log", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "id: 9\ndata: \"$ npm ci\\n\"\n\n", "id: 26\ndata: \"added 3 packages\\n\"\n\n", "event: end\nid: 26\ndata: publishing\n\n")
	})
	return httptest.NewServer(mux)
}

func ExampleNew() {
	server := exampleServer()
	defer server.Close()

	// The address and a token, which `troyd token create` prints.
	c, err := client.New(server.URL, os.Getenv("TROY_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}
	p, err := c.Pipeline(context.Background(), "blog")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Slug, "is", p.StatusName)

	// An error of the server has a kind.
	_, err = c.Pipeline(context.Background(), "shop")
	fmt.Println(troy.KindOf(err) == troy.NotFound, err)
	// Output:
	// blog is Deployed
	// true no pipeline has the id or slug "shop"
}

// Release a folder, and wait until it is live.
func Example_release() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()
	c, err := client.New(server.URL, os.Getenv("TROY_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}

	// List and hash the files of a folder, a zip or a tar.
	source, err := site.OpenSource(ctx, "../examples/site", site.DefaultLimits(), site.LeavingOut())
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = source.Close() }()

	// Declare the files, and send those that the pipeline does not have. The
	// same key continues an interrupted release.
	release, err := c.BeginRelease(ctx, "blog", uuid.NewString(), client.NewRelease{Files: source.Files, Message: "New prices"})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Upload(ctx, "blog", release, client.Upload{Open: source.Open}); err != nil {
		log.Fatal(err)
	}

	// Publish them.
	if _, err := c.FinalizeRelease(ctx, "blog", release.ID, client.Finalize{}); err != nil {
		log.Fatal(err)
	}
	d, err := c.Wait(ctx, "blog", release.ID, func(d client.Deployment) { fmt.Println(d.State) })
	if err != nil {
		log.Fatal(err)
	}
	if d.State != troy.Succeeded {
		log.Fatalf("deployment %d %s: %s", d.Number, d.State, d.Cause)
	}
	fmt.Printf("Deployment %d is live at %s\n", d.Number, d.URL)
	// Output:
	// Publishing
	// Succeeded
	// Deployment 42 is live at https://blog.example.com
}

func ExampleClient_Pipelines() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, os.Getenv("TROY_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}

	// An empty status lists all pipelines. Pages are fetched as needed.
	for p, err := range c.Pipelines(context.Background(), "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Slug, p.StatusName)
	}
	// Output:
	// docs Queued
	// blog Deployed
}

func ExampleClient_FollowLog() {
	server := exampleServer()
	defer server.Close()
	c, err := client.New(server.URL, os.Getenv("TROY_TOKEN"))
	if err != nil {
		log.Fatal(err)
	}

	// FollowLog returns when the build has ended; Wait returns the outcome.
	state, err := c.FollowLog(context.Background(), "blog", exampleDeployment, os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("The deployment is", state)
	// Output:
	// $ npm ci
	// added 3 packages
	// The deployment is Publishing
}
