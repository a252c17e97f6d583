package secret

// App is the subject of the credentials of Troy's app at a forge.
func App(provider string) Subject {
	return Subject{Kind: "forge_app", ID: provider, Name: "credentials"}
}

// Installation is the subject of the credentials of an installation, by the
// forge's id of it.
func Installation(provider, id string) Subject {
	return Subject{Kind: "installation", ID: provider + "/" + id, Name: "credentials"}
}
