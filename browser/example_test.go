package browser_test

import (
	"html/template"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/browser"
)

func ExampleHandler() {
	r := gin.New()
	// Pages: import { connect } from "/ginsse.js";
	r.GET("/ginsse.js", browser.Handler())
}

// The page's URL of the module has its version, so that browsers need not ask whether it has
// changed.
func ExampleURL() {
	page := template.Must(template.New("page").Parse(`<!DOCTYPE html>
<link rel="modulepreload" href="{{.}}">
<script type="importmap">{"imports": {"ginsse": "{{.}}"}}</script>
<script type="module">
	import { connect } from "ginsse";
	connect("/events").on("comment", (comment) => console.log(comment));
</script>
`))
	r := gin.New()
	r.SetHTMLTemplate(page)
	r.GET("/ginsse.js", browser.Handler())
	r.GET("/", func(c *gin.Context) { c.HTML(http.StatusOK, "page", browser.URL("/ginsse.js")) })
}
