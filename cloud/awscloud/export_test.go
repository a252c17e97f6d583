package awscloud

// CodeVersion is for tests.
const CodeVersion = codeVersion
