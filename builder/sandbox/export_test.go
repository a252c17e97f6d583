package sandbox

// SetToolFolders sets where a builder searches for the isolating programs.
func SetToolFolders(b *Builder, folders ...string) { b.tools = folders }

// SetMinFree sets how much of the disk a builder leaves free.
func SetMinFree(b *Builder, n int64) { b.minFree = n }

// SetArchitecture sets the architecture of a builder's system call filter.
func SetArchitecture(b *Builder, arch string) { b.arch = arch }

// ExamineAs is Examine for a machine with these properties.
var ExamineAs = examine

// Judge tells what the lines of a rehearsal mean.
var Judge = judge
