package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const small = `
paths:
  /things/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string}}
    post:
      operationId: change
      summary: Change a thing
      x-role: admin
      parameters:
        - {$ref: "#/components/parameters/limit"}
      requestBody: {$ref: "#/components/requestBodies/New"}
      responses:
        "200": {$ref: "#/components/responses/Thing"}
        "204": {description: Nothing.}
        default: {description: An error.}
components:
  parameters:
    limit: {name: X-Limit, in: header, description: The most., schema: {type: integer}}
  requestBodies:
    New: {required: true, content: {application/json: {schema: {type: object, additionalProperties: false}}}}
  responses:
    Thing: {content: {application/json: {schema: {$ref: "#/components/schemas/Thing"}}}}
  schemas:
    Thing:
      type: object
      description: A thing */ to use.
      required: [name]
      properties:
        name: {type: [string, "null"], maxLength: 3}
        kinds: {type: array, items: {type: string, enum: [a, b]}}
        more: {oneOf: [{$ref: "#/components/schemas/Thing"}, {type: "null"}]}
        labels: {type: object, additionalProperties: {type: string}}
`

func TestDeclarations(t *testing.T) {
	t.Parallel()
	got, err := declarations([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	want := header + `/** A thing *\/ to use. */
export interface Thing {
  name: string | null;
  kinds?: Array<"a" | "b">;
  more?: Thing | null;
  labels?: Record<string, string>;
}

/** The operations of the API by their ids. An error is answered with a Problem. */
export interface Operations {
  /** Change a thing. The token needs the role admin. */
  change: {
    method: "POST";
    route: "/things/{id}";
    path: {
      id: string;
    };
    header?: {
      /** The most. */
      "X-Limit"?: number;
    };
    body: Record<string, never>;
    answer: Thing | void;
  };
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// TestUnknownKeywords checks that nothing of a schema is dropped silently.
func TestUnknownKeywords(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"{allOf: [{type: string}]}", "{type: array, items: {anyOf: []}}", "{type: object, properties: {a: {not: {}}}}"} {
		if _, err := declarations([]byte("components: {schemas: {Thing: " + schema + "}}")); err == nil || !strings.Contains(err.Error(), "has no translation") {
			t.Errorf("%s: %v; expected that a keyword has no translation", schema, err)
		}
	}
}

// TestFileIsCurrent checks that the file is what the generator writes.
func TestFileIsCurrent(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := declarations(document)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../troy.d.ts")
	if err != nil || string(got) != string(want) {
		t.Errorf("web/troy.d.ts is stale (%v): run make generate", err)
	}
	for _, m := range regexp.MustCompile(`operationId: (\w+)`).FindAllStringSubmatch(string(document), -1) {
		if !strings.Contains(string(got), "\n  "+m[1]+": {\n") {
			t.Errorf("the operation %s has no type", m[1])
		}
	}
}
