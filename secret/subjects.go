package secret

// App returns the subject of the credentials of Troy's app at a forge.
func App(provider string) Subject {
	return Subject{Kind: "forge_app", ID: provider, Name: "credentials"}
}

// Installation returns the subject of an installation's credentials. id is the
// forge's id of the installation.
func Installation(provider, id string) Subject {
	return Subject{Kind: "installation", ID: provider + "/" + id, Name: "credentials"}
}
