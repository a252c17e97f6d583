package sandbox

// SetToolFolders says where a builder looks for the programs that isolate.
func SetToolFolders(b *Builder, folders ...string) { b.tools = folders }

// SetMinFree says how much of the disk a builder leaves to others.
func SetMinFree(b *Builder, n int64) { b.minFree = n }

// SetArchitecture says which machine a builder filters system calls for.
func SetArchitecture(b *Builder, arch string) { b.arch = arch }

// ExamineAs is Examine for a machine that has what is said.
var ExamineAs = examine
