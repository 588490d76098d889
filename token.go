package ginsse

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// findToken returns the one token of a request: from the Authorization header,
// the named cookie, or the hidden query parameter. Different tokens in one
// request are refused (RFC 6750, section 2), because two readers could then see
// two different users.
func (a *Auth) findToken(r *http.Request) (string, error) {
	tokens, err := a.candidates(r)
	if err != nil {
		return "", err
	}
	if len(tokens) == 0 {
		return "", refuse(codeNoCredentials, "authentication is required", nil)
	}
	for _, other := range tokens[1:] {
		if other != tokens[0] {
			return "", refuse(codeInvalidRequest, "the request carries different access tokens", nil)
		}
	}
	return tokens[0], nil
}

// candidates returns the tokens that the request carries.
func (a *Auth) candidates(r *http.Request) ([]string, error) {
	tokens, err := bearerTokens(r.Header["Authorization"])
	if err != nil {
		return nil, err
	}
	if a.cookie != "" {
		for _, cookie := range r.CookiesNamed(a.cookie) {
			tokens = append(tokens, cookie.Value)
		}
	}
	if a.query != "" {
		hidden, ok := r.Context().Value(hiddenKey(a.query)).(hiddenTokens)
		switch {
		case ok:
			tokens = append(tokens, hidden()...)
		case r.URL.Query().Has(a.query):
			return nil, refuse(codeInvalidRequest, "access tokens in the query are not accepted here",
				errors.New("the token was in the URL: wrap the engine in Auth.HideQueryToken"))
		}
	}
	return slices.DeleteFunc(tokens, func(token string) bool { return token == "" }), nil
}

// bearerTokens returns the tokens of Authorization headers. The scheme is matched
// without case (RFC 9110, section 11.1); other schemes are not ours to judge.
func bearerTokens(headers []string) (tokens []string, err error) {
	for _, value := range headers {
		scheme, token, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		token = strings.TrimLeft(token, " ")
		if token == "" || strings.ContainsAny(token, " \t,") {
			return nil, refuse(codeInvalidRequest, "the Authorization header is malformed", nil)
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// hiddenTokens returns what HideQueryToken took out of a URL. It is a function
// because no way of printing a context or a request looks into one.
type hiddenTokens func() []string

// hiddenKey is the key on the request's context, for the parameter's name.
type hiddenKey string

// HideQueryToken takes the token of [AuthConfig.InsecureQueryParameter] out of a
// request's URL before anything can print it. It wraps the whole engine:
//
//	server := &http.Server{Handler: auth.HideQueryToken(engine)}
//
// A middleware would be too late: gin's logger takes a copy of the URL before it
// calls the next handler, and gin prints redirects before any middleware runs. A
// token in the query is refused where this wrapper is missing. Proxies in front
// keep logs of their own.
func (a *Auth) HideQueryToken(next http.Handler) http.Handler {
	if a.query == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, hideQuery(r, a.query))
	})
}

// hideQuery returns r without the named query parameter, its values kept in the
// context.
func hideQuery(r *http.Request, name string) *http.Request {
	var tokens, kept []string
	if earlier, ok := r.Context().Value(hiddenKey(name)).(hiddenTokens); ok {
		tokens = slices.Clone(earlier()) // wrapped twice
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if !setsParameter(pair, name) {
			kept = append(kept, pair)
			continue
		}
		// A value that does not unescape is no token, but may be most of one.
		_, value, _ := strings.Cut(pair, "=")
		if token, err := url.QueryUnescape(value); err == nil && !strings.Contains(pair, ";") {
			tokens = append(tokens, token)
		}
	}
	hidden := hiddenTokens(func() []string { return tokens })
	r = r.WithContext(context.WithValue(r.Context(), hiddenKey(name), hidden))
	if r.URL.RawQuery != strings.Join(kept, "&") {
		u := *r.URL
		u.RawQuery = strings.Join(kept, "&")
		r.URL = &u
		r.RequestURI = u.RequestURI()
	}
	return r
}

// setsParameter reports whether a pair of a query sets the named parameter. Some
// clients separate pairs by semicolons; net/url then drops them all, but a token
// among them must not be printed either.
func setsParameter(pair, name string) bool {
	for part := range strings.SplitSeq(pair, ";") {
		key, _, _ := strings.Cut(part, "=")
		if key, err := url.QueryUnescape(key); err == nil && key == name {
			return true
		}
	}
	return false
}
