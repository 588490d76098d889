package ginsse

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// origin is what a browser says of a page: scheme, host and port (WHATWG HTML,
// "origin"). It is comparable: two origins are the same if they are equal.
type origin struct {
	scheme, host string // in lower case; the host in ASCII
	port         string // "" for the default of the scheme
}

// String returns the origin as a browser writes it.
func (o origin) String() string {
	if o.port == "" {
		return o.scheme + "://" + o.host
	}
	return o.scheme + "://" + o.host + ":" + o.port
}

// checkOrigin refuses the cookie to pages of other sites. Such a page could not read the
// stream, but it could open one in the visitor's name, use up the limit, and on
// other routes act. Browsers say where a request comes from in Sec-Fetch-Site
// and, older ones, in Origin. Other clients say nothing; their cookies are not sent by
// a page. Ordinary routes may be reached by a link.
//
// The caller asks only when a cookie is what authenticates the request.
func (a *Auth) checkOrigin(r *http.Request, stream bool) error {
	if !stream && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions) {
		return nil
	}
	site := r.Header.Get("Sec-Fetch-Site")
	text := strings.Join(r.Header["Origin"], ", ") // several are none: a comma does not parse
	from, err := parseOrigin(text)
	known := err == nil
	switch {
	case known && a.origins[from]:
		return nil
	case site == "same-origin", site == "none":
		return nil
	case site == "" && text == "":
		return nil
	case site == "" && known && from.isHostOf(r):
		return nil
	case known && a.allowOrigin != nil && a.allowOrigin(from.String()):
		return nil
	}
	return refuse(codeCrossSite, "requests from other sites are not accepted here", a.explainOrigin(r, site, text))
}

// explainOrigin says, for the log, which origin was refused and which setting allows one.
func (a *Auth) explainOrigin(r *http.Request, site, text string) error {
	const setting = "AuthConfig.AllowedOrigins"
	switch text {
	case "":
		return fmt.Errorf("Sec-Fetch-Site is %q, and there is no Origin to compare with %s", clip(site), setting)
	case "null":
		return fmt.Errorf("the origin is %q, as of a sandboxed frame or a file: no setting allows it", text)
	}
	why := fmt.Sprintf("the origin %q is not in %s", clip(text), setting)
	if a.allowOrigin != nil {
		why += ", AuthConfig.AllowOriginFunc does not allow it"
	}
	if site == "" {
		why += fmt.Sprintf(", and it is not that of the request's host %q (does a proxy change Host?)", clip(r.Host))
	}
	return errors.New(why)
}

// isHostOf reports whether the origin is that of the request's own host. Behind a proxy
// that ends TLS the scheme is not known, and the scheme of the origin decides which
// port is the default. A connection with TLS is never of an http page.
func (o origin) isHostOf(r *http.Request) bool {
	if o.scheme != "https" && (o.scheme != "http" || r.TLS != nil) {
		return false
	}
	host, port, err := splitHost(r.Host)
	if err != nil {
		return false
	}
	usual := defaultPorts[o.scheme]
	return host == o.host && orDefault(port, usual) == orDefault(o.port, usual)
}

// parseOrigins reads AuthConfig.AllowedOrigins. What no browser would send is given the
// form in which browsers send it, or refused.
func parseOrigins(list []string) (map[origin]bool, error) {
	origins := make(map[origin]bool, len(list))
	for _, text := range list {
		o, err := readOrigin(text)
		if err != nil {
			return nil, fmt.Errorf("ginsse: AuthConfig.AllowedOrigins: %q is not an origin such as %q: %w",
				clip(text), "https://app.example.com", err)
		}
		origins[o] = true
	}
	return origins, nil
}

// readOrigin reads an origin that a person has written.
func readOrigin(text string) (origin, error) {
	switch {
	case text == "null":
		return origin{}, errors.New("it is the origin of every sandboxed frame and every file, and cannot be allowed")
	case strings.Contains(text, "*"):
		return origin{}, errors.New("a star is not a pattern here; use AuthConfig.AllowOriginFunc for many origins")
	}
	scheme, rest, found := strings.Cut(text, "://")
	switch strings.ToLower(scheme) {
	case "ws", "wss":
		return origin{}, errors.New("a page that opens WebSockets has an origin with http or https")
	case "file", "data", "blob", "javascript":
		return origin{}, errors.New(`pages of this scheme have the origin "null", or that of another page`)
	}
	ascii, err := asciiHost(rest)
	if err != nil {
		return origin{}, err
	}
	if found {
		text = scheme + "://" + ascii
	}
	return parseOrigin(text)
}

// hostNames maps and checks hosts as browsers do (WHATWG URL, "domain to ASCII").
var hostNames = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false), idna.StrictDomainName(false))

// asciiHost returns a host, and what may follow it, with the host in ASCII.
func asciiHost(text string) (string, error) {
	end := strings.IndexAny(text, ":/?#")
	if end < 0 {
		end = len(text)
	}
	host, rest := strings.ToLower(text[:end]), text[end:]
	if isASCII(host) && !strings.Contains(host, "xn--") {
		return text, nil // its form is for splitHost to judge
	}
	ascii, err := hostNames.ToASCII(host)
	if err != nil || ascii == "" {
		return "", errors.New("its host has no ASCII form (xn--…)")
	}
	return ascii + rest, nil
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

// defaultPorts are the ports that browsers leave out of an origin.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin reads an origin in ASCII, in any spelling: capitals and a default port
// do not count.
func parseOrigin(text string) (o origin, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || !isScheme(scheme) {
		return origin{}, errors.New("it does not begin with a scheme such as https://")
	}
	if i := strings.IndexAny(rest, "/?#\\@"); i >= 0 {
		return origin{}, fmt.Errorf("it has a %q; an origin is a scheme, a host and a port alone", rest[i])
	}
	o.scheme = strings.ToLower(scheme)
	if o.host, o.port, err = splitHost(rest); err != nil {
		return origin{}, err
	}
	if strings.HasSuffix(rest, ":") {
		return origin{}, errors.New("it has a colon without a port")
	}
	if o.port == defaultPorts[o.scheme] {
		o.port = ""
	}
	return o, nil
}

// isScheme reports whether text is a scheme (RFC 3986, section 3.1).
func isScheme(text string) bool {
	for i := range len(text) {
		c := text[i] | 0x20 // lower case
		if (c < 'a' || c > 'z') && (i == 0 || strings.IndexByte("0123456789+-.", text[i]) < 0) {
			return false
		}
	}
	return text != ""
}

// splitHost reads a host with an optional port, as in an origin or a Host header. The
// host comes back as browsers write it, the port without leading zeros.
func splitHost(text string) (host, port string, err error) {
	host = text
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		host, port = text[:i], text[i+1:]
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return "", "", errors.New("its port is not a number up to 65535")
		}
		port = strconv.FormatUint(n, 10)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", errors.New("its host is not an IPv6 address")
		}
		return "[" + ipv6Text(addr) + "]", port, nil
	}
	host = strings.ToLower(host)
	return host, port, checkHost(host)
}

// ipv6Text returns an address as browsers write it: in hexadecimal to the end.
func ipv6Text(addr netip.Addr) string {
	if !addr.Is4In6() {
		return addr.String()
	}
	b := addr.As16()
	return fmt.Sprintf("::ffff:%x:%x", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15]))
}

// checkHost refuses a host in lower case that a browser would not write so.
func checkHost(host string) error {
	if strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}) {
		return errors.New("its host has a character that no host has")
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".") // a dot at the end makes another host
	if labels[0] == "" && len(labels) > 1 {
		return errors.New("its host begins with a dot; use AuthConfig.AllowOriginFunc for many origins")
	}
	if slices.Contains(labels, "") {
		return errors.New("it has no host, or an empty part in it")
	}
	// What ends in a number is an IPv4 address to a browser, which writes it in one way.
	if last := labels[len(labels)-1]; isNumber(last) {
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is4() {
			return errors.New("its host ends in a number, and is not an IPv4 address such as 192.0.2.1")
		}
	}
	return nil
}

// isNumber reports whether browsers read a label as a number.
func isNumber(label string) bool {
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		label, digits = hex, "0123456789abcdef"
	}
	return strings.Trim(label, digits) == ""
}
