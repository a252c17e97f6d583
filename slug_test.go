package troy_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestCheckSlug(t *testing.T) {
	t.Parallel()
	for slug, want := range map[string]string{
		"blog": "", "a": "", "7": "", "2048-game": "", "a-b-c": "", "xn-a": "", "www2": "", "admin-site": "",
		strings.Repeat("a", troy.MaxSlug): "",

		"":                                  "empty",
		strings.Repeat("a", troy.MaxSlug+1): "41 characters; expected at most 40",
		"Blog":                              "lower-case",
		"-blog":                             "lower-case",
		"blog-":                             "lower-case",
		"-":                                 "lower-case",
		"my blog":                           "lower-case",
		"my.blog":                           "lower-case",
		"my_blog":                           "lower-case",
		"bläg":                              "lower-case",
		"blog\n":                            "lower-case",
		"blog\x00":                          "lower-case",
		"a/../b":                            "lower-case",
		"xn--bcher-kva":                     "two hyphens",
		"a--b":                              "two hyphens",
		"www":                               "reserved",
		"api":                               "reserved",
		"localhost":                         "reserved",
	} {
		err := troy.CheckSlug(slug)
		if want == "" {
			if err != nil {
				t.Errorf("%q was refused: %v", slug, err)
			}
			continue
		}
		if err == nil || troy.KindOf(err) != troy.Invalid || !strings.HasPrefix(err.Error(), "slug: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v (%s); want an invalid slug, %s", slug, err, troy.KindOf(err), want)
		}
	}
}

func TestSlugFrom(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Blog":                          "blog",
		"  My  Blog! ":                  "my-blog",
		"a--b__c":                       "a-b-c",
		"Straße 7":                      "strasse-7",
		"Café Zürich":                   "cafe-zurich",
		"日本":                            "ri-ben",
		"Журнал":                        "zhurnal",
		"Ελλάδα":                        "ellada",
		"한국어":                           "hangugeo",
		"مدونة":                         "mdwn",
		"🚀":                             "site",
		"🚀 Blog":                        "blog",
		"":                              "site",
		"---":                           "site",
		"WWW":                           "www-site",
		"www!":                          "www-site",
		strings.Repeat("x", 50):         strings.Repeat("x", 40),
		strings.Repeat("x", 39) + " yz": strings.Repeat("x", 39),
	} {
		if got := troy.SlugFrom(name); got != want {
			t.Errorf("SlugFrom(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSlugVariant(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40)
	for _, c := range []struct {
		slug string
		n    int
		want string
	}{
		{"blog", 2, "blog-2"},
		{"blog", 1000, "blog-1000"},
		{long, 2, long[:38] + "-2"},
		{long[:37] + "-yz", 2, long[:37] + "-2"}, // not two hyphens
	} {
		if got := troy.SlugVariant(c.slug, c.n); got != c.want {
			t.Errorf("SlugVariant(%q, %d) = %q, want %q", c.slug, c.n, got, c.want)
		}
	}
}

// FuzzSlugFrom checks that the slug of any name, and its variants, are valid.
func FuzzSlugFrom(f *testing.F) {
	for _, name := range []string{
		"", "Blog", "www", "WWW ", "a--b", "日本", "\xff\xfe", "K", "-", "a\x00b", "İstanbul",
		strings.Repeat("a-", 40), strings.Repeat("x", 39) + "-y", strings.Repeat("x", 38) + " - y",
	} {
		f.Add(name, 2)
	}
	f.Fuzz(func(t *testing.T, name string, n int) {
		slug := troy.SlugFrom(name)
		if err := troy.CheckSlug(slug); err != nil {
			t.Errorf("SlugFrom(%q) = %q: %v", name, slug, err)
		}
		if n < 2 {
			return
		}
		if v := troy.SlugVariant(slug, n); troy.CheckSlug(v) != nil {
			t.Errorf("SlugVariant(%q, %d) = %q: %v", slug, n, v, troy.CheckSlug(v))
		}
	})
}
