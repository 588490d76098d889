package ginsse

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// acceptedMethods are the signature algorithms that [AuthConfig.Methods] may name.
var acceptedMethods = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// ecdsaBits are the sizes of the curves in RFC 7518, section 3.4.
var ecdsaBits = map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}

// hmacBytes are the shortest keys in RFC 7518, section 3.2. With an empty key, as from an unset
// variable, anyone could sign tokens.
var hmacBytes = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}

// checkMethods refuses an empty list, unknown algorithms, and lists with which a public key could
// be used as an HMAC secret (RFC 8725, section 2.1).
func checkMethods(methods []string) error {
	if len(methods) == 0 {
		return errors.New("ginsse: AuthConfig.Methods is empty; name the algorithms that sign your tokens")
	}
	hmac := 0
	for _, method := range methods {
		if !slices.Contains(acceptedMethods, method) {
			return fmt.Errorf("ginsse: AuthConfig.Methods: %q is not an accepted algorithm%s; accepted are %s",
				method, meantMethod(method), strings.Join(acceptedMethods, ", "))
		}
		if hmacBytes[method] != 0 {
			hmac++
		}
	}
	if hmac != 0 && hmac != len(methods) {
		return errors.New("ginsse: AuthConfig.Methods mixes HMAC with other algorithms; use one Auth for each kind")
	}
	return nil
}

// meantMethod returns a "did you mean" text for an algorithm whose name differs from method only in
// case or punctuation, or "".
func meantMethod(method string) string {
	plain := strings.NewReplacer("-", "", "_", "", " ", "").Replace(method)
	for _, accepted := range acceptedMethods {
		if strings.EqualFold(plain, accepted) {
			return fmt.Sprintf(" (did you mean %q?)", accepted)
		}
	}
	return ""
}

// checkKey refuses a key that does not fit its algorithm or is too weak for it. Its errors contain
// no part of the key.
func checkKey(method string, key any) error {
	switch method[:2] {
	case "HS":
		return checkSecret(method, key)
	case "RS", "PS":
		public, ok := key.(*rsa.PublicKey)
		if !ok || public == nil || public.N == nil {
			return keyMismatch(method, "an *rsa.PublicKey", key)
		}
		if bits := public.N.BitLen(); bits < 2048 {
			return fmt.Errorf("%s needs at least 2048 bits, but the key has %d", method, bits)
		}
	case "ES":
		public, ok := key.(*ecdsa.PublicKey)
		if !ok || public == nil || public.Curve == nil {
			return keyMismatch(method, "an *ecdsa.PublicKey", key)
		}
		if bits := ecdsaBits[method]; public.Curve.Params().BitSize != bits {
			return fmt.Errorf("%s needs a curve of %d bits, but the key's curve has %d", method, bits, public.Curve.Params().BitSize)
		}
	default:
		public, ok := key.(ed25519.PublicKey)
		if !ok || len(public) != ed25519.PublicKeySize {
			return keyMismatch(method, "an ed25519.PublicKey", key)
		}
	}
	return nil
}

// checkSecret is checkKey for HMAC.
func checkSecret(method string, key any) error {
	secret, ok := key.([]byte)
	least := hmacBytes[method]
	switch {
	case !ok:
		return keyMismatch(method, "a secret of type []byte", key)
	case len(secret) == 0:
		return fmt.Errorf("%s needs at least %d bytes, but the key has 0: is its variable set?", method, least)
	case len(secret) < least:
		return fmt.Errorf("%s needs at least %d bytes, but the key has %d", method, least, len(secret))
	case isPEM(secret) && !bytes.Contains(secret, []byte("PRIVATE KEY-----")):
		return fmt.Errorf("%s needs a secret, but the key is the PEM text of a public key, which is not secret: "+
			"parse it, and name its algorithm in Methods, such as RS256", method)
	}
	return nil
}

// isPEM reports whether a key is PEM text, which must still be parsed.
func isPEM(key []byte) bool { return bytes.Contains(key, []byte("-----BEGIN ")) }

// keyMismatch returns an error for a key of a wrong type. It names the wanted type and a remedy.
func keyMismatch(method, want string, key any) error {
	if text, ok := key.(string); ok && method[:2] != "HS" {
		key = []byte(text)
	}
	remedy := ""
	switch key := key.(type) {
	case nil:
		return fmt.Errorf("%s needs %s, not nil", method, want)
	case []byte:
		remedy = bytesRemedy(method, key)
	case string:
		remedy = "convert it, []byte(key)"
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		switch suits := methodOf(key); method[:2] {
		case "HS":
			remedy = "it is a public key; name its algorithm in Methods, such as " + suits
		case suits[:2], "P" + suits[1:2]:
			remedy = "it is nil or incomplete"
		default:
			remedy = "this key is for algorithms such as " + suits
		}
	case rsa.PublicKey, ecdsa.PublicKey:
		remedy = "pass a pointer, &key"
	case *ed25519.PublicKey:
		remedy = "pass the value, *key"
	case *rsa.PrivateKey, *ecdsa.PrivateKey, rsa.PrivateKey, ecdsa.PrivateKey:
		remedy = "tokens are verified with the public key, &key.PublicKey"
	case crypto.Signer: // an ed25519.PrivateKey, or a key in hardware
		remedy = "tokens are verified with the public key, key.Public()"
	}
	if remedy != "" {
		remedy = ": " + remedy
	}
	return fmt.Errorf("%s needs %s, not %s%s", method, want, typeName(key), remedy)
}

// bytesRemedy describes how to parse bytes into a public key.
func bytesRemedy(method string, key []byte) string {
	parse := map[string]string{
		"RS": "jwt.ParseRSAPublicKeyFromPEM", "PS": "jwt.ParseRSAPublicKeyFromPEM",
		"ES": "jwt.ParseECPublicKeyFromPEM", "Ed": "jwt.ParseEdPublicKeyFromPEM",
	}[method[:2]]
	switch {
	case len(key) == 0:
		return "the key has 0 bytes: is its variable set?"
	case isPEM(key) && bytes.Contains(key, []byte("PRIVATE KEY-----")):
		return "it is the PEM text of a private key; tokens are verified with the public key, parsed by " + parse
	case isPEM(key):
		return "it is PEM text; parse it with " + parse
	}
	return "parse it, with " + parse + " if it is PEM text, or with x509.ParsePKIXPublicKey if it is DER"
}

// methodOf returns an algorithm that a public key fits.
func methodOf(key any) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		for method, bits := range ecdsaBits {
			if key != nil && key.Curve != nil && key.Curve.Params().BitSize == bits {
				return method
			}
		}
		return "ES*"
	default:
		return "EdDSA"
	}
}

// typeName returns the type of a key, with []byte for []uint8.
func typeName(key any) string {
	if _, ok := key.([]byte); ok {
		return "[]byte"
	}
	return fmt.Sprintf("%T", key)
}

// checkedKeyfunc returns a Keyfunc that applies the rules of a fixed key to the keys of find.
func checkedKeyfunc(find jwt.Keyfunc) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		key, err := find(token)
		if err != nil {
			return nil, err
		}
		method := token.Method.Alg() // the parser has checked that it is one of Methods
		set, ok := key.(jwt.VerificationKeySet)
		if !ok {
			return key, checkKey(method, key)
		}
		for _, key := range set.Keys {
			if err := checkKey(method, key); err != nil {
				return nil, err
			}
		}
		return set, nil
	}
}
