package localcloud

// SetToolFolders says where a builder looks for the programs that isolate.
func SetToolFolders(b *Builder, folders ...string) { b.tools = folders }
