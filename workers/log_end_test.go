package workers

import "testing"

func TestEveryday(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"production": true, "v22.12.0": true, "https://api.example.com": true, "http://localhost:3000/": true,
		"s3cret-value": false, "https://hooks.example.com/services/T0/B0": false, "https://u:p@example.com": false,
		"https://example.com/?key=1": false, "1234567890": false, "productionkey": false, "": false,
	} {
		if got := everyday(value); got != want {
			t.Errorf("everyday(%q) is %t, want %t", value, got, want)
		}
	}
}
