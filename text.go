package troy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clip shortens a client's text to about 80 bytes for use in a message.
func Clip(s string) string {
	const most = 80
	if len(s) <= most {
		return strings.ToValidUTF8(s, "")
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Cut shortens a text to most characters of valid UTF-8. A text that was
// shortened ends with "…".
func Cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "")
	n, end := 0, 0
	for i := range s {
		switch n++; {
		case n == most:
			end = i
		case n > most:
			return s[:end] + "…"
		}
	}
	return s
}

// Count returns "1 file" or "2 files".
func Count[N int | int32 | int64](n N, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// Size formats a number of bytes for people, such as "4.2 MiB".
func Size(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		// 1023.95 would be shown as 1024.0.
		if f /= step; f < step-0.05 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f TiB", f/step)
}

// CheckText returns an Invalid error at field if s is not one line of 1 to most
// characters. It refuses control characters and characters that change the
// direction of text.
func CheckText(field, s string, most int) error {
	switch n := utf8.RuneCountInString(s); {
	case strings.TrimSpace(s) == "":
		return Errorf(Invalid, "it is missing or empty").At(field)
	case n > most:
		return Errorf(Invalid, "it has %d characters; expected at most %d", n, most).At(field)
	case !utf8.ValidString(s):
		return Errorf(Invalid, "it is not valid UTF-8").At(field)
	case strings.ContainsFunc(s, unicode.IsControl):
		return Errorf(Invalid, "it contains a control character").At(field)
	case strings.ContainsFunc(s, reorders):
		return Errorf(Invalid, "it contains a character that changes the direction of the text around it").At(field)
	}
	return nil
}

// reorders reports whether r is an explicit directional formatting character
// (Unicode Standard Annex #9 §2.1 to §2.4). The marks that Arabic and Hebrew
// texts need are not among them.
func reorders(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// maxFolder is the maximum length of a folder's path, in characters.
const maxFolder = 1024

// CleanFolder returns the clean form of a folder's path inside a repository, or
// "" for the repository's root. It returns an Invalid error at field if the
// path leads out of the repository.
func CleanFolder(field, folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	if err := CheckText(field, folder, maxFolder); err != nil {
		return "", err
	}
	clean := path.Clean(folder)
	if strings.HasPrefix(folder, "/") || strings.Contains(folder, `\`) || slices.Contains(strings.Split(folder, "/"), "..") {
		return "", Errorf(Invalid, "the folder is %q; expected a path inside the repository, relative to its root, like apps/web", Clip(folder)).At(field)
	}
	if clean == "." {
		return "", nil
	}
	return clean, nil
}

// BrowserName names a browser and its system from its user agent, such as
// "Chrome on Linux". An unknown agent is shown as it is, clipped.
func BrowserName(agent string) string {
	name, system := "", ""
	for _, known := range [][2]string{{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"}} {
		if strings.Contains(agent, known[0]) {
			name = known[1]
			break
		}
	}
	for _, known := range [][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"}} {
		if strings.Contains(agent, known[0]) {
			system = known[1]
			break
		}
	}
	switch {
	case name == "":
		return Clip(agent)
	case system == "":
		return name
	}
	return name + " on " + system
}
