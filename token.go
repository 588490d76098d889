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

// maxTokenBytes bounds the work for a peer that is not authenticated yet.
const maxTokenBytes = 8 << 10

// maxCandidates bounds how many tokens of one request are verified for such a peer. A browser may
// send several cookies of one name, one for each path and domain, and a header beside them.
const maxCandidates = 8

// source is a set of the places in a request where a token was found.
type source uint8

const (
	inHeader source = 1 << iota
	inCookie
	inQuery
)

// String returns the names of the places for a log.
func (s source) String() string {
	var names []string
	for i, name := range []string{"Authorization", "the cookie", "the query"} {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}

// candidate is a value with the form of an access token.
type candidate struct {
	token string
	from  source
}

// refusal is the reason why a value does not authenticate the request.
type refusal struct {
	rank   rank
	from   source
	answer *AuthError // the kit's response
	err    error      // else the application's error, which wraps an *AuthError
}

// reason returns the error to refuse the request with.
func (r *refusal) reason() error {
	if r.err != nil {
		return r.err
	}
	return r.answer
}

// rank orders refusals by how much they help the client. The highest of a request is reported.
type rank int

const (
	rankForm        rank = iota // not a token
	rankSignature               // the signature does not verify
	rankClaims                  // signed, but not accepted
	rankExpired                 // expired
	rankApplication             // refused by CheckFunc with an AuthError
	rankUnavailable             // cannot be verified at this time
)

// search collects the values of a request that may be its access token.
type search struct {
	candidates []candidate // each value once
	refusals   []refusal   // values that were refused
	tooMany    bool        // there are more than maxCandidates
	hint       error       // the cause to log if there is no token
}

// add adds a value from the request. Values without the form of a token do not count as candidates:
// they cost nothing, and may be the cookies of another application.
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
		s.tooMany = true
		return
	}
	s.candidates = append(s.candidates, candidate{value, in})
}

// refuse records a refusal. It keeps all of them, except that it limits those of values without the
// form of a token.
func (s *search) refuse(r refusal) {
	if r.rank > rankForm || len(s.refusals) < maxCandidates {
		s.refusals = append(s.refusals, r)
	}
}

// checkForm refuses values that are not three parts of base64url (RFC 7515, section 3.1). Go's
// decoder skips line breaks, but one token must not have two spellings.
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
			return invalidToken(fmt.Errorf("%w: it has a character outside base64url", jwt.ErrTokenMalformed))
		}
	}
	if dots != 2 {
		return invalidToken(fmt.Errorf("%w: it has %d parts, but a JSON Web Token has 3", jwt.ErrTokenMalformed, dots+1))
	}
	return nil
}

// authenticate returns the identity that the tokens of a request prove. A token that does not
// verify is ignored if another one does: browsers send old cookies, and cookies of other
// applications on the host, without the user's knowledge. Tokens that verify for different users
// are refused (RFC 6750, section 2), because another reader of the request could choose the other
// user.
//
// Of several tokens of one user the latest expiry counts, because the client could have sent that
// token alone.
func (a *Auth) authenticate(r *http.Request, mayUseCookie func(alone bool) error) (Identity, error) {
	s, err := a.search(r)
	if err != nil {
		return Identity{}, err
	}
	if s.tooMany {
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
			return Identity{}, refused.reason() // the token may belong to another user
		}
		refused.from = c.from
		s.refuse(*refused)
	}
	if len(proofs) == 0 {
		return Identity{}, s.explain()
	}
	return choose(proofs, mayUseCookie)
}

// proof is the identity that one token proves.
type proof struct {
	identity Identity
	from     source
}

// choose returns the identity with the latest expiry.
func choose(proofs []proof, mayUseCookie func(alone bool) error) (chosen Identity, err error) {
	cookie, others := false, false
	for _, p := range proofs {
		if p.identity.UserID != proofs[0].identity.UserID {
			return Identity{}, refuse(codeInvalidRequest, "the request carries different access tokens",
				fmt.Errorf("two tokens verify for different users: in %v and in %v", proofs[0].from, p.from))
		}
		cookie, others = cookie || p.from == inCookie, others || p.from != inCookie
	}
	if cookie && mayUseCookie != nil {
		err = mayUseCookie(!others)
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

// explain returns the error for a request without a valid token. The client gets the most helpful
// refusal; the log gets the causes of all.
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

// search collects access tokens from the Authorization header, the named cookie and the hidden
// query parameter.
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

// addHeader adds the token of an Authorization header. The scheme has no case (RFC 9110, section
// 11.1). Other schemes are ignored, and so is an empty token, which a page may send when it has
// none. A list is refused, because it could name two users.
func (s *search) addHeader(value string) error {
	scheme, token, found := strings.Cut(value, " ")
	token = strings.TrimLeft(token, " ")
	const malformed = "the Authorization header is malformed"
	switch {
	case strings.EqualFold(scheme, "Bearer") && token == "":
		answer := refuse(codeInvalidRequest, malformed, errors.New("there is no token after Bearer"))
		s.refuse(refusal{rankForm, inHeader, answer, nil})
	case strings.EqualFold(scheme, "Bearer"):
		if strings.ContainsAny(token, " \t,") {
			return refuse(codeInvalidRequest, malformed, errors.New("there is more than one word after Bearer"))
		}
		s.add(token, inHeader)
	case !found || scheme == "" || len(scheme) > len("Bearer") && strings.EqualFold(scheme[:len("Bearer")], "Bearer"):
		// A token alone, or "Bearer:". RFC 6750, section 3.1, has no error code for this.
		answer := refuse(codeNoCredentials, "the Authorization header must be the word Bearer, a space and the token", nil)
		s.refuse(refusal{rankForm, inHeader, answer, nil})
	default:
		s.hint = errors.New("the scheme in Authorization is not Bearer")
	}
	return nil
}

// hiddenTokens returns the tokens that HideQueryToken removed from a URL. It is a function because
// printing a context or a request does not print the values inside a function.
type hiddenTokens func() []string

// hiddenKey is the context key for the tokens of a parameter.
type hiddenKey string

// HideQueryToken removes the token of [AuthConfig.InsecureQueryParameter] from the URL of each
// request, before the URL can be logged. Wrap the whole engine:
//
//	server := &http.Server{Handler: auth.HideQueryToken(engine)}
//
// A middleware would run too late: gin's logger copies the URL before it calls the next handler,
// and gin prints redirects before any middleware runs. Without this wrapper, a token in the query
// is refused. Proxies in front of the server keep their own logs.
func (a *Auth) HideQueryToken(next http.Handler) http.Handler {
	if a.query == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, hideQuery(r, a.query))
	})
}

// hideQuery returns r without the named query parameter. It keeps the values in the context.
func hideQuery(r *http.Request, name string) *http.Request {
	var tokens, kept []string
	if earlier, ok := r.Context().Value(hiddenKey(name)).(hiddenTokens); ok {
		tokens = slices.Clone(earlier()) // the engine is wrapped twice
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if !setsParameter(pair, name) {
			kept = append(kept, pair)
			continue
		}
		// A value that does not unescape is not a token, but may contain most of one.
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

// setsParameter reports whether a pair of a query sets the named parameter. Some clients separate
// pairs by semicolons. net/url ignores such pairs, but a token in them must not be printed either.
func setsParameter(pair, name string) bool {
	for part := range strings.SplitSeq(pair, ";") {
		key, _, _ := strings.Cut(part, "=")
		if key, err := url.QueryUnescape(key); err == nil && key == name {
			return true
		}
	}
	return false
}

// missingToken returns the cause to log for a request without a token. It names the places that
// were searched, because a wrong cookie name is a common mistake.
func missingToken(cookie string) error {
	where := "Authorization"
	if cookie != "" {
		where += fmt.Sprintf(" or the cookie %q", cookie)
	}
	return fmt.Errorf("there is no token in %s", where)
}
