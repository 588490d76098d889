package ginsse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// maxTokenBytes bounds what is parsed on behalf of a peer that is not known yet.
const maxTokenBytes = 8 << 10

// maxCandidates bounds how many values of a request are verified on behalf of such a
// peer. A browser sends one cookie for each path and domain that one of this name was
// set for, and there may be a header beside them.
const maxCandidates = 8

// source is where in a request a token was found: one or more of the following.
type source uint8

const (
	inHeader source = 1 << iota
	inCookie
	inQuery
)

// String names the source for a log.
func (s source) String() string {
	var names []string
	for i, name := range []string{"Authorization", "the cookie", "the query"} {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}

// candidate is a value that has the form of an access token.
type candidate struct {
	token string
	from  source
}

// refusal is why a value is not the request's access token.
type refusal struct {
	rank   rank
	from   source
	answer *AuthError // the kit's
	err    error      // or that of CheckFunc, which holds an *AuthError of the application
}

// reason returns what the request is refused with, if nothing else is known.
func (r *refusal) reason() error {
	if r.err != nil {
		return r.err
	}
	return r.answer
}

// rank says how much a refusal tells the client; of several the highest is reported.
type rank int

const (
	rankForm        rank = iota // it is no token at all
	rankSignature               // its signature does not verify
	rankClaims                  // it was signed, and is not accepted
	rankExpired                 // it was accepted once
	rankApplication             // CheckFunc chose the answer
	rankUnavailable             // it could not be verified at this time
)

// search is what a request has that may be its access token.
type search struct {
	candidates []candidate // each value once
	refusals   []refusal   // of values that have not the form of a token
	crowded    bool        // there are more than maxCandidates
	hint       error       // for the log of a request that has none
}

// add takes a value that was found in the request. Values without the form of a token are
// not counted: they cost nothing, and may be the cookies of another application.
func (s *search) add(value string, in source) {
	if value == "" {
		return
	}
	if answer := checkForm(value); answer != nil {
		s.refuse(refusal{rankForm, in, answer, nil})
		return
	}
	for i := range s.candidates {
		if s.candidates[i].token == value {
			s.candidates[i].from |= in
			return
		}
	}
	if len(s.candidates) == maxCandidates {
		s.crowded = true
		return
	}
	s.candidates = append(s.candidates, candidate{value, in})
}

// refuse notes why a value is not the access token. It keeps some of those without the
// form of a token, and all others.
func (s *search) refuse(r refusal) {
	if r.rank > rankForm || len(s.refusals) < maxCandidates {
		s.refusals = append(s.refusals, r)
	}
}

// checkForm refuses what is not three parts of base64url, as a token is (RFC 7515, section
// 3.1). Go's decoder skips line breaks, and a token has one spelling only.
func checkForm(value string) *AuthError {
	if len(value) > maxTokenBytes {
		return refuse(codeInvalidToken, "the access token is too long",
			fmt.Errorf("%w: it has %d bytes, more than %d", jwt.ErrTokenMalformed, len(value), maxTokenBytes))
	}
	dots := 0
	for i := range len(value) {
		switch c := value[i]; {
		case c == '.':
			dots++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return invalidToken(fmt.Errorf("%w: it has a character that base64url has not", jwt.ErrTokenMalformed))
		}
	}
	if dots != 2 {
		return invalidToken(fmt.Errorf("%w: it has %d parts, and a JSON Web Token has 3", jwt.ErrTokenMalformed, dots+1))
	}
	return nil
}

// authenticate returns the identity that the tokens of a request prove. Browsers send
// cookies that a person knows nothing about, from an older sign-in or another application
// on the host, so what does not verify is passed over when another token verifies. Tokens that
// verify for different users are refused (RFC 6750, section 2): another reader of the
// request could take the other one.
//
// Of several tokens of one user the latest expiry counts: the client could as well have
// sent that one alone.
func (a *Auth) authenticate(r *http.Request, mayUseCookie func() error) (Identity, error) {
	s, err := a.search(r)
	if err != nil {
		return Identity{}, err
	}
	if s.crowded {
		return Identity{}, refuse(codeInvalidRequest, "the request carries too many access tokens",
			fmt.Errorf("there are more than %d", maxCandidates))
	}
	var proofs []proof
	for _, c := range s.candidates {
		identity, refused := a.verify(r.Context(), c.token)
		if refused == nil {
			proofs = append(proofs, proof{identity, c.from})
			continue
		}
		if refused.rank == rankUnavailable {
			return Identity{}, refused.reason() // the token may be another user's
		}
		refused.from = c.from
		s.refuse(*refused)
	}
	if len(proofs) == 0 {
		return Identity{}, s.explain()
	}
	return choose(proofs, mayUseCookie)
}

// proof is what one token proves.
type proof struct {
	identity Identity
	from     source
}

// choose returns the identity of the proofs that ends last.
func choose(proofs []proof, mayUseCookie func() error) (chosen Identity, err error) {
	ambient := false
	for _, p := range proofs {
		if p.identity.UserID != proofs[0].identity.UserID {
			return Identity{}, refuse(codeInvalidRequest, "the request carries different access tokens",
				fmt.Errorf("two verify, for different users: in %v and in %v", proofs[0].from, p.from))
		}
		ambient = ambient || p.from == inCookie
	}
	if ambient && mayUseCookie != nil {
		err = mayUseCookie()
	}
	for _, p := range proofs {
		if p.from == inCookie && err != nil {
			continue
		}
		if chosen.UserID == "" || p.identity.Expiry.After(chosen.Expiry) {
			chosen = p.identity
		}
	}
	if chosen.UserID == "" {
		return Identity{}, err
	}
	return chosen, nil
}

// explain returns the error of a request without a token that verifies: the refusal that
// tells the client most, with the causes of all for the log.
func (s *search) explain() error {
	if len(s.refusals) == 0 {
		return refuse(codeNoCredentials, "authentication is required", s.hint)
	}
	slices.SortStableFunc(s.refusals, func(a, b refusal) int { return cmp.Compare(b.rank, a.rank) })
	best := s.refusals[0]
	if best.err != nil {
		return best.err
	}
	answer := *best.answer
	answer.Err = nil
	for _, r := range s.refusals {
		switch {
		case r.answer.Err == nil:
		case answer.Err == nil:
			answer.Err = fmt.Errorf("in %v: %w", r.from, r.answer.Err)
		default:
			answer.Err = fmt.Errorf("%w; in %v: %w", answer.Err, r.from, r.answer.Err)
		}
	}
	return &answer
}

// search looks for access tokens in the Authorization header, the named cookie, and the
// hidden query parameter.
func (a *Auth) search(r *http.Request) (*search, error) {
	s := &search{hint: a.missing}
	for _, value := range r.Header["Authorization"] {
		if err := s.addHeader(value); err != nil {
			return nil, err
		}
	}
	if a.cookie != "" {
		for _, cookie := range r.CookiesNamed(a.cookie) {
			s.add(cookie.Value, inCookie)
		}
	}
	if a.query != "" {
		hidden, ok := r.Context().Value(hiddenKey(a.query)).(hiddenTokens)
		switch {
		case ok:
			for _, token := range hidden() {
				s.add(token, inQuery)
			}
		case r.URL.Query().Has(a.query):
			return nil, refuse(codeInvalidRequest, "access tokens in the query are not accepted here",
				errors.New("the token was in the URL: wrap the engine in Auth.HideQueryToken"))
		}
	}
	return s, nil
}

// addHeader takes the token of an Authorization header. The scheme is matched without case
// (RFC 9110, section 11.1); other schemes are not ours to judge. An empty token, as of a
// page that has none, is passed over like an empty cookie; a list could mean two users.
func (s *search) addHeader(value string) error {
	scheme, token, found := strings.Cut(value, " ")
	token = strings.TrimLeft(token, " ")
	const malformed = "the Authorization header is malformed"
	switch {
	case strings.EqualFold(scheme, "Bearer") && token == "":
		answer := refuse(codeInvalidRequest, malformed, errors.New("there is no token behind Bearer"))
		s.refuse(refusal{rankForm, inHeader, answer, nil})
	case strings.EqualFold(scheme, "Bearer"):
		if strings.ContainsAny(token, " \t,") {
			return refuse(codeInvalidRequest, malformed, errors.New("there is more than one word behind Bearer"))
		}
		s.add(token, inHeader)
	case !found || scheme == "" || len(scheme) > len("Bearer") && strings.EqualFold(scheme[:len("Bearer")], "Bearer"):
		// A token alone, or "Bearer:". RFC 6750, section 3.1, has no error code for it.
		answer := refuse(codeNoCredentials, "the Authorization header must be the word Bearer, a space and the token", nil)
		s.refuse(refusal{rankForm, inHeader, answer, nil})
	default:
		s.hint = errors.New("the scheme in Authorization is not Bearer")
	}
	return nil
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

// missingToken says for the log where a token was looked for: a wrong name of the cookie is
// a common mistake.
func missingToken(cookie string) error {
	where := "Authorization"
	if cookie != "" {
		where += fmt.Sprintf(" or the cookie %q", cookie)
	}
	return fmt.Errorf("there is no token in %s", where)
}
