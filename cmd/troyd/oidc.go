package main

import (
	"github.com/troy-iaas/troy/credentials"
)

// checkOIDC checks the settings with which people sign in and jobs of CI get
// tokens.
func (c config) checkOIDC(wrong wrongly) {
	if _, err := credentials.ParseCIIssuers(c.CIIssuers); err != nil {
		wrong("TROY_CI_ISSUERS", "%s", err)
	}
	others := map[string]bool{
		"TROY_OIDC_CLIENT_ID": c.OIDCClientID != "", "TROY_OIDC_CLIENT_SECRET": c.OIDCClientSecret != "", "TROY_OIDC_ROLES": len(c.OIDCRoles) > 0,
	}
	if _, err := credentials.ParseGroups(c.OIDCRoles); err != nil {
		wrong("TROY_OIDC_ROLES", "%s", err)
	}
	if c.OIDCIssuer == "" {
		for setting, set := range others {
			if set {
				wrong(setting, "is set, but TROY_OIDC_ISSUER is not; expected both or neither")
			}
		}
		return
	}
	if err := credentials.CheckIssuer(c.OIDCIssuer); err != nil {
		wrong("TROY_OIDC_ISSUER", "%s", err)
	}
	expected := map[string]string{
		"TROY_OIDC_CLIENT_ID": "the id of the client that the issuer has for Troy", "TROY_OIDC_CLIENT_SECRET": "the secret of that client",
		"TROY_OIDC_ROLES": "groups and their roles, like platform=admin,web=deployer:blog+docs",
	}
	for setting, set := range others {
		if !set {
			wrong(setting, "not set, but TROY_OIDC_ISSUER is; expected %s", expected[setting])
		}
	}
	if c.OIDCGroupsClaim == "" {
		wrong("TROY_OIDC_GROUPS_CLAIM", "is empty; expected the name of a claim, like groups")
	}
}

// issuer returns nil if people sign in by token alone.
func (c config) issuer() (*credentials.Issuer, error) {
	if c.OIDCIssuer == "" {
		return nil, nil
	}
	groups, err := credentials.ParseGroups(c.OIDCRoles)
	if err != nil {
		return nil, usageError{err}
	}
	return credentials.NewIssuer(credentials.IssuerConfig{
		URL: c.OIDCIssuer, ClientID: c.OIDCClientID, ClientSecret: c.OIDCClientSecret, GroupsClaim: c.OIDCGroupsClaim, Groups: groups, Address: c.URL,
	}), nil
}
