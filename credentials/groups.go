package credentials

import (
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// Group says what the people of an issuer's group may do.
type Group struct {
	Name      string
	Role      Role
	Pipelines []string // slugs; nil means all
}

// ParseGroups reads groups in the form NAME=ROLE or NAME=ROLE:SLUG+SLUG. Errors
// are Invalid.
func ParseGroups(texts []string) ([]Group, error) {
	var all []Group
	for _, text := range texts {
		g, err := parseGroup(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other Group) bool { return other.Name == g.Name }) {
			return nil, troy.Errorf(troy.Invalid, "the group %q appears twice; expected each group once", troy.Clip(g.Name))
		}
		all = append(all, g)
	}
	return all, nil
}

func parseGroup(text string) (Group, error) {
	// A name may have equals signs, as those of LDAP do.
	at := strings.LastIndex(text, "=")
	if at < 1 || strings.ContainsFunc(text, isControl) {
		return Group{}, troy.Errorf(troy.Invalid, "%q is not a group and its role; expected GROUP=ROLE or GROUP=ROLE:PIPELINE+PIPELINE", troy.Clip(text))
	}
	role, slugs, limited := strings.Cut(text[at+1:], ":")
	g := Group{Name: text[:at], Role: Role(role)}
	if !slices.Contains(Roles(), g.Role) {
		return Group{}, troy.Errorf(troy.Invalid, "the role of the group %q is %q; expected one of %v", troy.Clip(g.Name), troy.Clip(role), Roles())
	}
	if !limited {
		return g, nil
	}
	g.Pipelines = strings.Split(slugs, "+")
	for _, slug := range g.Pipelines {
		if err := troy.CheckSlug(slug); err != nil {
			return Group{}, troy.Errorf(troy.Invalid, "%q of the group %q is not a pipeline's slug", troy.Clip(slug), troy.Clip(g.Name))
		}
	}
	return g, nil
}

// grant returns what someone in these groups may do: the strongest role, on the
// pipelines of the groups that have it. given is those groups' names; it is
// empty if no group has a role.
func grant(known []Group, in []string) (role Role, pipelines, given []string) {
	all := false
	for _, g := range known {
		if !slices.Contains(in, g.Name) {
			continue
		}
		switch {
		case role == "" || !role.May(g.Role):
			role, pipelines, given, all = g.Role, nil, nil, false
		case role != g.Role:
			continue
		}
		given = append(given, g.Name)
		all = all || g.Pipelines == nil
		pipelines = append(pipelines, g.Pipelines...)
	}
	if all {
		pipelines = nil
	}
	return role, pipelines, given
}
