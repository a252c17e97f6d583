package site

import (
	"strings"

	"github.com/troy-iaas/troy"
)

// NormalizeHost returns a Host header or a configured host in its normal form:
// lower case, without port and trailing dot. The result consists of DNS labels
// of ASCII letters, digits and inner hyphens (RFC 1123 §2.1; other scripts as
// punycode), so it never contains a path separator or "..". Errors are Invalid.
func NormalizeHost(host string) (string, error) {
	name := host
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		port := name[i+1:]
		if len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return "", troy.Errorf(troy.Invalid, "the host %q has a port that is not a number", troy.Clip(host))
		}
		name = name[:i]
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", troy.Errorf(troy.Invalid, "the host %q is empty", troy.Clip(host))
	}
	if len(name) > 253 {
		return "", troy.Errorf(troy.Invalid, "the host %q has %d characters; expected at most 253", troy.Clip(host), len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", troy.Errorf(troy.Invalid, "the host %q has a label of %d characters; 1 to 63 are allowed", troy.Clip(host), len(label))
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return "", troy.Errorf(troy.Invalid, "the host %q has a label that begins or ends with a hyphen", troy.Clip(host))
		}
		for i := range len(label) {
			if c := label[i] | 0x20; label[i] != '-' && (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') {
				return "", troy.Errorf(troy.Invalid, "the host %q may contain only letters, digits, hyphens and dots", troy.Clip(host))
			}
		}
	}
	return strings.ToLower(name), nil
}
