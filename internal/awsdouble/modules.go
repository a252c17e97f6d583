package awsdouble

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/dop251/goja"
)

// provide adds the part of CloudFront's modules that Troy's functions use
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-javascript-runtime-20.html).
func provide(vm *goja.Runtime) error {
	hmacs := map[string]any{"createHmac": func(algorithm, key string) map[string]any {
		mac := hmac.New(sha256.New, []byte(key))
		one := map[string]any{"digest": func(encoding string) string {
			if algorithm != "sha256" || encoding != "base64url" {
				panic(vm.NewTypeError("the double knows sha256 and base64url alone"))
			}
			return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		}}
		one["update"] = func(text string) map[string]any {
			mac.Write([]byte(text))
			return one
		}
		return one
	}}
	if err := vm.Set("require", func(name string) (any, error) {
		if name != "crypto" {
			return nil, fmt.Errorf("no module %s", name)
		}
		return hmacs, nil
	}); err != nil {
		return err
	}
	return vm.Set("Buffer", map[string]any{"from": func(text, encoding string) (any, error) {
		if encoding != "base64" {
			return nil, fmt.Errorf("the double knows base64 alone, not %s", encoding)
		}
		return map[string]any{"toString": func() string { return decodeBase64(text) }}, nil
	}})
}

// decodeBase64 decodes text of either alphabet up to the first byte that is
// wrong, as Node.js does.
func decodeBase64(text string) string {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	if at := strings.IndexByte(text, '='); at >= 0 {
		text = text[:at]
	}
	if len(text)%4 == 1 { // such a rest has no byte
		text = text[:len(text)-1]
	}
	decoded, _ := base64.RawStdEncoding.DecodeString(text)
	return strings.ToValidUTF8(string(decoded), "\uFFFD")
}
