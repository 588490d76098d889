module github.com/ginsse/ginsse/sqllog

// As the root module.
go 1.25.0

require github.com/ginsse/ginsse v0.0.0

replace github.com/ginsse/ginsse => ../
