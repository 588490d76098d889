// Package compat tests the kit together with packages that the root module must not require. These
// are a property-testing library, which checks the promises against a naive model, and middleware
// and transports that applications use with streams. The package has no code of its own.
//
// README.md lists middleware of vendors and how a stream behaves behind each; vendors_test.go
// checks that list. The comment in model_test.go describes the model; the other model files hold
// its parts. tracing_test.go follows a trace of otelginsse through a database of sqllog.
package compat
