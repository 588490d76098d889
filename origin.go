package ginsse

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"github.com/ginsse/ginsse/internal/printable"
)

// origin is the origin of a page: scheme, host and port (WHATWG HTML, "origin"). Equal values are
// the same origin.
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

// checkOrigin refuses requests from pages of other sites. Such a page could not read the stream,
// but it could open streams as the visitor and use up the limit, and on other routes it could act
// as the visitor. Browsers report where a request comes from in Sec-Fetch-Site and, older ones, in
// Origin. Other clients send neither, and no page makes them send cookies. Safe methods on ordinary
// routes are allowed, because a link may lead there.
//
// It is called only if the request depends on a cookie.
func (a *Auth) checkOrigin(r *http.Request, stream bool) error {
	if !stream && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions) {
		return nil
	}
	site := r.Header.Get("Sec-Fetch-Site")
	text := strings.Join(r.Header["Origin"], ", ") // several do not parse, because of the comma
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

// explainOrigin returns the cause to log: the refused origin and the setting that would allow it.
func (a *Auth) explainOrigin(r *http.Request, site, text string) error {
	const setting = "AuthConfig.AllowedOrigins"
	switch text {
	case "":
		return fmt.Errorf("Sec-Fetch-Site is %q, and there is no Origin to compare with %s", printable.Clip(site), setting)
	case "null":
		return fmt.Errorf("the origin is %q, as for a sandboxed frame or a file: no setting allows it", text)
	}
	why := fmt.Sprintf("the origin %q is not in %s", printable.Clip(text), setting)
	if a.allowOrigin != nil {
		why += ", AuthConfig.AllowOriginFunc does not allow it"
	}
	if site == "" {
		why += fmt.Sprintf(", and it is not that of the request's host %q (does a proxy change Host?)", printable.Clip(r.Host))
	}
	return errors.New(why)
}

// isHostOf reports whether the origin is that of the request's own host. Behind a proxy that ends
// TLS the scheme of the request is not known, so the origin's scheme gives the default port. A
// request over TLS never comes from an http page of the same origin.
func (o origin) isHostOf(r *http.Request) bool {
	if o.scheme != "https" && (o.scheme != "http" || r.TLS != nil) {
		return false
	}
	host, port, err := splitHost(r.Host)
	if err != nil {
		return false
	}
	usual := defaultPorts[o.scheme]
	return host == o.host && cmp.Or(port, usual) == cmp.Or(o.port, usual)
}

// parseOrigins parses AuthConfig.AllowedOrigins. It converts each origin to the form that browsers
// send, and refuses those that no browser can send.
func parseOrigins(list []string) (map[origin]bool, error) {
	origins := make(map[origin]bool, len(list))
	for _, text := range list {
		o, err := readOrigin(text)
		if err != nil {
			return nil, fmt.Errorf("ginsse: AuthConfig.AllowedOrigins: %q is not an origin such as %q: %w",
				printable.Clip(text), "https://app.example.com", err)
		}
		origins[o] = true
	}
	return origins, nil
}

// readOrigin parses an origin from a configuration.
func readOrigin(text string) (origin, error) {
	switch {
	case text == "null":
		return origin{}, errors.New("it is the origin of all sandboxed frames and files, and cannot be allowed")
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

// hostNames converts and checks hosts as browsers do (WHATWG URL, "domain to ASCII").
var hostNames = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false), idna.StrictDomainName(false))

// asciiHost returns text, a host with optional further parts, with the host in ASCII.
func asciiHost(text string) (string, error) {
	end := strings.IndexAny(text, ":/?#")
	if end < 0 {
		end = len(text)
	}
	host, rest := strings.ToLower(text[:end]), text[end:]
	if isASCII(host) && !strings.Contains(host, "xn--") {
		return text, nil // splitHost checks its form
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

// defaultPorts are the ports that browsers omit from an origin.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin parses an origin in ASCII. Upper case and a default port make no difference.
func parseOrigin(text string) (o origin, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || !isScheme(scheme) {
		return origin{}, errors.New("it does not begin with a scheme such as https://")
	}
	if i := strings.IndexAny(rest, "/?#\\@"); i >= 0 {
		return origin{}, fmt.Errorf("it has a %q; an origin has only a scheme, a host and a port", rest[i])
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

// splitHost parses a host with an optional port, as in an origin or a Host header. It returns the
// host as browsers write it, and the port without leading zeros.
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

// ipv6Text returns an address as browsers write it, all in hexadecimal.
func ipv6Text(addr netip.Addr) string {
	if !addr.Is4In6() {
		return addr.String()
	}
	b := addr.As16()
	return fmt.Sprintf("::ffff:%x:%x", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15]))
}

// checkHost refuses a host in lower case that is not in the form of browsers.
func checkHost(host string) error {
	if strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}) {
		return errors.New("its host has a character that is not allowed in hosts")
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".") // a trailing dot is allowed: it makes another host
	if labels[0] == "" && len(labels) > 1 {
		return errors.New("its host begins with a dot; use AuthConfig.AllowOriginFunc for many origins")
	}
	if slices.Contains(labels, "") {
		return errors.New("it has no host, or an empty part in it")
	}
	// To a browser, a host that ends in a number is an IPv4 address, which it writes in one form.
	if last := labels[len(labels)-1]; isNumber(last) {
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is4() {
			return errors.New("its host ends in a number, and is not an IPv4 address such as 192.0.2.1")
		}
	}
	return nil
}

// isNumber reports whether browsers parse a label as a number.
func isNumber(label string) bool {
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		label, digits = hex, "0123456789abcdef"
	}
	return strings.Trim(label, digits) == ""
}
