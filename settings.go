package troy

// BuildSettings is what a pipeline says about its builds and its site, as rows
// and JSON write it. A text that is empty says nothing, and is then decided by the
// repository.
type BuildSettings struct {
	// Install, Build and Test are shell commands of one line. Test has no
	// default.
	Install string `json:"install,omitempty"`
	Build   string `json:"build,omitempty"`
	Test    string `json:"test,omitempty"`
	// Output is the folder that is published, relative to the pipeline's root
	// folder.
	Output string `json:"output,omitempty"`
	// TrailingSlash decides on the addresses of pages: auto, always or never
	// (site.TrailingSlash). Empty is auto.
	TrailingSlash string `json:"trailing_slash,omitempty"`
	// DropAssets ends the reachability of hashed assets with the deployment
	// that leaves them out.
	DropAssets bool `json:"drop_assets,omitempty"`
}
