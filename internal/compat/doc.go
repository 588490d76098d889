// Package compat tests the kit against packages that its root module must not
// require: a property-testing library, which checks the promises against a naive
// model, and the middleware and transports that applications put around a
// stream. It has no code of its own, and nobody imports it.
//
// README.md lists the middleware of vendors, and what becomes of a stream behind each;
// vendors_test.go checks that list. The model begins in model_test.go: it says what the
// model knows, and the files beside it hold its parts.
package compat
