package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// probe sends a request that is answered at once, without a credential. With -origin it is the one
// that a browser sends before a fetch with Authorization and Last-Event-ID (the preflight).
func (d *doctor) probe(ctx context.Context) *reply {
	q := d.newQuestion(true)
	q.method = http.MethodOptions
	q.header.Set("Accept", "*/*")
	if d.origin != "" {
		q.header.Set("Origin", d.origin)
		q.header.Set("Access-Control-Request-Method", http.MethodGet)
		q.header.Set("Access-Control-Request-Headers", "authorization,last-event-id")
	}
	return d.ask(ctx, q)
}

// checkHTTP says how many streams a browser can have open, and whether connections are kept.
func (d *doctor) checkHTTP(w *watched, probe *reply) {
	a := w.reply
	if a.err != nil {
		a = probe
	}
	if a.err != nil {
		return // the response was reported
	}
	f := finding{check: "HTTP version"}
	switch {
	case a.major >= 2:
		f.add(fine, a.proto)
	case d.url.Scheme == schemeTLS:
		f.add(warning, a.proto+": a browser opens at most six connections to a host, over all tabs", useHTTP2...)
	default:
		f.add(warning, a.proto+": a browser opens at most six connections to a host, over all tabs; it speaks HTTP/2 over TLS only", inServer("serve the page and the stream to browsers over https, with HTTP/2"))
	}
	if strings.Contains(a.header.Get("Alt-Svc"), "h3=") {
		f.add(fine, "HTTP/3 is offered")
	}
	d.report(f)
	if probe.err != nil || probe.major >= 2 {
		return
	}
	f = finding{check: "keep-alive"}
	if probe.closes {
		f.add(warning, "the connection is closed after the response to OPTIONS, so each request needs a new one", keepOpen...)
	} else {
		f.add(fine, "the connection stays open after a response")
	}
	d.report(f)
}

// checkRefusal says what a browser sees without a credential.
func (d *doctor) checkRefusal(ctx context.Context) {
	if !d.secret {
		return
	}
	q := d.newQuestion(true)
	if d.origin != "" {
		q.header.Set("Origin", d.origin)
	}
	a := d.ask(ctx, q)
	f := finding{check: "without the credential"}
	defer func() { d.report(f) }()
	switch {
	case a.err != nil:
		f.add(warning, "no response: "+a.err.Error())
		return
	case a.isStream():
		f.add(warning, "the stream opens without the credential, too", inServer("is it meant to be public? or does the URL hold a credential, which logs will show?"))
		return
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		f.add(fine, a.describe()+", which a page can take for a refusal")
	case a.status >= 300 && a.status < 400:
		f.add(fault, fmt.Sprintf("%s, to %s: a page follows it and gets no event stream, but does not learn that it is signed out", a.describe(), shownValue("Location", a.header.Get("Location"))), refusePlainly...)
	case a.status == http.StatusOK:
		f.add(fault, a.describe()+": a page does not learn that it is signed out", refusePlainly...)
	default:
		f.add(warning, a.describe()+": a page takes this for another error than a refusal", refusePlainly...)
	}
	if challenge := a.header.Get("WWW-Authenticate"); a.status == http.StatusUnauthorized && asksUser(challenge) {
		f.add(warning, "WWW-Authenticate has the browser ask for a password", inServer("in the server: WWW-Authenticate: Bearer, or another scheme that browsers do not know"))
	}
	if problem := d.corsProblem(a.header, false); d.origin != "" && problem != "" {
		f.add(warning, problem+": a page of "+d.origin+" sees an error of the network instead of the status",
			inServer("in the server: register CORS before the authentication, so that refusals carry its headers"))
	}
}

// asksUser reports whether a browser asks its user for a password.
func asksUser(challenge string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " ")
	switch strings.ToLower(scheme) {
	case "basic", "digest", "ntlm", "negotiate":
		return true
	}
	return false
}

// corsProblem says why a page of the origin cannot read a response; "" if it can. A response to a
// request with cookies has more conditions (Fetch, section 4.9, "CORS check").
func (d *doctor) corsProblem(header http.Header, cookies bool) string {
	const name = "Access-Control-Allow-Origin"
	switch allowed := header.Values(name); {
	case len(allowed) == 0:
		return name + " is missing"
	case len(allowed) > 1:
		return name + " is there more than once: does a proxy add it, too?"
	case allowed[0] == "*" && cookies:
		return name + " is *, which browsers refuse for a request with cookies"
	case allowed[0] != "*" && allowed[0] != d.origin:
		return name + " is " + shortQuote(allowed[0]) + ", not " + d.origin
	case cookies && header.Get("Access-Control-Allow-Credentials") != "true":
		return "Access-Control-Allow-Credentials: true is missing, so browsers refuse a request with cookies"
	}
	return ""
}

// checkOriginOf says whether a page of the origin can read the stream.
func (d *doctor) checkOriginOf(ctx context.Context, w *watched) {
	if !w.isStream() {
		return // the response was reported
	}
	f := finding{check: "CORS"}
	defer func() { d.report(f) }()
	q := d.newQuestion(false)
	q.follow = true
	q.header.Set("Origin", d.origin)
	a := d.ask(ctx, q)
	cookies := q.header.Get("Cookie") != ""
	switch {
	case a.err != nil:
		f.add(fault, "no response to a request with Origin: "+a.err.Error())
		return
	case !a.isStream():
		f.add(fault, "a request from "+d.origin+" gets "+a.describe(), inServer("in the server: AuthConfig.AllowedOrigins has "+d.origin))
		return
	}
	allow := inServer(fmt.Sprintf("in the server: Access-Control-Allow-Origin: %s, Access-Control-Allow-Credentials: true, Vary: Origin", d.origin))
	if problem := d.corsProblem(a.header, cookies); problem != "" {
		f.add(fault, problem, allow)
		return
	}
	switch {
	case cookies:
		f.add(fine, "a page of "+d.origin+" can read the stream, with its cookie")
	case d.corsProblem(a.header, true) != "":
		f.add(fine, "a page of "+d.origin+" can read the stream, but not with a cookie (withCredentials)")
	default:
		f.add(fine, "a page of "+d.origin+" can read the stream, also with a cookie (withCredentials)")
	}
	if a.header.Get("Access-Control-Allow-Origin") != "*" && !hasToken(a.header.Values("Vary"), "origin") {
		f.add(warning, "Vary does not name Origin, so a cache may give the response to a page of another origin", inServer("in the server: Vary: Origin"))
	}
}

// checkPreflight says whether a page of the origin may send Authorization and Last-Event-ID, as a
// fetch does. An EventSource sends no preflight.
func (d *doctor) checkPreflight(probe *reply) {
	f := finding{check: "CORS preflight"}
	defer func() { d.report(f) }()
	const before = "in the server: answer OPTIONS with CORS before the authentication"
	if probe.err != nil {
		f.add(fault, "no response: "+probe.err.Error(), inServer(before))
		return
	}
	if probe.status < 200 || probe.status > 299 {
		f.add(fault, fmt.Sprintf("OPTIONS gets %s, not 204: a fetch with Authorization fails", probe.describe()), inServer(before))
		return
	}
	if problem := d.corsProblem(probe.header, false); problem != "" {
		f.add(fault, problem+": a fetch with Authorization fails", inServer(before))
		return
	}
	allowed := probe.header.Values("Access-Control-Allow-Headers")
	if !hasToken(allowed, "authorization") { // the star does not stand for it
		f.add(fault, "Access-Control-Allow-Headers does not name Authorization: a fetch with it fails", inServer("in the server: Access-Control-Allow-Headers: Authorization, Last-Event-ID"))
	}
	if !hasToken(allowed, "last-event-id") && !hasToken(allowed, "*") {
		f.add(fault, "Access-Control-Allow-Headers does not name Last-Event-ID: a fetch cannot resume", inServer("in the server: Access-Control-Allow-Headers: Authorization, Last-Event-ID"))
	}
	if f.seen == "" {
		f.add(fine, "a fetch may send Authorization and Last-Event-ID")
	}
}

// hasToken reports whether a header with a list of tokens has one, which is given in lower case.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			if strings.ToLower(strings.TrimSpace(element)) == token {
				return true
			}
		}
	}
	return false
}
