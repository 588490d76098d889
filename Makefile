# Each target is a step of .ci/run, which says what it does.

STEPS := format vet build tidy browser browsers test race fuzz bench lint

.PHONY: help ci $(STEPS)

help: ## this list
	@echo "make ci       all of the following, in this order:"
	@for step in $(STEPS); do echo "make $$step"; done
	@echo "make example  run the example application"
	@echo "make screenshots  take those of the documentation anew"

ci:
	@.ci/run

$(STEPS):
	@.ci/run $@

.PHONY: example
example:
	go run ./examples/gin-app

.PHONY: screenshots
screenshots: # needs Chromium
	BROWSER_TESTS=required go test ./examples/gin-app -run TestScreenshots -count=1 -screenshots
