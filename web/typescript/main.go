// Command typescript writes the types of the API's document as TypeScript
// declarations. `make generate` calls it:
//
//	typescript web/openapi.yaml web/troy.d.ts
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "typescript:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("got %d arguments; expected the document and the file to write", len(args))
	}
	document, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	text, err := declarations(document)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[1], text, 0o644)
}
