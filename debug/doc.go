// Package debug serves a live page for operators: which streams are open, how far each is behind, what
// goes in and out, why streams end, and what is wrong. From it an operator can disconnect a user and
// send a test event.
//
//	page := debug.NewPage(debug.Config{})
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Observers: []*ginsse.Observer{page.Observer()}})
//	// ...
//	page.Mount(r.Group("/debug/events"), registry, auth.RequireUser(), requireAdmin)
//
// The page shows all nodes that share a log, whichever of them serves it: each node has a page of its
// own, and they ask each other by [github.com/ginsse/ginsse.Registry.AskNodes].
//
// The page is an event stream of the kit itself, by [github.com/ginsse/ginsse.Serve]. That stream is no
// stream of the registry: it is not among those that the page shows, and it also opens while the log does not
// answer and while the registry takes no more streams.
package debug
